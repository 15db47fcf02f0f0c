"""Where TFDS keeps its data sets, and which of them are read.

TFDS reads ArrayRecord without TensorFlow, and no other format. What is prepared in
another is sound: nothing here calls it broken, and nothing is ever to be deleted.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterator

from nasjax.base import InputError
from nasjax.data.dataset import Path, one_line

#: The format that is read, as TFDS names it.
_FORMAT = "array_record"
#: Data sets that `experiments.prepare` writes.
_PREPARES = ("cifar10", "cifar100", "imagenet2012")
_INFO = "dataset_info.json"
_SYNSET = re.compile(r"n\d{8}")


def tfds_root(data_dir: Path | None) -> pathlib.Path:
    """Folder where TFDS looks: `data_dir`, ``$TFDS_DATA_DIR``, or its own default."""
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(chosen).expanduser()


def tfds_version(name: str, root: pathlib.Path) -> pathlib.Path | None:
    """Folder of the newest version of `name` below `root` that can be read, if any.

    Raises:
      InputError: all that there is, is in another format.
    """
    versions = _versions(root / name)
    readable = [folder for folder in versions if _FORMAT in _formats(folder)]
    if readable:
        return readable[-1]
    if versions:
        folder = versions[-1]
        formats = " and ".join(sorted(_formats(folder)))
        raise InputError(
            f"{folder} is prepared as {formats}, which is sound and stays, but cannot "
            f"be read without TensorFlow; {_into_another(name)}"
        )
    return None


def find(name: str, data_dir: Path | None) -> pathlib.Path:
    """Folder of a prepared data set.

    Raises:
      InputError: none, or in another format; with what there is, and what to do.
    """
    root = tfds_root(data_dir)
    folder = tfds_version(name, root)
    if folder is not None:
        return folder
    seen = "; ".join([*_elsewhere(name, root), *_left_behind(name, root)])
    prepare = f"prepare it with: {_command(name, root)}"
    if name not in _PREPARES:
        prepare = "prepare it with TFDS as array_record"
    raise InputError(
        f"{name} is not prepared{f' ({seen})' if seen else ''} in {root}; {prepare}"
    )


def cannot_read(folder: pathlib.Path, error: BaseException) -> InputError:
    """The refusal of a prepared data set that TFDS fails to read."""
    return InputError(
        f"{folder} cannot be read ({one_line(error)}); if it is not whole, "
        f"{_into_another(folder.parent.name)}"
    )


def _versions(folder: pathlib.Path) -> list[pathlib.Path]:
    """The finished versions of a data set, the newest last."""
    found = [
        (tuple(int(number) for number in version.name.split(".")), version)
        for version in folder.glob("*/")
        if re.fullmatch(r"\d+\.\d+\.\d+", version.name) and (version / _INFO).is_file()
    ]
    return [version for _, version in sorted(found)]


def _formats(folder: pathlib.Path) -> set[str]:
    """The formats of a version; TFDS's first is where none is named.

    What lies there decides where it does not agree with what is written down.
    """
    try:
        info = json.loads((folder / _INFO).read_text())
    except (OSError, ValueError):
        return {_FORMAT}  # which then is refused with TFDS's own words
    if not isinstance(info, dict) or not {"name", "fileFormat"} & set(info):
        return {_FORMAT}
    named = {info.get("fileFormat", "tfrecord")}
    named |= set(info.get("alternativeFileFormats", ()))
    if _FORMAT in named:
        lying = {
            other
            for other in ("tfrecord", "riegeli", "parquet")
            if any(folder.glob(f"*.{other}*"))
        }
        if lying and not any(folder.glob(f"*.{_FORMAT}*")):
            return lying
    return named


def _into_another(name: str) -> str:
    if name not in _PREPARES:
        return "prepare it again as array_record into another data_dir"
    return f"prepare it again into another --data_dir: {_command(name, 'OTHER_DIR')}"


def _command(name: str, root: Path) -> str:
    archives = " --archive_dir=DIR" if name == "imagenet2012" else ""
    return f"python -m experiments.prepare --dataset={name}{archives} --data_dir={root}"


# --- what there is instead -------------------------------------------------------


def _elsewhere(name: str, root: pathlib.Path) -> Iterator[str]:
    """The data set a level above or below, or in another form."""
    for folder in (root, root.parent):
        if folder.name == name and _versions(folder):
            yield f"it is in {folder.parent}: give that as data_dir"
    if root.is_dir():
        for sub in sorted(root.glob("*/")):
            if _versions(sub / name):
                yield f"it is in {sub}: give that as data_dir"
    if name == "imagenet2012":
        for folder in (root, root / "train"):
            if folder.is_dir() and any(
                _SYNSET.fullmatch(sub.name) for sub in folder.glob("n*/")
            ):
                archives = folder if folder.name != "train" else folder.parent
                yield f"its images lie in {folder}: give --archive_dir={archives}"


def _left_behind(name: str, root: pathlib.Path) -> Iterator[str]:
    """What interrupted preparations left."""
    for folder in sorted((root / name).glob("*/")):
        if "incomplete" in folder.name:
            yield f"{folder.name} is an interrupted preparation"
