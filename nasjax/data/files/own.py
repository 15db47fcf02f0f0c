"""One's own arrays in an ``.npz`` file."""

import pathlib
import zipfile
import zlib

import numpy as np

from nasjax.base import InputError
from nasjax.data.dataset import Dataset, Path, one_line
from nasjax.data.reading import look as look_at

#: What NumPy raises for a file that is not an npz, or only part of one.
_NPZ_ERRORS = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
#: What the keys of each split begin with.
_PREFIXES = {"train": "", "valid": "valid_", "test": "test_"}
_WANTED = (
    *(prefix + key for prefix in _PREFIXES.values() for key in ("images", "labels")),
    "class_names",
)


def load_npz(path: Path, *, split: str = "train", look: bool = True) -> Dataset:
    """Load a split of one's own arrays from an ``.npz`` file.

    Args:
      path: the file. Keys: ``images`` of integers 0..255 `[M, H, W]` or
        `[M, H, W, Ch]` with Ch 1 or 3, ``labels`` integers `[M]` covering 0..Y-1;
        optionally ``valid_images``, ``valid_labels``, ``test_images``,
        ``test_labels`` and ``class_names`` (Y strings).
      split: ``"train"``, ``"valid"`` or ``"test"``.
      look: warn on stderr of what was passed over, and refuse images from which
        nothing can be learned (`pixels.check_varied`).

    Raises:
      InputError: not such a file. Pickled arrays are refused, never loaded.
    """
    arrays, others = _read_npz(path)
    images, labels = _check_arrays(arrays, "", others, path)
    num_classes = _check_labels(labels, None, "labels", path)
    names = _check_class_names(arrays.get("class_names"), num_classes, path)
    if split != "train":
        prefix, shape = _PREFIXES[split], images.shape[1:]
        if prefix + "images" not in arrays and prefix + "labels" not in arrays:
            raise InputError(
                f"{path} has no {split} split: it needs the keys {prefix}images and "
                f"{prefix}labels, has {', '.join(sorted([*arrays, *others]))}"
            )
        images, labels = _check_arrays(arrays, prefix, others, path)
        _check_labels(labels, num_classes, f"{prefix}labels", path)
        if images.shape[1:] != shape:
            raise InputError(
                f"{prefix}images in {path} must have the image shape of images, "
                f"{shape}, got {images.shape[1:]}"
            )
    passed: tuple[tuple[str, int], ...] = ()
    if split == "train":  # an npz is an archive with a file for each key
        passed = tuple((f"{key}.npy of no known key", 1) for key in others)
    stem = pathlib.Path(path).resolve().stem
    dataset = Dataset(stem, images, labels.astype(np.int32), names, passed)
    return look_at(dataset, path, split=split) if look else dataset


def npz_splits(path: Path) -> tuple[str, ...]:
    """Which of train, valid and test a file has.

    Raises:
      InputError: as `load_npz`.
    """
    arrays, _ = _read_npz(path)
    return tuple(
        split
        for split, prefix in _PREFIXES.items()
        if split == "train" or {prefix + "images", prefix + "labels"} & set(arrays)
    )


# --- npz -------------------------------------------------------------------------


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that are known, and the names of the others."""
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        help_ = "; data.name=folder reads a folder" if path.is_dir() else ""
        raise InputError(f"{path} must be an .npz file, there is no such file{help_}")
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path} must be an .npz file, is a single array")
            with archive:
                known = {key: archive[key] for key in _WANTED if key in archive.files}
                return known, sorted(set(archive.files) - set(known))
    except InputError:
        raise
    except _NPZ_ERRORS as error:
        raise InputError(
            f"{path} must be an .npz file of plain arrays, cannot be read "
            f"({one_line(error)})"
        ) from error


def _check_arrays(
    arrays: dict[str, np.ndarray], prefix: str, others: list[str], path: Path
) -> tuple[np.ndarray, np.ndarray]:
    for key in (prefix + "images", prefix + "labels"):
        if key not in arrays:
            raise InputError(
                f"{path} must have the key {key}, has "
                f"{', '.join(sorted([*arrays, *others])) or 'none'}"
            )
    images, labels = arrays[prefix + "images"], arrays[prefix + "labels"]
    where = f"{prefix}images in {path}"
    shape = images.shape
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise InputError(
            f"{where} must be [M, H, W] or [M, H, W, Ch] with Ch 1 or 3, got the shape "
            f"{shape}{_help_with_shape(shape)}"
        )
    images = _as_bytes(images, where)
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"{prefix}labels in {path} must have the shape ({len(images)},), one for "
            f"each image, got {labels.shape}"
            + _help_with_labels(labels, len(images), prefix)
        )
    return images, labels


def _help_with_shape(shape: tuple[int, ...]) -> str:
    """What makes images of a wrong shape right, if that is plain."""
    if len(shape) == 4 and shape[1] in (1, 3):
        return ": the channels come last, images.transpose(0, 2, 3, 1)"
    if len(shape) == 4 and shape[-1] == 4:
        return ": without the transparency, images[..., :3]"
    return ""


def _help_with_labels(labels: np.ndarray, num_images: int, prefix: str) -> str:
    if labels.ndim != 2 or len(labels) != num_images:
        return ""
    if labels.shape[1] == 1:
        return f": one axis, {prefix}labels[:, 0]"
    return f": the number of the class, {prefix}labels.argmax(axis=1) of one-hot rows"


def _as_bytes(images: np.ndarray, where: str) -> np.ndarray:
    """Integers 0..255 as uint8; all else is refused with what to do."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "buif":
        raise InputError(f"{where} must be uint8 (0..255), got {images.dtype}")
    low, high = images.min(), images.max()
    if images.dtype.kind in "ui" and low >= 0 and high <= 255:
        return images.astype(np.uint8)
    if images.dtype.kind == "b":
        help_ = "np.uint8(255) * images"
    elif not np.isfinite(low) or not np.isfinite(high):
        help_ = "no image has pixels that are no numbers"
    elif low >= 0 and high <= 1:
        help_ = "(255 * images).round().astype(np.uint8)"
    elif low >= 0 and high <= 255:
        help_ = "images.round().astype(np.uint8)"
    elif images.dtype == np.uint16:
        help_ = "of 16 bits, (images >> 8).astype(np.uint8)"
    else:
        help_ = "scale them to 0..255"
    raise InputError(
        f"{where} must be uint8 (0..255), got {images.dtype} from {float(low):g} to "
        f"{float(high):g}: {help_}"
    )


def _check_labels(
    labels: np.ndarray, num_classes: int | None, key: str, path: Path
) -> int:
    """Check labels against the classes, or find how many there are; return Y."""
    if labels.dtype.kind not in "iu":
        raise InputError(
            f"{key} in {path} must be integers, got {labels.dtype}: "
            + (
                f"{key}.astype(np.int32), if they are whole"
                if labels.dtype.kind in "fb"
                else f"class_names, {key} = np.unique({key}, return_inverse=True)"
            )
        )
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
            f"has no example: _, {key} = np.unique({key}, return_inverse=True)"
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
