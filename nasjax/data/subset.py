"""A share of every class of a large data set, decoded once to one size.

For a search on ImageNet that takes a tenth of the images of each class for the weights
and as many for alpha (STC-NAS, section 4.3): they fit in the memory of a device, where
the search loop wants them, and need not be decoded every epoch.
"""

from typing import NamedTuple

import numpy as np

from nasjax.base import InputError
from nasjax.data.crops import central_crop
from nasjax.data.dataset import Dataset, in_threads, rank_in_class
from nasjax.data.files.encoded import EncodedImages


class Halves(NamedTuple):
    """Two disjoint parts of a data set."""

    train: Dataset
    valid: Dataset


def class_halves(
    seed: int, labels: np.ndarray, *, fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two disjoint shares of every class at random, on the host.

    Args:
      seed: the same seed gives the same parts.
      labels: integers `[M]`.
      fraction: of the examples of each class, in either part; at least one of each.

    Returns:
      ``(train_ids, valid_ids)``, sorted int32.

    Raises:
      InputError: a fraction above one half, or a class with fewer than 2 examples.

    >>> train, valid = class_halves(0, np.array([0, 0, 1, 1]), fraction=0.5)
    >>> train.tolist(), valid.tolist()
    ([0, 2], [1, 3])
    """
    if not 0 < fraction <= 0.5:
        raise InputError(
            f"class_fraction is {fraction}; it must be above 0 and at most 0.5, for "
            "either half has so much of each class"
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    rank, size = rank_in_class(labels[order])
    if size.size and size.min() < 2:
        lonely = int(labels[order][np.argmin(size)])
        raise InputError(
            f"class {lonely} has 1 example; it must have 2, one for either half"
        )
    # The tolerance keeps 0.07 · 100 = 7.000000000000001 from becoming 8.
    share = np.maximum(1, np.floor(size * fraction + 1e-6))
    train, valid = order[rank < share], order[(rank >= share) & (rank < 2 * share)]
    return np.sort(train).astype(np.int32), np.sort(valid).astype(np.int32)


def load_halves(
    images: EncodedImages,
    *,
    image_size: int,
    fraction: float = 0.1,
    max_examples: int | None = None,
    seed: int = 0,
) -> Halves:
    """Decode two shares of every class.

    Reads the labels of all examples first: of ImageNet, all 145 GB once.

    Args:
      images: the training split.
      image_size: side in pixels; the shorter side is resized to it, bilinear, and
        the centre kept. Images take ``3 · image_size²`` bytes each: 39 GB at 224
        pixels for a fifth of ImageNet.
      fraction: of each class, in either half.
      max_examples: at most so many in both halves together, whatever their classes.
      seed: decides the halves.

    Raises:
      InputError: an argument that cannot be, or a broken image.
    """
    if image_size < 1:
        raise InputError(f"image_size is {image_size}; it must be at least 1 pixel")
    if max_examples is not None and max_examples < 2:
        raise InputError(f"max_examples is {max_examples}; it must be at least 2")
    parts = class_halves(seed, images.labels(), fraction=fraction)
    if max_examples is not None:
        rng = np.random.default_rng(seed)
        parts = tuple(  # type: ignore[assignment]
            np.sort(rng.permutation(part)[: max_examples // 2]) for part in parts
        )
    return Halves(*(_decode(images, part, image_size) for part in parts))


def _decode(images: EncodedImages, rows: np.ndarray, size: int) -> Dataset:
    pixels = np.empty((len(rows), size, size, 3), np.uint8)
    labels = np.empty(len(rows), np.int32)

    def fill(part: np.ndarray) -> None:
        for place in part:
            example = images[int(rows[place])]
            pixels[place] = central_crop(example.decode(), size=size, shorter=size)
            labels[place] = example.label

    parts = np.array_split(np.arange(len(rows)), max(1, len(rows) // 64))
    in_threads(fill, parts)
    return Dataset(images.folder.parent.name, pixels, labels, images.class_names)
