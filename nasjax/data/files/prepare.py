"""Preparation of CIFAR-10/100 for TFDS, without TensorFlow.

TFDS reads a prepared data set without TensorFlow, but its own preparation of CIFAR
imports it. This one downloads the original binary archive, checks it, parses it
straight from the tar stream and writes it through TFDS, as ArrayRecord with PNG
images, in the layout, order and version of the official data set: what
``tfds.data_source("cifar10")`` reads is the same.
"""

import contextlib
import functools
import hashlib
import http.client
import io
import os
import pathlib
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from nasjax.base import InputError
from nasjax.data.dataset import Path, one_line
from nasjax.data.files.prepared import tfds_version
from nasjax.data.files.writing import Layout, Prepared, check_writable, write

#: The version of the official TFDS data sets whose layout is written.
VERSION = "3.0.2"

_SHAPE = (32, 32, 3)
_CHUNK = 1 << 20
#: What a truncated or damaged archive raises.
_ARCHIVE_ERRORS = (tarfile.TarError, EOFError, zlib.error, OSError)


class Source(NamedTuple):
    """An original binary archive; a record is its labels, then 3·32·32 pixels."""

    archive: str
    md5: str
    folder: str
    members: dict[str, tuple[str, ...]]  # split -> files, in order
    labels: dict[str, tuple[str, int]]  # feature, in order -> (file of names, Y)
    description: str


SOURCES = {
    "cifar10": Source(
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        members={
            "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        labels={"label": ("batches.meta.txt", 10)},
        description="60,000 colour images of 32x32 pixels in 10 classes.",
    ),
    "cifar100": Source(
        archive="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        folder="cifar-100-binary",
        members={"train": ("train.bin",), "test": ("test.bin",)},
        labels={
            "coarse_label": ("coarse_label_names.txt", 20),
            "label": ("fine_label_names.txt", 100),
        },
        description="60,000 colour images of 32x32 pixels in 100 classes, "
        "grouped into 20 superclasses.",
    ),
}
URL = "https://www.cs.toronto.edu/~kriz/"


class _Parsed(NamedTuple):
    class_names: dict[str, list[str]]  # feature -> names
    records: dict[str, np.ndarray]  # split -> [M, labels + 3072] uint8


def prepare(
    name: str,
    *,
    data_dir: Path,
    archive: Path | None = None,
    url: str | None = None,
    checksum: str | None = None,
) -> Prepared:
    """Prepare a data set once, so that `load` and TFDS can read it.

    An interrupted preparation leaves no data set behind: it is written to a
    temporary folder that is renamed at the end.

    Args:
      name: a key of `SOURCES`.
      data_dir: folder of the TFDS data sets; made if missing.
      archive: the original archive; ``None`` to download it (about 160 MB, kept in
        ``data_dir/downloads``).
      url: where to download it from; ``None`` for the authors' page.
      checksum: MD5 of the archive; ``None`` for the published one.

    Raises:
      InputError: unknown name, no network, a wrong checksum, an archive that is not
        the original, a folder that cannot be written; in one line.
    """
    if name not in SOURCES:
        raise InputError(f"dataset must be one of {', '.join(SOURCES)}, got {name!r}")
    source = SOURCES[name]
    root = pathlib.Path(data_dir).expanduser()
    done = tfds_version(name, root)
    if done is not None:
        return Prepared(done, created=False)
    checksum = checksum or source.md5
    if archive is None:
        check_writable(root)
        file = root / "downloads" / source.archive
        if not (file.is_file() and _md5(file) == checksum):
            download(url or URL + source.archive, file, checksum=checksum)
    else:
        file = pathlib.Path(archive).expanduser()
        _check_archive(file, checksum)
    parsed = _parse(file, source)
    check_writable(root)
    return Prepared(_write(name, parsed, root), created=True)


def download(url: str, file: pathlib.Path, *, checksum: str) -> None:
    """Download a file, telling the progress on stderr; whole and right, or not at all.

    Args:
      url: what ``urllib`` opens.
      file: where it goes; its folder is made.
      checksum: MD5.

    Raises:
      InputError: no network, a broken connection, another checksum.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=file.parent, prefix=file.name + ".")
    try:
        with os.fdopen(handle, "wb") as out:
            _fetch(url, out)
        found = _md5(pathlib.Path(part))
        if found != checksum:
            raise InputError(f"{url} must have the MD5 {checksum}, has {found}")
        os.replace(part, file)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, InputError):
            raise
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise InputError(
            f"{url} cannot be downloaded ({' '.join(str(reason).split())}); fetch it "
            "elsewhere and give its path as archive"
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _fetch(url: str, out: io.BufferedWriter) -> None:
    with urllib.request.urlopen(url, timeout=60) as response:
        total = int(response.headers.get("Content-Length") or 0)
        size, told = 0, -1
        while chunk := response.read(_CHUNK):
            out.write(chunk)
            size += len(chunk)
            percent = 100 * size // total if total else 0
            if percent // 10 > told:
                told = percent // 10
                print(f"{url}: {percent} % of {total >> 20} MB", file=sys.stderr)
        if size < total:
            raise http.client.IncompleteRead(b"", total - size)


def _check_archive(file: pathlib.Path, checksum: str) -> None:
    try:
        found = _md5(file)
    except OSError as error:
        raise InputError(
            f"archive {file} cannot be read ({error.strerror or error})"
        ) from error
    if found != checksum:
        raise InputError(f"archive {file} must have the MD5 {checksum}, has {found}")


def _md5(file: pathlib.Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()


# --- the archive -----------------------------------------------------------------


def _parse(file: pathlib.Path, source: Source) -> _Parsed:
    """Read the members in memory; nothing is extracted, so no name is trusted."""
    wanted = {name for files in source.members.values() for name in files}
    wanted |= {name for name, _ in source.labels.values()}
    data: dict[str, bytes] = {}
    try:
        with tarfile.open(file, "r:gz") as tar:
            for member in tar:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                if folder == source.folder and name in wanted and member.isreg():
                    content = tar.extractfile(member)
                    assert content is not None  # a regular file
                    data[name] = content.read()
    except _ARCHIVE_ERRORS as error:
        raise InputError(
            f"archive {file} must be a whole .tar.gz, cannot be read "
            f"({one_line(error)})"
        ) from error
    for name in sorted(wanted - set(data)):
        raise InputError(f"archive {file} must hold {source.folder}/{name}, does not")
    class_names = {
        feature: _class_names(data[name], num_classes, f"{name} in {file}")
        for feature, (name, num_classes) in source.labels.items()
    }
    records = {
        split: np.concatenate(
            [_records(data[name], source, f"{name} in {file}") for name in files]
        )
        for split, files in source.members.items()
    }
    return _Parsed(class_names, records)


def _class_names(text: bytes, num_classes: int, where: str) -> list[str]:
    names = [line.strip() for line in text.decode("utf-8", "replace").split("\n")]
    names = [name for name in names if name]
    if len(names) != num_classes:
        raise InputError(f"{where} must name {num_classes} classes, has {len(names)}")
    return names


def _records(data: bytes, source: Source, where: str) -> np.ndarray:
    size = len(source.labels) + int(np.prod(_SHAPE))
    if not data or len(data) % size:
        raise InputError(
            f"{where} must be whole records of {size} bytes, has {len(data)} bytes"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    for column, (feature, (_, num_classes)) in enumerate(source.labels.items()):
        highest = int(records[:, column].max())
        if highest >= num_classes:
            raise InputError(
                f"{where}: {feature} must be 0..{num_classes - 1}, got {highest}"
            )
    return records


# --- TFDS ------------------------------------------------------------------------


def _write(name: str, parsed: _Parsed, root: pathlib.Path) -> pathlib.Path:
    source = SOURCES[name]

    def features() -> dict[str, Any]:
        import tensorflow_datasets as tfds

        labels = {
            feature: tfds.features.ClassLabel(names=names)
            for feature, names in parsed.class_names.items()
        }
        image = tfds.features.Image(shape=_SHAPE)
        return {"id": tfds.features.Text(), "image": image, **labels}

    layout = Layout(name, VERSION, features, source.description, URL + "cifar.html")
    # The keys decide TFDS's shuffle: the official ones, the official order.
    splits = {
        split: functools.partial(_examples, split, parsed) for split in parsed.records
    }
    return write(layout, splits, root)


def _examples(split: str, parsed: _Parsed) -> Iterator[tuple[int, Any]]:
    num_labels = len(parsed.class_names)
    for key, record in enumerate(parsed.records[split]):
        pixels = record[num_labels:].reshape(3, 32, 32).transpose(1, 2, 0)
        example: dict[str, Any] = {
            "id": f"{split}_{key:05d}",
            # TFDS encodes an array with TensorFlow, and a Pillow image with Pillow.
            "image": Image.fromarray(np.ascontiguousarray(pixels)),
        }
        for feature, label in zip(parsed.class_names, record, strict=False):
            example[feature] = int(label)
        yield key, example
