"""The data set as a value, and what every source of one shares."""

import os
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from nasjax.base import InputError

#: A file or folder.
Path = str | os.PathLike[str]
#: What Pillow raises for a file that is not an image, or only part of one.
IMAGE_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


class Dataset(NamedTuple):
    """One split of a data set of images, on the host; Ch is 1 or 3."""

    name: str
    images: np.ndarray  # [M, H, W, Ch] uint8
    labels: np.ndarray  # [M] int32, 0..Y-1
    class_names: tuple[str, ...]  # Y
    passed_over: tuple[tuple[str, int], ...] = ()  # what was not read, how many files

    @property
    def num_classes(self) -> int:
        """Y."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(H, W, Ch)``."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels


def subset(labels: np.ndarray, max_examples: int | None) -> np.ndarray:
    """Rows of the first `max_examples` examples, every class in proportion.

    Args:
      labels: integers `[M]`.
      max_examples: how many; ``None`` or more than M keeps all.

    Returns:
      Sorted int64 rows. A class is never left without an example.

    >>> subset(np.array([0, 0, 0, 0, 1, 1]), 3)
    array([0, 1, 4])
    """
    if max_examples is None or max_examples >= len(labels):
        return np.arange(len(labels))
    num_classes = len(np.unique(labels))
    if max_examples < num_classes:
        raise InputError(
            f"max_examples must be at least the number of classes, {num_classes}, "
            f"got {max_examples}"
        )
    # Rank within the class over the size of the class: taking the smallest takes
    # from each class in proportion, and the first of each class (0) before all.
    rank, size = rank_in_class(labels)
    return np.sort(np.argsort(rank / size, kind="stable")[:max_examples])


def rank_in_class(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every example: how many of its class come before it; the class's size."""
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(classes, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return rank, counts[classes]


def in_threads(call: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Map over items in threads, in order; a failure cancels what has not begun."""
    with futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        tasks = [pool.submit(call, item) for item in items]
        try:
            return [task.result() for task in tasks]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks, for an `InputError`."""
    return " ".join(str(error).split()) or type(error).__name__
