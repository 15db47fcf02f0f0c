"""ImageNet prepared from its official archives, in miniature."""

import io
import os
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from experiments import prepare as launcher
from nasjax.base import InputError
from nasjax.data.files.imagenet import NAME, VERSION, class_names, prepare_imagenet
from tests import imagenet


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("imagenet")
    imagenet.write_archives(folder)
    made = prepare_imagenet(archive_dir=folder, data_dir=folder / "data")
    assert made == (folder / "data" / NAME / VERSION, True)
    return folder


def read(folder: pathlib.Path, split: str) -> dict[str, tuple[bytes, int]]:
    """File name -> image and label, through TFDS as anybody would."""
    import tensorflow_datasets as tfds

    source = tfds.data_source(
        NAME,
        data_dir=folder / "data",
        split=split,
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    examples = [source[row] for row in range(len(source))]
    assert "tensorflow" not in sys.modules
    return {e["file_name"].decode(): (e["image"], e["label"]) for e in examples}


def test_training_images_are_those_of_the_archive(prepared: pathlib.Path):
    found = read(prepared, "train")
    given = imagenet.train_images()
    assert len(found) == sum(imagenet.CLASSES.values())
    changed = []
    for synset, images in given.items():
        for name, data in images.items():
            image, label = found[name]
            assert label == class_names().index(synset)
            if image != data:
                changed.append(name)
                with Image.open(io.BytesIO(image)) as made:
                    assert (made.format, made.mode) == ("JPEG", "RGB")
                    near = Image.open(io.BytesIO(data)).convert("RGB")
                    error = np.abs(np.asarray(made, int) - np.asarray(near, int))
                    assert error.mean() < 2
    # The one in CMYK and the PNG; the grey one stays.
    assert changed == ["n01440764_0.JPEG", "n01440764_10.JPEG"]


def test_validation_labels_go_by_the_images_number(prepared: pathlib.Path):
    found = read(prepared, "validation")
    assert {name: image for name, (image, _) in found.items()} == (
        imagenet.validation_images()
    )
    # The published ground truth of the first images.
    truth = ["n01751748", "n09193705", "n02105855", "n04263257", "n03125729"]
    for number, synset in enumerate(truth, start=1):
        label = found[f"ILSVRC2012_val_{number:08d}.JPEG"][1]
        assert class_names()[label] == synset


def test_the_layout_is_that_of_tfdss_own_class(
    prepared: pathlib.Path, tmp_path: pathlib.Path
):
    import tensorflow_datasets as tfds

    official = tfds.builder_cls(NAME)(data_dir=tmp_path)
    ours = tfds.builder_from_directory(prepared / "data" / NAME / VERSION)
    assert official.info.features.to_json() == ours.info.features.to_json()
    assert official.info.features["label"].names == ours.info.features["label"].names
    assert official.info.supervised_keys == ours.info.supervised_keys
    assert str(official.version) == VERSION
    assert len(class_names()) == 1000


def test_a_second_preparation_does_nothing(prepared: pathlib.Path):
    again = prepare_imagenet(archive_dir=prepared / "no", data_dir=prepared / "data")
    assert again == (prepared / "data" / NAME / VERSION, False)


@pytest.mark.parametrize("sorted_val", [False, True])
def test_unpacked_folders_are_as_good_as_the_archives(
    prepared: pathlib.Path, tmp_path: pathlib.Path, sorted_val: bool
):
    for synset, images in imagenet.train_images().items():
        (tmp_path / "train" / synset).mkdir(parents=True)
        for name, data in images.items():
            (tmp_path / "train" / synset / name).write_bytes(data)
    for place, (name, data) in enumerate(imagenet.validation_images().items()):
        sub = tmp_path / "val" / (f"n{place % 2:08d}" if sorted_val else "")
        sub.mkdir(parents=True, exist_ok=True)
        (sub / name).write_bytes(data)
    (tmp_path / "train" / ".DS_Store").write_text("x")
    made = prepare_imagenet(archive_dir=tmp_path, data_dir=tmp_path / "data")
    assert made.created
    for split in ("train", "validation"):
        assert read(tmp_path, split) == read(prepared, split)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["ILSVRC/Data/CLS-LOC/train/x"], r"give --archive_dir=\S*CLS-LOC, which does"),
        (["n01440764/n01440764_1.JPEG"], "if {name}/ is train/"),
        (["train/ant/1.JPEG", "val/1.JPEG"], "as a folder a folder of each, holds 'an"),
        (["train/n01440764.tar", "val/1.JPEG"], "a folder of each, holds 'n01440764.t"),
        (["train/n01440764/a.JPEG", "val/1.JPEG"], "n01440764_NUMBER.JPEG, holds 'a."),
    ],
)
def test_other_folders_are_refused_with_what_to_do(
    tmp_path: pathlib.Path, files: list[str], message: str
):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=message.format(name=tmp_path.name)) as error:
        prepare_imagenet(archive_dir=tmp_path, data_dir=tmp_path / "data")
    assert "\n" not in str(error.value)


GOOD = {"n01440764_1.JPEG": imagenet.jpeg(1)}


def class_tar(files: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    return {"train": {"n01440764.tar": imagenet.tar(files)}}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"train": {"../n99999999.tar": b"x"}}, "each class .*holds 'n99999999.tar'"),
        ({"train": {"n01440764": b"x"}}, "holds 'n01440764'"),
        ({"train": {"n01440764.tar": b"x" * 1024}}, "n01440764.tar in .* whole tar"),
        ({"train": {}}, "ILSVRC2012_img_train.tar must hold images, holds none"),
        (class_tar({"../../evil.JPEG": b"x"}), "n01440764_NUMBER.JPEG, holds 'evil"),
        (class_tar({"n01443537_1.JPEG": b"x"}), "holds 'n01443537_1.JPEG'"),
        (class_tar({"n01440764_1.JPEG": b"x"}), "n01440764_1.JPEG of .* be an image"),
        ({"validation": {"n01440764_1.JPEG": b"x"}}, "val_00000001.JPEG to 00050000"),
        ({"validation": {"ILSVRC2012_val_00050001.JPEG": b"x"}}, "val_00050001"),
    ],
)
def test_other_archives_are_refused_in_one_line(
    tmp_path: pathlib.Path, members: dict[str, dict[str, bytes]], message: str
):
    imagenet.write_archives(tmp_path, **(class_tar(GOOD) | members))
    with pytest.raises(InputError, match=message) as error:
        prepare_imagenet(archive_dir=tmp_path, data_dir=tmp_path / "data")
    assert "\n" not in str(error.value)
    left = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not left
    assert not list(tmp_path.glob("*evil*"))


def test_a_truncated_archive_is_refused(tmp_path: pathlib.Path):
    imagenet.write_archives(tmp_path)
    file = tmp_path / "ILSVRC2012_img_train.tar"
    file.write_bytes(file.read_bytes()[:-12_000])
    with pytest.raises(InputError, match=r"must be a whole tar file"):
        prepare_imagenet(archive_dir=tmp_path, data_dir=tmp_path / "data")


def test_a_missing_archive_is_named_with_where_to_get_it(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match=r"hold ILSVRC2012_img_train.tar.*a login"):
        prepare_imagenet(archive_dir=tmp_path, data_dir=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_written(tmp_path: pathlib.Path):
    imagenet.write_archives(tmp_path, **class_tar(GOOD))
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with pytest.raises(InputError, match=r"data_dir .* cannot be written"):
        prepare_imagenet(archive_dir=tmp_path, data_dir=blocked)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dataset": NAME}, "--archive_dir must name the folder"),
        ({"dataset": NAME, "archive": "a.tar"}, "--archive is for CIFAR"),
        ({"dataset": "cifar10", "archive_dir": "a"}, "--archive_dir is for imagenet"),
    ],
)
def test_flags_of_another_data_set_are_refused(
    tmp_path: pathlib.Path, flags: dict[str, str], message: str
):
    from absl.testing import flagsaver

    if not launcher.flags.FLAGS.is_parsed():
        launcher.flags.FLAGS(["prepare"])
    with (
        flagsaver.flagsaver(data_dir=os.fspath(tmp_path), **flags),
        pytest.raises(InputError, match=message),
    ):
        launcher.main([])
