"""Preparation of ImageNet (ILSVRC2012) for TFDS, without TensorFlow.

ImageNet needs a login, so nothing is downloaded: the official archives are read where
they lie, image by image out of the nested tar files or out of the folders that they
were unpacked to, and written through TFDS as ArrayRecord in the layout and version of
its ``imagenet2012``. The labels of the validation images are those that TFDS brings
along.
"""

import functools
import io
import pathlib
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from PIL import Image

from nasjax.base import InputError
from nasjax.data.dataset import IMAGE_ERRORS, Path, one_line
from nasjax.data.files.folder import is_hidden
from nasjax.data.files.pixels import to_rgb
from nasjax.data.files.prepared import tfds_version
from nasjax.data.files.writing import Layout, Prepared, check_writable, write

NAME = "imagenet2012"
#: The version of the official TFDS data set whose layout is written.
VERSION = "5.1.0"
#: Archive of each split, and how many images it has.
ARCHIVES = {
    "train": ("ILSVRC2012_img_train.tar", 1_281_167),
    "validation": ("ILSVRC2012_img_val.tar", 50_000),
}

#: Folder of each split where the archives were unpacked.
FOLDERS = {"train": "train", "validation": "val"}

_SYNSET = re.compile(r"n\d{8}")
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
      archive_dir: folder with `ARCHIVES`, as they come from image-net.org, or with
        what was in them: ``train/n01440764/*.JPEG`` and ``val/*.JPEG`` or
        ``val/n01440764/*.JPEG``. An archive comes before a folder.
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
    where = {split: _place(folder, split) for split in ARCHIVES}
    check_writable(root)
    layout = Layout(
        NAME,
        VERSION,
        _features,
        "ILSVRC 2012: 1,281,167 training and 50,000 validation images of 1000 classes.",
        "https://image-net.org/",
    )
    read = {"train": _train, "validation": _validation}
    splits = {
        split: functools.partial(_counted, split, where[split], read[split])
        for split in ARCHIVES
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


def _place(folder: pathlib.Path, split: str) -> pathlib.Path:
    """The archive of a split, or the folder of its images.

    Raises:
      InputError: neither, with where they may lie.
    """
    name, inside = ARCHIVES[split][0], folder / FOLDERS[split]
    if (folder / name).is_file():
        return folder / name
    if inside.is_dir():
        return inside
    help_ = (
        "ImageNet is downloaded after a login at https://image-net.org/download-images"
    )
    below = folder / "ILSVRC" / "Data" / "CLS-LOC"
    if (below / FOLDERS[split]).is_dir():
        help_ = f"give --archive_dir={below}, which does"
    elif any(_SYNSET.fullmatch(sub.name) for sub in folder.glob("n*/")):
        help_ = (
            f"its images are to lie in {folder}/train/ and {folder}/val/, or give "
            f"--archive_dir={folder.parent}, if {folder.name}/ is train/"
        )
    raise InputError(
        f"archive_dir {folder} must hold {name}, does not, nor the folder "
        f"{inside.name}/ of its images; {help_}"
    )


#: File name, synset and JPEG.
_Image = tuple[str, str, bytes]


def _counted(
    split: str, place: pathlib.Path, read: Callable[[pathlib.Path], Iterator[_Image]]
) -> Iterator[tuple[str, Any]]:
    """The examples as TFDS takes them; tells when they are not all."""
    name, wanted = place.name, ARCHIVES[split][1]
    count = 0
    for count, (file_name, label, image) in enumerate(read(place), start=1):  # noqa: B007
        yield file_name, {"file_name": file_name, "label": label, "image": image}
    if not count:
        raise InputError(f"archive {name} must hold images, holds none")
    if count != wanted:
        print(f"warning: {name} holds {count} images, not {wanted}", file=sys.stderr)


def _train(place: pathlib.Path) -> Iterator[_Image]:
    """The images: a tar file in a tar file a class, or a folder a class."""
    known = set(class_names())
    for member, synset, images in _classes(place):
        if synset not in known:
            raise InputError(
                f"archive {place} must hold a tar file of each class (n01440764.tar), "
                f"or as a folder a folder of each, holds {member!r}"
            )
        for name, image in images:
            match = _TRAIN_IMAGE.fullmatch(name)
            if match is None or match[1] != synset:
                raise InputError(
                    f"{member} in {place} must hold images {synset}_NUMBER.JPEG, "
                    f"holds {name!r}"
                )
            yield name, synset, _jpeg(image.read(), f"{name} of {member} in {place}")


#: Last part of a name, and content.
_Members = Iterator[tuple[str, IO[bytes]]]


def _classes(place: pathlib.Path) -> Iterator[tuple[str, str, _Members]]:
    """Name and synset of every class, and its files; no synset where it is none."""
    if place.is_dir():
        for sub in _visible(place):
            yield sub.name, sub.name if sub.is_dir() else "", _files(sub)
        return
    for member, content in _members(place, str(place)):
        synset = member.removesuffix(".tar")
        if synset == member:
            synset = ""
        yield member, synset, _members(content, f"{member} in {place}")


def _validation(place: pathlib.Path) -> Iterator[_Image]:
    """The images; the label is by an image's number, in whatever folder it lies."""
    synsets = _tfds_lines("validation_labels.txt")
    images = _files(place) if place.is_dir() else _members(place, str(place))
    for name, image in images:
        match = _VALIDATION_IMAGE.fullmatch(name)
        if match is None or not 1 <= int(match[1]) <= len(synsets):
            raise InputError(
                f"archive {place} must hold images ILSVRC2012_val_00000001.JPEG to "
                f"{len(synsets):08d}, holds {name!r}"
            )
        label = synsets[int(match[1]) - 1]
        yield name, label, _jpeg(image.read(), f"{name} in {place}")


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """What a folder holds, but for what operating systems leave behind."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def _files(folder: pathlib.Path) -> _Members:
    """Files of a folder and of those in it."""
    for path in _visible(folder):
        if path.is_dir():
            yield from _files(path)
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({one_line(error)})") from error
        yield path.name, io.BytesIO(content)


def _members(file: pathlib.Path | Any, where: str) -> _Members:
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
            to_rgb(image).save(encoded, "JPEG", quality=100)
            return encoded.getvalue()
    except InputError as error:
        raise InputError(f"{where} {error}") from None
    except IMAGE_ERRORS as error:
        raise InputError(
            f"{where} must be an image, cannot be read ({one_line(error)})"
        ) from error
