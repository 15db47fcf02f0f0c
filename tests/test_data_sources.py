"""Loading: what comes out, and what a user reads when something is wrong."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from nasjax.base import InputError
from nasjax.data import Dataset, load
from nasjax.data.dataset import subset

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 5, 4, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def save_npz(folder: pathlib.Path, **changed: np.ndarray | None) -> pathlib.Path:
    """A good file, but for the given keys (None: without the key)."""
    arrays = {"images": IMAGES, "labels": LABELS} | changed
    file = folder / "own.npz"
    np.savez(file, **{key: value for key, value in arrays.items() if value is not None})
    return file


def save_folder(folder: pathlib.Path, *parts: str) -> pathlib.Path:
    """Three classes of two PNG images each, in each of the parts."""
    for part in parts or ("",):
        for row, label in enumerate(LABELS):
            sub = folder / part / f"class_{label}"
            sub.mkdir(parents=True, exist_ok=True)
            Image.fromarray(IMAGES[row]).save(sub / f"{row}.png")
    return folder


# --- what comes out --------------------------------------------------------------


def test_digits_splits_are_disjoint_stratified_and_scaled():
    from sklearn.datasets import load_digits

    raw = load_digits()
    train, test = load("digits"), load("digits", split="test")
    assert len(train.labels) + len(test.labels) == 1797
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int32
    assert train.image_shape == (8, 8, 1)
    assert train.num_classes == 10
    for digit in range(10):
        share = (test.labels == digit).sum() / (raw.target == digit).sum()
        assert 0.19 < share <= 0.2
    # Together they are the original, every image once.
    both = np.concatenate([train.images, test.images])[..., 0]
    back = np.rint(both / 255 * 16).reshape(1797, 64).astype(int)
    assert sorted(map(tuple, back)) == sorted(map(tuple, raw.data.astype(int)))


def test_max_examples_keeps_every_class_in_proportion():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    np.random.default_rng(1).shuffle(labels)
    counts = np.bincount(labels[subset(labels, 50)])
    assert counts.tolist() == [30, 15, 5]
    assert np.bincount(labels[subset(labels, 3)]).tolist() == [1, 1, 1]
    assert len(subset(labels, 1000)) == 100
    small = load("digits", max_examples=40)
    assert np.bincount(small.labels).tolist() == [4] * 10
    np.testing.assert_array_equal(small.images, load("digits", max_examples=40).images)


def test_npz_round_trip(tmp_path: pathlib.Path):
    names = np.array(["ant", "bee", "cat"])
    file = save_npz(
        tmp_path, test_images=IMAGES[:2], test_labels=LABELS[:2], class_names=names
    )
    train, test = load("npz", path=file), load("npz", path=file, split="test")
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(train.labels, LABELS)
    np.testing.assert_array_equal(test.images, IMAGES[:2])
    assert train.name == "own"
    assert test.class_names == ("ant", "bee", "cat")
    assert test.num_classes == 3  # although the test part holds two of them


def test_npz_grey_images_get_a_channel(tmp_path: pathlib.Path):
    dataset = load("npz", path=save_npz(tmp_path, images=IMAGES[..., 0]))
    assert dataset.image_shape == (5, 4, 1)
    np.testing.assert_array_equal(dataset.images[..., 0], IMAGES[..., 0])


@pytest.mark.parametrize("parts", [(), ("train", "test")])
def test_folder_round_trip(tmp_path: pathlib.Path, parts: tuple[str, ...]):
    save_folder(tmp_path, *parts)
    (tmp_path / ".hidden").mkdir()
    for split in parts or ("train",):
        dataset = load("folder", path=tmp_path, split=split)
        order = np.argsort(LABELS, kind="stable")
        np.testing.assert_array_equal(dataset.images, IMAGES[order])
        np.testing.assert_array_equal(dataset.labels, LABELS[order])
        assert dataset.class_names == ("class_0", "class_1", "class_2")


def test_folder_resizes_and_turns_every_kind_into_rgb(tmp_path: pathlib.Path):
    save_folder(tmp_path)
    colour = (10, 200, 30)
    rgba = Image.new("RGBA", (9, 7), (*colour, 128))
    rgba.save(tmp_path / "class_0" / "alpha.png")
    palette = Image.new("RGB", (3, 3), colour).quantize(4)
    palette.save(tmp_path / "class_0" / "palette.PNG", transparency=b"\x00\x80")
    Image.new("L", (8, 8), 77).save(tmp_path / "class_1" / "grey.bmp")
    Image.new("RGB", (8, 8), colour).save(
        tmp_path / "class_2" / "lossless.webp", lossless=True
    )
    dataset = load("folder", path=tmp_path, image_size=6)
    assert dataset.images.shape == (10, 6, 6, 3)
    flat = [
        tuple(image[0, 0])
        for image in dataset.images
        if np.ptp(image, (0, 1)).max() == 0
    ]
    assert sorted(flat) == sorted([colour] * 3 + [(77,) * 3])


def test_folder_reads_only_what_max_examples_keeps(tmp_path: pathlib.Path):
    save_folder(tmp_path)
    (tmp_path / "class_2" / "9.png").write_bytes(b"broken")
    assert load("folder", path=tmp_path, max_examples=3).labels.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match=r"9\.png must be an image"):
        load("folder", path=tmp_path)


# --- CIFAR -----------------------------------------------------------------------


def real_cifar() -> str:
    folder = os.environ.get("TFDS_DATA_DIR", "")
    if not (pathlib.Path(folder) / "cifar10").is_dir():
        pytest.skip("TFDS_DATA_DIR holds no cifar10")
    return folder


def test_cifar10_agrees_with_tfds(monkeypatch: pytest.MonkeyPatch):
    import tensorflow_datasets as tfds

    folder = real_cifar()
    test = load("cifar10", split="test")  # through the environment
    assert test.images.shape == (10000, 32, 32, 3)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.class_names[3] == "cat"
    source = tfds.data_source("cifar10", split="test", data_dir=folder)
    for row in (0, 1, 4321):
        example = source[row]
        place = int(example["id"].decode().removeprefix("test_"))
        np.testing.assert_array_equal(test.images[place], example["image"])
        assert test.labels[place] == example["label"]
    monkeypatch.delenv("TFDS_DATA_DIR")
    few = load("cifar10", split="test", data_dir=folder, max_examples=20)
    assert np.bincount(few.labels).tolist() == [2] * 10
    assert (few.images[0] == test.images[0]).all()


def test_nothing_imports_tensorflow(tmp_path: pathlib.Path):
    folder = os.environ.get("TFDS_DATA_DIR", "")
    prepared = (pathlib.Path(folder) / "cifar10").is_dir()
    code = (
        "import sys; from nasjax.data import load, prepare; load('digits')\n"
        + ("load('cifar10', split='test', max_examples=10)\n" if prepared else "")
        + "import tensorflow_datasets\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # in particular no advice to install OpenCV


# --- what a user reads -----------------------------------------------------------


def broken_npz(folder: pathlib.Path) -> pathlib.Path:
    file = save_npz(folder)
    file.write_bytes(file.read_bytes()[:-40])
    return file


def text_file(folder: pathlib.Path) -> pathlib.Path:
    (folder / "text.npz").write_text("hello")
    return folder / "text.npz"


def single_array(folder: pathlib.Path) -> pathlib.Path:
    np.save(folder / "one.npy", IMAGES)
    return folder / "one.npy"


def changed(**arrays: np.ndarray | None) -> Callable[[pathlib.Path], pathlib.Path]:
    return lambda folder: save_npz(folder, **arrays)


BAD_NPZ = [
    (lambda folder: folder / "no.npz", "there is no such file"),
    (lambda folder: folder, "there is no such file"),
    (text_file, "cannot be read"),
    (broken_npz, "cannot be read"),
    (single_array, "is a single array"),
    (changed(images=np.array([None] * 6)), "cannot be read .*allow_pickle"),
    (changed(images=None), "must have the key images, has labels"),
    (changed(images=None, labels=None), "must have the key images, has none"),
    (changed(labels=None), "must have the key labels, has images"),
    (changed(images=IMAGES / 255), "must be uint8 .*got float64"),
    (changed(images=IMAGES[0, 0]), r"got the shape \(4, 3\)"),
    (changed(images=IMAGES[..., :2]), r"Ch 1 or 3, got the shape \(6, 5, 4, 2\)"),
    (changed(images=IMAGES[:0], labels=LABELS[:0]), "got the shape"),
    (changed(labels=LABELS[:5]), r"must have the shape \(6,\).*got \(5,\)"),
    (changed(labels=np.eye(6, dtype=int)), r"got \(6, 6\)"),
    (changed(labels=LABELS / 1), "must be integers, got float64"),
    (changed(labels=LABELS - 1), "must be 0 or more, got -1"),
    (changed(labels=LABELS + 1), "class 0 has no example"),
    (changed(labels=LABELS * 2), r"cover 0\.\.4 .*class 1 has no example"),
    (changed(labels=LABELS * 0), "at least 2 classes"),
    (changed(class_names=np.array(["a", "b"])), "must be 3 strings"),
    (changed(class_names=np.arange(3)), "must be 3 strings, got int64"),
]
BAD_NPZ_TEST = [
    (changed(), "has no test split"),
    (changed(test_images=IMAGES), "must have the key test_labels"),
    (changed(test_images=IMAGES, test_labels=LABELS + 1), r"0\.\.2.*got 3"),
    (
        changed(test_images=IMAGES[:, :4], test_labels=LABELS),
        r"image shape of images, \(5, 4, 3\), got \(4, 4, 3\)",
    ),
]


def raises_one_line(match: str, name: str, **arguments) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load(name, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("make", "match"), BAD_NPZ)
def test_bad_npz(tmp_path: pathlib.Path, make, match):
    raises_one_line(match, "npz", path=make(tmp_path))


@pytest.mark.parametrize(("make", "match"), BAD_NPZ_TEST)
def test_bad_npz_test_part(tmp_path: pathlib.Path, make, match):
    raises_one_line(match, "npz", path=make(tmp_path), split="test")


def with_file(part: str, content: bytes) -> Callable[[pathlib.Path], pathlib.Path]:
    def make(folder: pathlib.Path) -> pathlib.Path:
        save_folder(folder)
        (folder / part).parent.mkdir(exist_ok=True)
        (folder / part).write_bytes(content)
        return folder

    return make


def mixed_sizes(folder: pathlib.Path) -> pathlib.Path:
    save_folder(folder)
    Image.new("RGB", (9, 9)).save(folder / "class_1" / "big.png")
    return folder


def one_class(folder: pathlib.Path) -> pathlib.Path:
    (folder / "only").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "only" / "a.png")
    return folder


def truncated(folder: pathlib.Path) -> pathlib.Path:
    save_folder(folder)
    file = folder / "class_0" / "0.png"
    file.write_bytes(file.read_bytes()[:60])
    return folder


BAD_FOLDER = [
    (lambda folder: folder / "no", "is no folder"),
    (lambda folder: folder, "must hold class folders of images, has none"),
    (one_class, "at least 2 class folders, has 1"),
    (with_file("empty/notes.txt", b"x"), "empty must hold images of the kinds"),
    (with_file("class_1/x.jpg", b"no image"), r"x\.jpg must be an image"),
    (with_file("class_1/x.png", b""), r"x\.png must be an image"),
    (truncated, r"0\.png must be an image"),
    (mixed_sizes, r"image_size must be given .*4x5 pixels.*big\.png has 9x9"),
]


@pytest.mark.parametrize(("make", "match"), BAD_FOLDER)
def test_bad_folder(tmp_path: pathlib.Path, make, match):
    raises_one_line(match, "folder", path=make(tmp_path))


def test_bad_folder_test_part(tmp_path: pathlib.Path):
    save_folder(tmp_path / "flat")
    raises_one_line("no test split", "folder", path=tmp_path / "flat", split="test")
    save_folder(tmp_path / "parts", "train", "test")
    (tmp_path / "parts" / "test" / "class_0").rename(
        tmp_path / "parts" / "test" / "other"
    )
    raises_one_line(
        "other is no class", "folder", path=tmp_path / "parts", split="test"
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"name": "mnist"}, "one of digits, cifar10, cifar100, npz, folder, got 'mn"),
        ({"name": "digits", "split": "dev"}, "one of train, test, got 'dev'"),
        ({"name": "digits", "path": "x"}, "path is for npz and folder"),
        ({"name": "digits", "image_size": 8}, "image_size is for folder"),
        ({"name": "folder", "path": "x", "image_size": 0}, "at least 1 pixel, got 0"),
        ({"name": "npz"}, "path must be given for the data set 'npz'"),
        ({"name": "digits", "max_examples": 0}, "max_examples must be at least 1"),
        ({"name": "digits", "max_examples": 9}, "number of classes, 10, got 9"),
    ],
)
def test_bad_arguments(arguments: dict, match: str):
    raises_one_line(match, **arguments)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_that_is_not_prepared(tmp_path: pathlib.Path, name: str):
    (tmp_path / name / "incomplete.ABC_3.0.2").mkdir(parents=True)
    command = (
        f"in {tmp_path}; prepare it with: python -m experiments.prepare "
        f"--dataset={name} --data_dir={tmp_path}"
    )
    raises_one_line(command, name, data_dir=tmp_path)


def test_dataset_is_a_value():
    dataset = Dataset("x", IMAGES, LABELS, ("a", "b", "c"))
    assert dataset.num_classes == 3
    assert dataset.image_shape == (5, 4, 3)
