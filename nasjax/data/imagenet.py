"""Preparation of ImageNet (ILSVRC2012) for TFDS, without TensorFlow.

ImageNet needs a login, so nothing is downloaded: the official archives are read where
they lie, image by image out of the nested tar files, and written through TFDS as
ArrayRecord in the layout and version of its ``imagenet2012``. The labels of the
validation images are those that TFDS brings along.
"""

import io
import pathlib
import re
import sys
import tarfile
from collections.abc import Iterator
from typing import IO, Any

from PIL import Image

from nasjax.base import InputError
from nasjax.data.dataset import IMAGE_ERRORS, Path, one_line
from nasjax.data.sources import tfds_version
from nasjax.data.writing import Layout, Prepared, check_writable, write

NAME = "imagenet2012"
#: The version of the official TFDS data set whose layout is written.
VERSION = "5.1.0"
#: Archive of each split, and how many images it has.
ARCHIVES = {
    "train": ("ILSVRC2012_img_train.tar", 1_281_167),
    "validation": ("ILSVRC2012_img_val.tar", 50_000),
}

_TRAIN_IMAGE = re.compile(r"(n\d{8})_\d+\.JPEG")
_VALIDATION_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
#: What a truncated or damaged archive raises.
_ARCHIVE_ERRORS = (tarfile.TarError, EOFError, OSError)


def prepare_imagenet(*, archive_dir: Path, data_dir: Path) -> Prepared:
    """Prepare ImageNet once, so that the stream and TFDS can read it.

    Needs the room of the archives (about 145 GB) again, and while TFDS shuffles up to
    twice that. An interrupted preparation leaves no data set behind. Archives with
    fewer images than the official ones are taken as they are, which is told on stderr.

    Args:
      archive_dir: folder with `ARCHIVES`, as they come from image-net.org.
      data_dir: folder of the TFDS data sets; made if missing.

    Raises:
      InputError: an archive that is missing, damaged or not the official one, a
        broken image, a folder that cannot be written; in one line.
    """
    root = pathlib.Path(data_dir).expanduser()
    done = tfds_version(NAME, root)
    if done is not None:
        return Prepared(done, created=False)
    folder = pathlib.Path(archive_dir).expanduser()
    for name, _ in ARCHIVES.values():
        if not (folder / name).is_file():
            raise InputError(
                f"archive_dir {folder} must hold {name}, does not; ImageNet is "
                "downloaded after a login at https://image-net.org/download-images"
            )
    check_writable(root)
    layout = Layout(
        NAME,
        VERSION,
        _features,
        "ILSVRC 2012: 1,281,167 training and 50,000 validation images of 1000 classes.",
        "https://image-net.org/",
    )
    splits = {
        "train": lambda: _counted("train", _train(folder / ARCHIVES["train"][0])),
        "validation": lambda: _counted(
            "validation", _validation(folder / ARCHIVES["validation"][0])
        ),
    }
    return Prepared(write(layout, splits, root), created=True)


def class_names() -> list[str]:
    """The 1000 synsets, in the order of their labels."""
    return _tfds_lines("labels.txt")


def _features() -> dict[str, Any]:
    import tensorflow_datasets as tfds

    return {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=class_names()),
        "file_name": tfds.features.Text(),
    }


def _tfds_lines(name: str) -> list[str]:
    import tensorflow_datasets as tfds

    path = pathlib.Path(tfds.core.tfds_path(f"datasets/{NAME}/{name}"))
    return path.read_text().split()


# --- archives --------------------------------------------------------------------


def _counted(split: str, examples: Iterator[Any]) -> Iterator[tuple[str, Any]]:
    """The examples as TFDS takes them; tells when they are not all."""
    name, wanted = ARCHIVES[split]
    count = 0
    for count, (file_name, label, image) in enumerate(examples, start=1):  # noqa: B007
        yield file_name, {"file_name": file_name, "label": label, "image": image}
    if not count:
        raise InputError(f"archive {name} must hold images, holds none")
    if count != wanted:
        print(f"warning: {name} holds {count} images, not {wanted}", file=sys.stderr)


def _train(file: pathlib.Path) -> Iterator[tuple[str, str, bytes]]:
    """File name, synset and JPEG of every image: a tar file in a tar file a class."""
    known = set(class_names())
    for member, content in _members(file, str(file)):
        synset = member.removesuffix(".tar")
        if synset not in known or synset == member:
            raise InputError(
                f"archive {file} must hold a tar file of each class (n01440764.tar), "
                f"holds {member!r}"
            )
        for name, image in _members(content, f"{member} in {file}"):
            match = _TRAIN_IMAGE.fullmatch(name)
            if match is None or match[1] != synset:
                raise InputError(
                    f"{member} in {file} must hold images {synset}_NUMBER.JPEG, "
                    f"holds {name!r}"
                )
            yield name, synset, _jpeg(image.read(), f"{name} of {member} in {file}")


def _validation(file: pathlib.Path) -> Iterator[tuple[str, str, bytes]]:
    """File name, synset and JPEG of every image; the label is by its number."""
    synsets = _tfds_lines("validation_labels.txt")
    for name, image in _members(file, str(file)):
        match = _VALIDATION_IMAGE.fullmatch(name)
        if match is None or not 1 <= int(match[1]) <= len(synsets):
            raise InputError(
                f"archive {file} must hold images ILSVRC2012_val_00000001.JPEG to "
                f"{len(synsets):08d}, holds {name!r}"
            )
        yield name, synsets[int(match[1]) - 1], _jpeg(image.read(), f"{name} in {file}")


def _members(file: pathlib.Path | Any, where: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Last part of the name and content of every file of a tar file.

    Nothing is extracted to disk, so a name can lead nowhere.
    """
    try:
        opened = {"name": file} if isinstance(file, pathlib.Path) else {"fileobj": file}
        with tarfile.open(mode="r:", **opened) as tar:
            for member in tar:
                if member.isreg():
                    content = tar.extractfile(member)
                    assert content is not None  # a regular file
                    yield pathlib.PurePosixPath(member.name).name, content
    except InputError:
        raise
    except _ARCHIVE_ERRORS as error:
        raise InputError(
            f"archive {where} must be a whole tar file, cannot be read "
            f"({one_line(error)})"
        ) from error


def _jpeg(data: bytes, where: str) -> bytes:
    """The file as it is; what is no RGB or grey JPEG (some 20 images) becomes one."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                return data
            encoded = io.BytesIO()
            image.convert("RGB").save(encoded, "JPEG", quality=100)
            return encoded.getvalue()
    except IMAGE_ERRORS as error:
        raise InputError(
            f"{where} must be an image, cannot be read ({one_line(error)})"
        ) from error
