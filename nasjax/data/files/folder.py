"""One's own folder of images: what in it is read, and as what."""

import os
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from nasjax.base import InputError
from nasjax.data.dataset import (
    IMAGE_ERRORS,
    Dataset,
    Path,
    in_threads,
    one_line,
    subset,
)
from nasjax.data.files import pixels
from nasjax.data.reading import HIDDEN, passed_over_text
from nasjax.data.reading import look as look_at

#: Formats of pictures that Pillow decodes itself. Left out are those of documents and
#: measurements, and PostScript, for which Pillow starts another program.
FORMATS = (
    *("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000"),
    *("AVIF", "HEIF", "TGA", "PCX", "SGI", "QOI"),
)
#: Names of the folders of each split, in any case.
SPLITS = {
    "train": ("train", "training"),
    "valid": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}

#: Suffixes of pictures that Pillow reads with a plugin alone.
_OF_PLUGINS = (".heic", ".heif", ".hif", ".avif", ".jxl")
#: What operating systems leave behind; so is all that begins with a dot.
_JUNK = ("thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "icon\r")
_FRAMES = "with further pictures, of which the first is read"


def load_folder(
    path: Path,
    *,
    split: str = "train",
    image_size: int | None = None,
    max_examples: int | None = None,
    look: bool = True,
) -> Dataset:
    """Load images from a folder of one folder for each class, as RGB.

    Args:
      path: ``path/CLASS/**`` or ``path/{train,val,test}/CLASS/**`` (`SPLITS` has the
        other names), with files of `FORMATS` at any depth, turned as their EXIF says.
        Labels count the class folders of train in sorted order.
      split: ``"valid"`` and ``"test"`` need the second layout.
      image_size: side in pixels to which every image is resized (bilinear, the
        aspect ratio is not kept); needed when their sizes differ.
      max_examples: as in `load`; only these are read.
      look: warn on stderr of what was passed over, and refuse images from which
        nothing can be learned (`pixels.check_varied`).

    Raises:
      InputError: an empty or unreadable folder, an unreadable image, mixed sizes,
        folders of which it is not clear what they are.
    """
    root = pathlib.Path(path).expanduser()
    layout = _layout(root)
    if split not in layout.folders:
        allowed = "/ or ".join(SPLITS[split])
        raise InputError(
            f"{root} has no {split} split: it needs the folders train/ and {allowed}/, "
            "each with the class folders"
        )
    passed = layout.passed
    classes = _list_train(layout.folders["train"], passed)
    names = tuple(classes)
    if split != "train":
        passed = Counter()
        classes = _list_classes(layout.folders[split], passed, may_be_empty=True)
    for extra in sorted(set(classes) - set(names)):
        raise InputError(
            f"{layout.folders[split] / extra} is no class of {layout.folders['train']}"
        )
    files = [(file, names.index(name)) for name in classes for file in classes[name]]
    if not files:
        raise InputError(f"{layout.folders[split]} must hold images, has none")
    labels = np.array([label for _, label in files], np.int32)
    rows = subset(labels, max_examples)
    images, frames = _read_images([files[row][0] for row in rows], image_size, split)
    if frames:
        passed[_FRAMES] += frames
    name = root.resolve().stem
    dataset = Dataset(name, images, labels[rows], names, tuple(passed.items()))
    if not look:
        return dataset
    note = ""
    if split == "train" and "valid" in layout.folders:
        note = f"{layout.folders['valid'].name}/ is read as split='valid'"
    return look_at(dataset, root, split=split, note=note)


def folder_splits(path: Path) -> tuple[str, ...]:
    """Which of train, valid and test a folder has.

    Raises:
      InputError: as `load_folder`.
    """
    return tuple(_layout(pathlib.Path(path).expanduser()).folders)


# --- what the folders are --------------------------------------------------------


class _Layout(NamedTuple):
    folders: dict[str, pathlib.Path]  # split -> folder of its class folders
    passed: Counter[str]  # beside the splits


def _layout(root: pathlib.Path) -> _Layout:
    """Which folder is which split."""
    if not root.is_dir():
        help_ = "; data.name=npz reads arrays" if root.suffix == ".npz" else ""
        raise InputError(
            f"{root} must be a folder of class folders, is no folder{help_}"
        )
    subs = [sub for sub in _visible(root) if sub.is_dir()]
    named = {sub: split for sub in subs if (split := _split_of(sub.name))}
    of_classes = [sub for sub in named if _holds_class_folders(sub)]
    folders: dict[str, pathlib.Path] = {}
    for sub in of_classes:
        split = named[sub]
        if split in folders:
            raise InputError(
                f"{root} has {folders[split].name}/ and {sub.name}/, both of which are "
                f"the {split} split; rename one, or put their files together"
            )
        folders[split] = sub
    passed: Counter[str] = Counter()
    if "train" in folders:
        for sub in subs:
            if sub not in of_classes:
                _pass_over_beside(sub, split=named.get(sub), passed=passed)
        _count_strays(root, passed)
    else:
        _check_is_of_classes(root, subs, named, of_classes)
        folders = {"train": root}
    ordered = {split: folders[split] for split in SPLITS if split in folders}
    return _Layout(ordered, passed)


def _list_train(
    folder: pathlib.Path, passed: Counter[str]
) -> dict[str, list[pathlib.Path]]:
    """The files of the classes, of which there are several."""
    classes = _list_classes(folder, passed)
    if len(classes) < 2:
        only = folder / next(iter(classes))
        raise InputError(
            f"{folder} must hold at least 2 class folders, has 1, {only.name}; if the "
            f"class folders are in it, give path={only}"
        )
    return classes


def _split_of(name: str) -> str | None:
    for split, names in SPLITS.items():
        if name.lower() in names:
            return split
    return None


def _check_is_of_classes(
    root: pathlib.Path,
    subs: Sequence[pathlib.Path],
    named: dict[pathlib.Path, str],
    of_classes: Sequence[pathlib.Path],
) -> None:
    """Refuse folders of a split where there is no train/ with class folders."""
    if of_classes:
        listed = " and ".join(f"{sub.name}/" for sub in of_classes)
        raise InputError(
            f"{root} has {listed} with class folders, and no train/ with any; a class "
            "cannot have the name of a split and folders in it: rename it"
        )
    if named and len(named) == len(subs):
        listed = " and ".join(f"{sub.name}/" for sub in named)
        raise InputError(
            f"{root} has {listed} without class folders; the images of each class must "
            f"be in a folder of their own, as in {next(iter(named))}/CLASS/1.png"
        )


def _pass_over_beside(
    sub: pathlib.Path, *, split: str | None, passed: Counter[str]
) -> None:
    """Count the images of a folder beside train/ that is not read."""
    number = sum(1 for _ in _images(sub, Counter()))
    if number:
        why = "without class folders" if split else "beside train/"
        passed[f"in {sub.name}/ {why}"] += number


def _list_classes(
    folder: pathlib.Path, passed: Counter[str], *, may_be_empty: bool = False
) -> dict[str, list[pathlib.Path]]:
    """The files of every class folder, sorted."""
    classes: dict[str, list[pathlib.Path]] = {}
    for sub in _visible(folder):
        if not sub.is_dir():
            continue
        for split in (inner for inner in _visible(sub) if _split_of(inner.name)):
            if split.is_dir() and any(True for _ in _images(split, Counter())):
                raise InputError(
                    f"{split} is a split within {sub.name}/, which would be a class; "
                    f"if {sub.name}/ is the data set, give path={sub}, else put the "
                    f"split first: {split.name}/{sub.name}/"
                )
        classes[sub.name] = sorted(_images(sub, passed))
        if not classes[sub.name] and not may_be_empty:
            raise InputError(
                f"{sub} must hold images of the kinds {' '.join(suffixes())}, has none"
                f" ({passed_over_text(passed.items())}); a class without images, or a "
                "folder that is no class, must be taken away"
            )
    _count_strays(folder, passed)
    if not classes:
        raise InputError(f"{folder} must hold class folders of images, has none")
    return classes


# --- files -----------------------------------------------------------------------


def suffixes() -> tuple[str, ...]:
    """What files are read, by the end of their names in any case.

    >>> {".png", ".jpeg", ".jfif", ".tif", ".gif", ".webp", ".ppm"} <= set(suffixes())
    True
    """
    known = Image.registered_extensions()
    return tuple(sorted(suffix for suffix in known if known[suffix] in FORMATS))


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def is_hidden(name: str) -> bool:
    """Whether a file is one that people do not see, or a system's own."""
    return name.startswith(".") or name.lower() in _JUNK


def _holds_class_folders(folder: pathlib.Path) -> bool:
    return any(
        sub.is_dir() and any(True for _ in _images(sub, Counter()))
        for sub in _visible(folder)
    )


def _images(folder: pathlib.Path, passed: Counter[str]) -> Iterator[pathlib.Path]:
    """Image files at any depth, links followed; the others are counted by kind."""
    wanted, seen = set(suffixes()), set()
    for place, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        hidden = [name for name in (*folders, *files) if is_hidden(name)]
        if hidden:
            passed[HIDDEN] += len(hidden)
        # A link to a folder above would be walked for ever.
        folders[:] = sorted(
            name
            for name in folders
            if not is_hidden(name)
            and os.path.realpath(os.path.join(place, name)) not in seen
        )
        for name in sorted(set(files) - set(hidden)):
            if pathlib.Path(name).suffix.lower() in wanted:
                yield pathlib.Path(place, name)
            else:
                passed[_kind(name)] += 1


def _count_strays(folder: pathlib.Path, passed: Counter[str]) -> None:
    """Count the files that lie where class folders are."""
    for path in folder.iterdir():
        if is_hidden(path.name):
            passed[HIDDEN] += 1
        elif path.is_file():
            is_image = path.suffix.lower() in suffixes()
            passed["in no class folder" if is_image else _kind(path.name)] += 1


def _kind(name: str) -> str:
    suffix = pathlib.Path(name).suffix.lower()
    if suffix in _OF_PLUGINS:
        return f"{suffix} (Pillow reads it with a plugin only: save it as PNG or JPEG)"
    return suffix or "without a suffix"


# --- images ----------------------------------------------------------------------


class _Read(NamedTuple):
    image: np.ndarray  # [H, W, 3] uint8
    highest: int | None  # byte of an image of 16 bits
    further: bool  # whether the file holds more pictures


def _read_images(
    files: Sequence[pathlib.Path], image_size: int | None, split: str
) -> tuple[np.ndarray, int]:
    """The images, and how many files hold further pictures."""
    read = in_threads(lambda file: _read_image(file, image_size), files)
    first = read[0].image.shape
    for file, (image, _, _) in zip(files, read, strict=True):
        if image.shape != first:
            raise InputError(
                f"image_size must be given when sizes differ: {files[0]} has "
                f"{first[1]}x{first[0]} pixels, {file} has "
                f"{image.shape[1]}x{image.shape[0]}"
            )
    deep = [one.highest for one in read if one.highest is not None]
    if split == "train" and deep and max(deep) <= pixels.TWELVE_BITS:
        raise InputError(
            f"the {len(deep)} images of 16 bits stay below 4096 of 65535, so they have "
            "12 bits or fewer, which their files do not say: multiply them by 16, or "
            "save them with 8 bits"
        )
    return np.stack([one.image for one in read]), sum(one.further for one in read)


def _read_image(file: pathlib.Path, image_size: int | None) -> _Read:
    try:
        with Image.open(file, formats=_openable()) as opened:
            deep = pixels.declares_16_bits(opened)
            image = ImageOps.exif_transpose(pixels.to_rgb(opened))
            highest = int(np.asarray(image).max()) if deep else None
            # A phone's MPO holds the same picture again, smaller or from aside.
            further = opened.format != "MPO" and getattr(opened, "is_animated", False)
    except InputError as error:
        raise InputError(f"{file} {error}") from None
    except IMAGE_ERRORS as error:
        raise InputError(
            f"{file} must be an image, cannot be read ({one_line(error)})"
        ) from error
    if image_size is not None:
        size = (image_size, image_size)
        image = image.resize(size, Image.Resampling.BILINEAR)
    return _Read(np.asarray(image, np.uint8), highest, further)


def _openable() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
