"""ImageNet as three streams: to train on, held out, and to test on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nasjax.base import InputError
from nasjax.data.batches import hold_out
from nasjax.data.dataset import Path
from nasjax.data.files.encoded import EncodedImages, Rows, open_tfds
from nasjax.data.jitter import IMAGENET_JITTER, ColorJitter
from nasjax.data.stream import Shard, Stream

#: What ImageNet is normalised by everywhere, in units of [0, 1]: red, green, blue.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class ImageNetStreams(NamedTuple):
    """Streams of one batch size, of this process's shard."""

    train: Stream
    valid: Stream | None  # held out of the training split; None for nothing
    test: Stream  # what ImageNet calls validation, the one split with labels beside
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Y."""
        return len(self.class_names)


def imagenet_streams(
    *,
    batch_size: int,
    data_dir: Path | None = None,
    image_size: int = 224,
    min_area: float = 0.08,
    color_jitter: Sequence[float] = IMAGENET_JITTER,
    valid_fraction: float = 0.0,
    max_examples: int | None = None,
    seed: int = 0,
    shard: Shard = Shard(),  # noqa: B008 (a tuple)
    num_workers: int = 0,
    num_threads: int = 2,
) -> ImageNetStreams:
    """Streams of a prepared ``imagenet2012``.

    Args:
      batch_size: B, of all processes together.
      data_dir: as in `load`.
      image_size: side of the crops in pixels.
      min_area: of the random crops, see `crops.random_box`.
      color_jitter: of the images to train on: brightness, contrast, saturation, hue
        (`jitter.ColorJitter`); four zeros for none. The default is DARTS's.
      valid_fraction: share of the training split that is held out; 0 for none.
      max_examples: at most so many of each split, the first of them.
      seed: of what is held out, of order, crops and colours.
      shard: of this process.
      num_workers: processes that decode, of each stream that is read; 0: threads.
      num_threads: see `Stream`.

    Raises:
      InputError: not prepared, or an argument that cannot be.
    """
    train, test = (
        _first(open_tfds("imagenet2012", split=split, data_dir=data_dir), max_examples)
        for split in ("train", "validation")
    )
    valid = None
    class_names = train.images.class_names
    if valid_fraction:
        if not 0 < valid_fraction < 1:
            raise InputError(
                f"valid_fraction is {valid_fraction}; it must be at least 0 and below 1"
            )
        rest, held_out = hold_out(seed, len(train), valid_fraction=valid_fraction)
        train, valid = (Rows(train.images, rows) for rows in (rest, held_out))
    stream = Stream(
        train,
        batch_size=batch_size,
        image_size=image_size,
        min_area=min_area,
        color_jitter=ColorJitter.of(color_jitter),
        seed=seed,
        shard=shard,
        num_workers=num_workers,
        num_threads=num_threads,
    )
    stream.check()
    in_order = stream._replace(train=False)
    return ImageNetStreams(
        stream,
        in_order._replace(images=valid) if valid is not None else None,
        in_order._replace(images=test),
        class_names,
    )


def _first(images: EncodedImages, number: int | None) -> Rows:
    if number is not None and number < 1:
        raise InputError(f"max_examples is {number}; it must be at least 1")
    count = len(images) if number is None else min(number, len(images))
    return Rows(images, np.arange(count, dtype=np.int32))
