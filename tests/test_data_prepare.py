"""Preparation, on a synthetic archive in the original binary format."""

import functools
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from nasjax.base import InputError
from nasjax.data import load
from nasjax.data.files.prepare import SOURCES, VERSION, download, prepare

Members = dict[str, bytes]


@functools.cache
def make_members(name: str) -> tuple[Members, dict[str, np.ndarray]]:
    """Files of an archive, and the pixels `[M, 3, 32, 32]` of each split."""
    source, rng = SOURCES[name], np.random.default_rng(0)
    members: Members = {}
    for feature, (file, num_classes) in source.labels.items():
        names = [f"{feature} {number}" for number in range(num_classes)]
        members[file] = "".join(line + "\n" for line in [*names, ""]).encode()
    pixels: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    count = 10 if name == "cifar10" else 100
    for split, files in source.members.items():
        for file in files:
            images = rng.integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)
            labels = [
                np.arange(count) % num_classes
                for _, num_classes in source.labels.values()
            ]
            records = [np.stack(labels, 1).astype(np.uint8), images.reshape(count, -1)]
            members[file] = np.concatenate(records, 1).tobytes()
            pixels[split].append(images)
    return members, {split: np.concatenate(parts) for split, parts in pixels.items()}


def pack(file: pathlib.Path, folder: str, members: Members) -> str:
    """Write the archive; return its MD5."""
    with tarfile.open(file, "w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return md5(file)


def md5(file: pathlib.Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_what_was_prepared_is_read_back(tmp_path: pathlib.Path, name: str):
    import tensorflow_datasets as tfds

    members, pixels = make_members(name)
    archive, data_dir = tmp_path / "a.tar.gz", tmp_path / "data"
    checksum = pack(archive, SOURCES[name].folder, members)
    prepared = prepare(name, data_dir=data_dir, archive=archive, checksum=checksum)
    assert prepared == (data_dir / name / VERSION, True)
    names = tuple(members[SOURCES[name].labels["label"][0]].decode().split("\n")[:-2])
    for split in ("train", "test"):
        images = pixels[split].transpose(0, 2, 3, 1)
        # Ours, and TFDS's own class of that name, as anybody would use it.
        dataset = load(name, data_dir=data_dir, split=split)
        np.testing.assert_array_equal(dataset.images, images)
        np.testing.assert_array_equal(
            dataset.labels, np.arange(len(images)) % len(names)
        )
        assert dataset.class_names == names
        source = tfds.data_source(name, data_dir=data_dir, split=split)
        assert len(source) == len(images)
        for row in (0, 7):
            place = int(source[row]["id"].decode().removeprefix(f"{split}_"))
            np.testing.assert_array_equal(source[row]["image"], images[place])
            assert source[row]["label"] == place % len(names)
            if name == "cifar100":
                assert source[row]["coarse_label"] == place % 20
    assert sorted(path.name for path in data_dir.iterdir()) == [name]  # no leftovers


def test_the_layout_is_that_of_the_official_data_set(tmp_path: pathlib.Path):
    folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "")) / "cifar10" / VERSION
    if not folder.is_dir():
        pytest.skip("TFDS_DATA_DIR holds no cifar10")
    members, _ = make_members("cifar10")
    archive = tmp_path / "a.tar.gz"
    checksum = pack(archive, SOURCES["cifar10"].folder, members)
    made, _ = prepare("cifar10", data_dir=tmp_path, archive=archive, checksum=checksum)
    assert sorted(path.name for path in made.iterdir()) == sorted(
        path.name for path in folder.iterdir()
    )
    features, wanted = (
        json.loads((path / "features.json").read_text()) for path in (made, folder)
    )
    assert features == wanted


def test_a_second_preparation_does_nothing(tmp_path: pathlib.Path):
    members, _ = make_members("cifar10")
    archive = tmp_path / "a.tar.gz"
    checksum = pack(archive, SOURCES["cifar10"].folder, members)
    again = functools.partial(
        prepare, "cifar10", data_dir=tmp_path / "data", checksum=checksum
    )
    first = again(archive=archive)
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    archive.unlink()  # nor does it look at the archive
    assert again(archive=archive) == (first.folder, False)
    assert times == {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}


def test_an_interrupted_preparation_leaves_no_data_set(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    from nasjax.data.files import prepare as _  # noqa: F401  the module is patched below

    module = sys.modules["nasjax.data.files.prepare"]
    members, _pixels = make_members("cifar10")
    archive, data_dir = tmp_path / "a.tar.gz", tmp_path / "data"
    checksum = pack(archive, SOURCES["cifar10"].folder, members)
    examples = module._examples

    def interrupted(split, parsed):
        for key, example in examples(split, parsed):
            if split == "test" and key == 5:
                raise KeyboardInterrupt
            yield key, example

    monkeypatch.setattr(module, "_examples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare("cifar10", data_dir=data_dir, archive=archive, checksum=checksum)
    assert not [path for path in data_dir.rglob("*") if path.is_file()]
    monkeypatch.undo()
    assert prepare(
        "cifar10", data_dir=data_dir, archive=archive, checksum=checksum
    ).created


# --- what a user reads -----------------------------------------------------------


def truncated(file: pathlib.Path, members: Members) -> str:
    pack(file, SOURCES["cifar10"].folder, members)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    return md5(file)


def no_tar(file: pathlib.Path, members: Members) -> str:
    file.write_bytes(b"hello")
    return md5(file)


def other_folder(file: pathlib.Path, members: Members) -> str:
    return pack(file, "../cifar-10-batches-bin", members)


def with_member(name: str, data: bytes | None):
    def write(file: pathlib.Path, members: Members) -> str:
        changed = {**members, name: data}
        kept = {key: value for key, value in changed.items() if value is not None}
        return pack(file, SOURCES["cifar10"].folder, kept)

    return write


def linked_member(file: pathlib.Path, members: Members) -> str:
    """A link to a file outside in place of a member."""
    folder = SOURCES["cifar10"].folder
    with tarfile.open(file, "w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            if name == "test_batch.bin":
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return md5(file)


BAD_ARCHIVES = [
    (truncated, r"must be a whole \.tar\.gz"),
    (no_tar, r"must be a whole \.tar\.gz"),
    (other_folder, "must hold cifar-10-batches-bin/batches.meta.txt, does not"),
    (with_member("data_batch_3.bin", None), r"must hold .*/data_batch_3\.bin"),
    (linked_member, r"must hold .*/test_batch\.bin"),
    (with_member("test_batch.bin", b"x" * 3074), "whole records of 3073 bytes"),
    (with_member("test_batch.bin", b""), "whole records of 3073 bytes, has 0"),
    (with_member("test_batch.bin", b"\x0b" * 3073), r"label must be 0\.\.9, got 11"),
    (with_member("batches.meta.txt", b"cat\n"), "must name 10 classes, has 1"),
    (lambda file, _: "0" * 32, "cannot be read .No such file"),
]


@pytest.mark.parametrize(("make", "match"), BAD_ARCHIVES)
def test_bad_archives(tmp_path: pathlib.Path, make, match: str):
    archive, data_dir = tmp_path / "a.tar.gz", tmp_path / "data"
    checksum = make(archive, make_members("cifar10")[0])
    raises_one_line(match, archive=archive, data_dir=data_dir, checksum=checksum)
    assert not data_dir.exists()


def raises_one_line(match: str, **arguments) -> None:
    with pytest.raises(InputError, match=match) as caught:
        prepare("cifar10", **arguments)
    assert "\n" not in str(caught.value)


def test_the_published_checksum_is_the_default(tmp_path: pathlib.Path):
    no_tar(tmp_path / "a", {})
    match = f"must have the MD5 {SOURCES['cifar10'].md5}, has {md5(tmp_path / 'a')}"
    raises_one_line(match, archive=tmp_path / "a", data_dir=tmp_path)


def test_bad_name_and_folder(tmp_path: pathlib.Path):
    with pytest.raises(InputError, match="one of cifar10, cifar100, got 'svhn'"):
        prepare("svhn", data_dir=tmp_path)
    (tmp_path / "file").touch()
    for data_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        raises_one_line("cannot be written", data_dir=data_dir)


# --- download --------------------------------------------------------------------


def test_download_comes_whole_or_not_at_all(tmp_path: pathlib.Path):
    members, _ = make_members("cifar10")
    checksum = pack(tmp_path / "origin.tar.gz", SOURCES["cifar10"].folder, members)
    url = (tmp_path / "origin.tar.gz").as_uri()
    data_dir = tmp_path / "data"
    raises_one_line("must have the MD5 c32a1d4a", url=url, data_dir=data_dir)
    assert not [path for path in data_dir.rglob("*") if path.is_file()]
    done = prepare("cifar10", data_dir=data_dir, url=url, checksum=checksum)
    assert done.created
    kept = data_dir / "downloads" / "cifar-10-binary.tar.gz"
    assert md5(kept) == checksum
    # The next preparation takes what was downloaded.
    for path in done.folder.iterdir():
        path.unlink()
    done.folder.rmdir()
    assert prepare(
        "cifar10", data_dir=data_dir, url="file:///no", checksum=checksum
    ).created


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "file:///no/such", "nonsense"])
def test_no_network(tmp_path: pathlib.Path, url: str):
    with pytest.raises(InputError, match="cannot be downloaded") as caught:
        download(url, tmp_path / "file", checksum="")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_connection_that_breaks(tmp_path, monkeypatch: pytest.MonkeyPatch):
    class Response(io.BytesIO):
        headers = {"Content-Length": "100"}  # noqa: RUF012

    monkeypatch.setattr(
        "urllib.request.urlopen", lambda url, timeout: Response(b"x" * 40)
    )
    with pytest.raises(InputError, match="IncompleteRead"):
        download("http://x", tmp_path / "file", checksum="")
    assert not list(tmp_path.iterdir())


# --- the launch ------------------------------------------------------------------


def launch(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "experiments.prepare", *flags],
        capture_output=True,
        text=True,
        check=False,
    )


def test_launch(tmp_path: pathlib.Path):
    members, _ = make_members("cifar10")
    archive, data_dir = tmp_path / "a.tar.gz", tmp_path / "data"
    checksum = pack(archive, SOURCES["cifar10"].folder, members)
    flags = (f"--archive={archive}", f"--data_dir={data_dir}", f"--checksum={checksum}")
    done = launch(*flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"cifar10 is prepared in {data_dir}/cifar10/{VERSION}\n"
    bad = launch(f"--archive={archive}", f"--data_dir={tmp_path / 'other'}")
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert bad.stderr.count("\n") == 1
    assert "must have the MD5" in bad.stderr
