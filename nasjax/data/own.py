"""One's own data: ``.npz`` arrays and folders of images."""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Sequence

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

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

#: What NumPy raises for a file that is not an npz, or only part of one.
_NPZ_ERRORS = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def load_npz(path: Path, *, split: str = "train") -> Dataset:
    """Load a split of one's own arrays from an ``.npz`` file.

    Args:
      path: the file. Keys: ``images`` uint8 `[M, H, W]` or `[M, H, W, Ch]` with Ch 1
        or 3, ``labels`` integers `[M]` covering 0..Y-1; optionally ``test_images``,
        ``test_labels`` and ``class_names`` (Y strings).
      split: ``"train"`` or ``"test"``.

    Raises:
      InputError: not such a file. Pickled arrays are refused, never loaded.
    """
    arrays = _read_npz(path)
    images, labels = _check_arrays(arrays, "", path)
    num_classes = _check_labels(labels, None, "labels", path)
    names = _check_class_names(arrays.get("class_names"), num_classes, path)
    if split == "test":
        if "test_images" not in arrays and "test_labels" not in arrays:
            raise InputError(
                f"{path} has no test split: it needs the keys test_images and "
                f"test_labels, has {', '.join(sorted(arrays))}"
            )
        shape = images.shape[1:]
        images, labels = _check_arrays(arrays, "test_", path)
        _check_labels(labels, num_classes, "test_labels", path)
        if images.shape[1:] != shape:
            raise InputError(
                f"test_images in {path} must have the image shape of images, "
                f"{shape}, got {images.shape[1:]}"
            )
    return Dataset(_stem(path), images, labels.astype(np.int32), names)


def load_folder(
    path: Path,
    *,
    split: str = "train",
    image_size: int | None = None,
    max_examples: int | None = None,
) -> Dataset:
    """Load images from a folder of one folder for each class, as RGB.

    Args:
      path: ``path/CLASS/*`` or ``path/{train,test}/CLASS/*`` with files of
        `SUFFIXES`. Labels count the class folders of train in sorted order.
      split: ``"test"`` needs the second layout.
      image_size: side in pixels to which every image is resized (bilinear, the
        aspect ratio is not kept); needed when their sizes differ.
      max_examples: as in `load`; only these are read.

    Raises:
      InputError: an empty or unreadable folder, an unreadable image, mixed sizes.
    """
    root = pathlib.Path(path)
    if not root.is_dir():
        raise InputError(f"{root} must be a folder of class folders, is no folder")
    parts = (root / "train").is_dir()
    if split == "test" and not (parts and (root / "test").is_dir()):
        raise InputError(
            f"{root} has no test split: it needs the folders train/ and test/"
        )
    train = _list_classes(root / "train" if parts else root)
    if len(train) < 2:
        raise InputError(f"{root} must hold at least 2 class folders, has {len(train)}")
    names = tuple(train)
    classes = train if split == "train" else _list_classes(root / "test")
    for extra in sorted(set(classes) - set(names)):
        raise InputError(f"{root / 'test' / extra} is no class of {root / 'train'}")
    files = [(file, names.index(name)) for name in classes for file in classes[name]]
    labels = np.array([label for _, label in files], np.int32)
    rows = subset(labels, max_examples)
    images = _read_images([files[row][0] for row in rows], image_size)
    return Dataset(_stem(root), images, labels[rows], names)


def _stem(path: Path) -> str:
    return pathlib.Path(path).resolve().stem


# --- npz -------------------------------------------------------------------------


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    wanted = ("images", "labels", "test_images", "test_labels", "class_names")
    if not os.path.isfile(path):
        raise InputError(f"{path} must be an .npz file, there is no such file")
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path} must be an .npz file, is a single array")
            with archive:
                return {key: archive[key] for key in wanted if key in archive.files}
    except InputError:
        raise
    except _NPZ_ERRORS as error:
        raise InputError(
            f"{path} must be an .npz file of plain arrays, cannot be read "
            f"({one_line(error)})"
        ) from error


def _check_arrays(
    arrays: dict[str, np.ndarray], prefix: str, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    for key in (prefix + "images", prefix + "labels"):
        if key not in arrays:
            raise InputError(
                f"{path} must have the key {key}, has "
                f"{', '.join(sorted(arrays)) or 'none of the known keys'}"
            )
    images, labels = arrays[prefix + "images"], arrays[prefix + "labels"]
    if images.dtype != np.uint8:
        raise InputError(
            f"{prefix}images in {path} must be uint8 (0..255), got {images.dtype}"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise InputError(
            f"{prefix}images in {path} must be [M, H, W] or [M, H, W, Ch] with Ch 1 "
            f"or 3, got the shape {arrays[prefix + 'images'].shape}"
        )
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"{prefix}labels in {path} must have the shape ({len(images)},), one for "
            f"each image, got {labels.shape}"
        )
    return images, labels


def _check_labels(
    labels: np.ndarray, num_classes: int | None, key: str, path: Path
) -> int:
    """Check labels against the classes, or find how many there are; return Y."""
    if labels.dtype.kind not in "iu":
        raise InputError(f"{key} in {path} must be integers, got {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise InputError(f"{key} in {path} must be 0 or more, got {low}")
    if num_classes is not None:
        if high >= num_classes:
            raise InputError(
                f"{key} in {path} must be 0..{num_classes - 1}, the classes of "
                f"labels, got {high}"
            )
        return num_classes
    present = np.unique(labels)
    if len(present) != high + 1:
        missing = int(np.flatnonzero(present != np.arange(len(present)))[0])
        raise InputError(
            f"{key} in {path} must cover 0..{high} without a gap, class {missing} "
            "has no example"
        )
    if high < 1:
        raise InputError(f"{key} in {path} must name at least 2 classes, got 1")
    return high + 1


def _check_class_names(
    names: np.ndarray | None, num_classes: int, path: Path
) -> tuple[str, ...]:
    if names is None:
        return tuple(str(label) for label in range(num_classes))
    if names.dtype.kind != "U" or names.shape != (num_classes,):
        raise InputError(
            f"class_names in {path} must be {num_classes} strings, got "
            f"{names.dtype} of the shape {names.shape}"
        )
    return tuple(str(name) for name in names)


# --- folder ----------------------------------------------------------------------


def _list_classes(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    classes = {}
    for sub in sorted(folder.iterdir()):
        if not sub.is_dir() or sub.name.startswith("."):
            continue
        classes[sub.name] = sorted(
            file
            for file in sub.iterdir()
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        )
        if not classes[sub.name]:
            raise InputError(
                f"{sub} must hold images of the kinds {' '.join(SUFFIXES)}, has none"
            )
    if not classes:
        raise InputError(f"{folder} must hold class folders of images, has none")
    return classes


def _read_images(files: Sequence[pathlib.Path], image_size: int | None) -> np.ndarray:
    images = in_threads(lambda file: _read_image(file, image_size), files)
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise InputError(
                f"image_size must be given when sizes differ: {files[0]} has "
                f"{images[0].shape[1]}x{images[0].shape[0]} pixels, {file} has "
                f"{image.shape[1]}x{image.shape[0]}"
            )
    return np.stack(images)


def _read_image(file: pathlib.Path, image_size: int | None) -> np.ndarray:
    try:
        with Image.open(file) as opened:
            image: Image.Image = ImageOps.exif_transpose(opened)
            if "transparency" in image.info:  # a palette's: RGB alone would warn
                image = image.convert("RGBA")
            image = image.convert("RGB")
    except IMAGE_ERRORS as error:
        raise InputError(
            f"{file} must be an image, cannot be read ({one_line(error)})"
        ) from error
    if image_size is not None:
        size = (image_size, image_size)
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8)
