"""Folders of TFDS as they lie about: what is read, and what is said of the others."""

import json
import os
import pathlib
import shutil

import pytest

from nasjax.base import InputError
from nasjax.data import load, open_tfds, prepare
from nasjax.data.files.prepared import tfds_version

NAME = "cifar10"
AGAIN = (
    "prepare it again into another --data_dir: python -m experiments.prepare "
    "--dataset=cifar10 --data_dir=OTHER_DIR"
)


def version(
    root: pathlib.Path,
    number: str = "3.0.2",
    *,
    fields: dict[str, object] | None = None,
    files: str = "tfrecord",
) -> pathlib.Path:
    """A version with its dataset_info.json, and files of a format."""
    folder = root / NAME / number
    folder.mkdir(parents=True)
    info = {"name": NAME, "version": number, "fileFormat": "tfrecord"} | (fields or {})
    info = {key: value for key, value in info.items() if value is not None}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / f"{NAME}-train.{files}-00000-of-00001").write_bytes(b"x")
    return folder


def refused(root: pathlib.Path) -> str:
    """What `load` says, and everybody else who asks for the data set."""
    told = []
    for ask in (
        lambda: load(NAME, data_dir=root),
        lambda: open_tfds(NAME, data_dir=root),
    ):
        with pytest.raises(InputError) as error:
            ask()
        told.append(str(error.value))
    assert told[0] == told[1]
    assert "\n" not in told[0]
    for word in ("remove", "delete", "broken", "unreadable", "damaged"):
        assert word not in told[0]
    return told[0]


@pytest.mark.parametrize(
    ("fields", "files", "named"),
    [
        ({}, "tfrecord", "tfrecord"),
        ({"fileFormat": None}, "tfrecord", "tfrecord"),  # before TFDS named it
        ({"fileFormat": "riegeli"}, "riegeli", "riegeli"),
        ({"fileFormat": "parquet"}, "parquet", "parquet"),
        (
            {"alternativeFileFormats": ["parquet"]},
            "tfrecord",
            "parquet and tfrecord",
        ),
        # What lies there is not what is written down.
        ({"fileFormat": "array_record"}, "tfrecord", "tfrecord"),
    ],
)
def test_another_format_is_sound_and_stays(tmp_path, fields, files, named):
    folder = version(tmp_path, fields=fields, files=files)
    assert refused(tmp_path) == (
        f"{folder} is prepared as {named}, which is sound and stays, but cannot be "
        f"read without TensorFlow; {AGAIN}"
    )
    # Preparing does not say that all is done, nor write beside what is there.
    with pytest.raises(InputError, match=f"as {named}, which is sound and stays"):
        prepare(NAME, data_dir=tmp_path)


def test_the_newest_version_that_can_be_read_is_read(tmp_path: pathlib.Path):
    version(tmp_path, "3.0.2")
    both = {"alternativeFileFormats": ["array_record"]}
    readable = version(tmp_path, "3.0.1", fields=both, files="array_record")
    version(tmp_path, "1.0.0", fields={"fileFormat": "array_record"})
    assert tfds_version(NAME, tmp_path) == readable
    newer = version(
        tmp_path, "3.0.10", fields={"fileFormat": "array_record"}, files="array_record"
    )
    assert tfds_version(NAME, tmp_path) == newer


def test_what_cannot_be_read_is_kept_too(tmp_path: pathlib.Path):
    folder = version(
        tmp_path, fields={"fileFormat": "array_record"}, files="array_record"
    )
    told = refused(tmp_path)
    assert told.startswith(f"{folder} cannot be read (")
    assert told.endswith(f"; if it is not whole, {AGAIN}")


def test_a_level_above_or_below_is_named(tmp_path: pathlib.Path):
    root = tmp_path / "tfds"
    folder = version(root)
    for given in (tmp_path, root / NAME, folder):
        found = f"{NAME} is not prepared (it is in {root}: give that as data_dir) in "
        assert refused(given).startswith(found)
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith(f"{NAME} is not prepared in ")


def test_an_interrupted_preparation_is_named(tmp_path: pathlib.Path):
    for name in ("incomplete.AB12_3.0.2", "3.0.2.incompleteZ"):
        (tmp_path / NAME / name).mkdir(parents=True)
        assert f"{name} is an interrupted preparation" in refused(tmp_path)


def test_images_of_imagenet_that_lie_in_folders_are_named(tmp_path: pathlib.Path):
    (tmp_path / "train" / "n01440764").mkdir(parents=True)
    command = rf"lie in {tmp_path}/train: give --archive_dir={tmp_path}\).*--dataset="
    for given in (tmp_path, tmp_path / "train"):
        with pytest.raises(InputError, match=command):
            open_tfds("imagenet2012", data_dir=given)


def test_both_formats_beside_each_other_are_read(tmp_path: pathlib.Path):
    official = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "")) / NAME
    if not official.is_dir():
        pytest.skip("TFDS_DATA_DIR holds no cifar10")
    newest = tfds_version(NAME, official.parent)
    assert newest is not None
    copy = tmp_path / NAME / newest.name
    shutil.copytree(newest, copy)
    info = json.loads((copy / "dataset_info.json").read_text())
    info |= {"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]}
    (copy / "dataset_info.json").write_text(json.dumps(info))
    few = load(NAME, data_dir=tmp_path, split="test", max_examples=10)
    assert (
        few.images
        == load(NAME, data_dir=official.parent, split="test", max_examples=10).images
    ).all()
