"""Data sets as host arrays: digits, CIFAR through TFDS, and one's own.

Everything here is NumPy; nothing imports TensorFlow. A user's mistake ends in an
`InputError` of one line.
"""

import io
import pathlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from nasjax.base import InputError
from nasjax.data.dataset import (
    IMAGE_ERRORS,
    Dataset,
    Path,
    in_threads,
    one_line,
    rank_in_class,
    subset,
)
from nasjax.data.files.folder import folder_splits, load_folder
from nasjax.data.files.own import load_npz, npz_splits
from nasjax.data.files.pixels import to_rgb
from nasjax.data.files.prepared import cannot_read, find
from nasjax.data.files.prepared import tfds_root as tfds_root
from nasjax.data.files.prepared import tfds_version as tfds_version

SPLITS = ("train", "valid", "test")


class Source(NamedTuple):
    """Where a data set comes from.

    Attributes:
      load: ``(split, data_dir, path, image_size, max_examples, look) -> Dataset``, see
        the function `load`; more examples than ``max_examples`` may come.
      splits: ``path -> names``, which of `SPLITS` there are.
      allowed: which of them may be asked for.
      fields: arguments of `load` that are for this source among others: "path" (which
        must then be given), "image_size".
    """

    load: Callable[..., Dataset]
    # Most have no validation images of their own.
    splits: Callable[[Path | None], tuple[str, ...]] = lambda path: ("train", "test")
    allowed: tuple[str, ...] = ("train", "test")
    fields: tuple[str, ...] = ()


def of_function(function: Callable[[str], Dataset | None]) -> Source:
    """The source of one's own function of the split, None for a split it has not.

    The function is called for "train" and "test", and for "valid" to see whether there
    is one.
    """

    def load(split: str, **_: Any) -> Dataset:
        found = function(split)
        if found is None:
            raise InputError(f"the data set has no split {split!r}")
        return found

    def splits(path: Path | None) -> tuple[str, ...]:
        return tuple(s for s in SPLITS if s != "valid" or function(s) is not None)

    return Source(load, splits, SPLITS)


def load(
    name: str | Source,
    *,
    split: str = "train",
    data_dir: Path | None = None,
    path: Path | None = None,
    image_size: int | None = None,
    max_examples: int | None = None,
    look: bool = True,
) -> Dataset:
    """Load one split of a data set as uint8 images `[M, H, W, Ch]` and labels `[M]`.

    Args:
      name: one of `SOURCES`, or a source. ``digits``: scikit-learn's 8x8 handwritten
        digits, every fifth example of a class is the test split. ``cifar10``,
        ``cifar100``: a data set prepared for TFDS, in the order of its "id"s, which is
        that of the original files. ``npz``, ``folder``: the user's own, see `load_npz`
        and `load_folder`.
      split: ``"train"``, ``"valid"``, which one's own may have, or ``"test"``; see
        `splits`.
      data_dir: where TFDS keeps its data sets; else ``$TFDS_DATA_DIR``, else TFDS's
        own default, ``~/tensorflow_datasets``.
      path: the file or folder of ``npz`` and ``folder``.
      image_size: side in pixels to which the images of ``folder`` are resized.
      max_examples: keep only so many, the first of each class in equal shares.
      look: at one's own: warn on stderr of what was passed over, and refuse images from
        which nothing can be learned (`pixels.check_varied`).

    Raises:
      InputError: anything wrong with the arguments or the data, in one line.

    >>> digits = load("digits", max_examples=100)
    >>> digits.images.shape, digits.num_classes
    ((100, 8, 8, 1), 10)
    """
    source = _source(name)
    _check_arguments(name, source, split, path, image_size, max_examples)
    dataset = source.load(
        split,
        data_dir=data_dir,
        path=path,
        image_size=image_size,
        max_examples=max_examples,
        look=look,
    )
    rows = subset(dataset.labels, max_examples)
    if len(rows) == len(dataset.labels):
        return dataset
    return dataset._replace(images=dataset.images[rows], labels=dataset.labels[rows])


def splits(name: str | Source, *, path: Path | None = None) -> tuple[str, ...]:
    """Which of `SPLITS` a data set has.

    Args:
      name: one of `SOURCES`, or a source.
      path: the file or folder of ``npz`` and ``folder``.

    Raises:
      InputError: as `load`.

    >>> splits("digits")
    ('train', 'test')
    """
    source = _source(name)
    _check_arguments(name, source, "train", path, None, None)
    return source.splits(path)


# --- arguments -------------------------------------------------------------------


def _source(name: str | Source) -> Source:
    if isinstance(name, Source):
        return name
    if name not in SOURCES:
        raise InputError(f"name must be one of {', '.join(SOURCES)}, got {name!r}")
    return SOURCES[name]


def _check_arguments(
    name: str | Source,
    source: Source,
    split: str,
    path: Path | None,
    image_size: int | None,
    max_examples: int | None,
) -> None:
    told = repr(name) if isinstance(name, str) else "one's own function"
    if split not in source.allowed:
        allowed = ", ".join(source.allowed)
        raise InputError(f"split must be one of {allowed}, got {split!r}")
    if "path" in source.fields:
        if path is None:
            raise InputError(f"path must be given for the data set {told}")
    elif path is not None:
        raise InputError(f"path is for npz and folder, not for {told}, got {path}")
    if image_size is not None and "image_size" not in source.fields:
        raise InputError(
            f"image_size is for folder, not for {told}, whose images keep their size"
        )
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size must be at least 1 pixel, got {image_size}")
    if max_examples is not None and max_examples < 1:
        raise InputError(f"max_examples must be at least 1, got {max_examples}")


# --- the user's own --------------------------------------------------------------


def _load_npz(split: str, *, path: Path, look: bool, **_: Any) -> Dataset:
    return load_npz(path, split=split, look=look)


def _load_folder(split: str, *, data_dir: Any, path: Path, **settings: Any) -> Dataset:
    del data_dir
    return load_folder(path, split=split, **settings)


# --- digits and TFDS -------------------------------------------------------------


def _load_digits(split: str, **_: Any) -> Dataset:
    # Imported here: scikit-learn takes a second that other data sets need not wait.
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = raw.target.astype(np.int32)
    rank = rank_in_class(labels)[0]
    rows = (rank % 5 == 4) if split == "test" else (rank % 5 != 4)
    names = tuple(str(name) for name in raw.target_names)
    return Dataset("digits", images[rows], labels[rows], names)


def _load_tfds(
    split: str,
    *,
    name: str,
    data_dir: Path | None,
    max_examples: int | None,
    **_: Any,
) -> Dataset:
    folder = find(name, data_dir)
    try:
        examples, info = _read_tfds(folder, split)
    except Exception as error:  # the C++ reader raises RuntimeError, TFDS anything
        raise cannot_read(folder, error) from error
    # TFDS stores examples shuffled; their "id"s give back the order of the files.
    examples.sort(key=lambda example: example.get("id", b""))
    labels = np.array([example["label"] for example in examples], np.int32)
    rows = subset(labels, max_examples)
    shape = tuple(info.features["image"].shape)
    images = np.empty((len(rows), *shape), np.uint8)

    def fill(part: np.ndarray) -> None:
        for row in part:
            images[row] = _decode(examples[rows[row]]["image"], shape)

    try:
        in_threads(fill, np.array_split(np.arange(len(rows)), 64))
    except IMAGE_ERRORS as error:
        raise InputError(f"{folder} holds a broken image ({one_line(error)})") from (
            error
        )
    return Dataset(name, images, labels[rows], tuple(info.features["label"].names))


def _read_tfds(folder: pathlib.Path, split: str) -> tuple[list[dict[str, Any]], Any]:
    # Reading the folder, rather than tfds.data_source(name), asks no network.
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    # Images stay bytes: TFDS would decode one after another, and warn about OpenCV.
    source = builder.as_data_source(
        split=split, decoders={"image": tfds.decode.SkipDecoding()}
    )
    return list(source.__getitems__(range(len(source)))), builder.info


def _decode(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    if data.startswith(b"\xff\xd8") and shape[-1] == 3:
        # The bare decoder: Image.open parses every marker in Python, which costs
        # more than decoding 32x32 pixels does and holds the interpreter's lock.
        size = shape[1], shape[0]
        image = Image.frombytes("RGB", size, data, "jpeg", "RGB", "")
    else:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        image = to_rgb(image) if shape[-1] == 3 else image.convert("L")
    return np.asarray(image, np.uint8).reshape(shape)


#: Every data set by name: a new one is a line here.
SOURCES: dict[str, Source] = {
    "digits": Source(_load_digits),
    "cifar10": Source(partial(_load_tfds, name="cifar10")),
    "cifar100": Source(partial(_load_tfds, name="cifar100")),
    "npz": Source(_load_npz, npz_splits, SPLITS, ("path",)),  # type: ignore[arg-type]
    "folder": Source(
        _load_folder,
        folder_splits,  # type: ignore[arg-type]
        SPLITS,
        ("path", "image_size"),
    ),
}
