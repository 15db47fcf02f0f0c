"""Batches of images that are decoded and cropped while the accelerator computes.

For data sets that fit neither in device nor in host memory. Grain reads and decodes
ahead, in threads or in processes of its own, which it spawns: JAX's threads do not
survive a fork. What a batch holds follows from the seed and its number alone, not from
workers, threads or how often the stream was stopped, so that the state of a stream is
the number of its next batch.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator
from typing import NamedTuple, Protocol, SupportsIndex

import grain
import numpy as np
from absl import flags
from grain.experimental import index_shuffle

from nasjax.base import InputError
from nasjax.data.batches import num_steps
from nasjax.data.crops import evaluation_crop, training_crop
from nasjax.data.files.encoded import Encoded
from nasjax.data.jitter import ColorJitter

#: Batches in all: no training is as long.
_FOREVER = 1 << 40
#: Rounds of the cipher that shuffles.
_ROUNDS = 4


class Images(Protocol):
    """What a stream reads: `EncodedImages`, or one's own; sent to workers pickled."""

    def __len__(self) -> int:
        """M."""

    def __getitem__(self, row: int, /) -> Encoded:
        """An example, by any thread."""


class ImageBatch(NamedTuple):
    """Examples on the host; means over a batch are weighted (`data.Batch`)."""

    images: np.ndarray  # [B, H, W, 3] uint8
    labels: np.ndarray  # [B] int32
    ids: np.ndarray  # [B] int32, rows of the data set
    weights: np.ndarray  # [B] float32; 0: fills the last batch of an epoch up


class Shard(NamedTuple):
    """Which part of every batch a process makes; processes count from 0."""

    process_index: int = 0
    process_count: int = 1


class Stream(NamedTuple):
    """A stream of batches, as a value: nothing is opened before `batches`.

    Every example comes once an epoch. In training the order, crops and colours of an
    epoch follow from seed, epoch and example; in evaluation examples come in the
    order of the data set. The last batch of an epoch is filled up with examples of
    the epoch at weight 0.

    Attributes:
      images: the examples.
      batch_size: B, of all processes together.
      image_size: H and W in pixels.
      train: shuffle, crop at random and mirror; else central crops in order.
      min_area: of a random crop, see `crops.random_box`.
      color_jitter: in training.
      seed: of order, crops and colours, 0 or more.
      shard: of this process.
      num_workers: processes that decode; 0: threads of this one.
      num_threads: that decode different batches, in each worker or in this process.
      ahead: batches ready at once, of each worker or of this process.
    """

    images: Images
    batch_size: int
    image_size: int = 224
    train: bool = True
    min_area: float = 0.08
    color_jitter: ColorJitter = ColorJitter()
    seed: int = 0
    shard: Shard = Shard()
    num_workers: int = 0
    num_threads: int = 2
    ahead: int = 2

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every example once."""
        return num_steps(len(self.images), self.batch_size)

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
          InputError: naming the field, its value and what is allowed.
        """
        least = {
            "batch_size": 1,
            "image_size": 1,
            "seed": 0,
            "num_workers": 0,
            "num_threads": 1,
            "ahead": 1,
        }
        for field, low in least.items():
            value = getattr(self, field)
            if value < low:
                raise InputError(f"{field} is {value}; it must be at least {low}")
        if not 0 < self.min_area <= 1:
            raise InputError(
                f"min_area is {self.min_area}; it must be above 0 and at most 1"
            )
        self.color_jitter.check()
        index, count = self.shard
        if not 0 <= index < count:
            raise InputError(f"shard {index} of {count} is none")
        if self.batch_size % count:
            raise InputError(
                f"batch_size is {self.batch_size}; {count} processes must share it "
                "out evenly"
            )
        if not len(self.images):
            raise InputError(f"{self.images} holds no example")

    def batches(
        self, *, start: int = 0, stop: int | None = None
    ) -> Generator[ImageBatch, None, None]:
        """This process's share of batches ``start`` to ``stop - 1``, epoch on epoch.

        Workers live until the iterator is exhausted or closed.

        Args:
          start: batch to begin with, 0 or more; epoch ``start // steps_per_epoch``.
          stop: first batch that is left out; None for no end.

        Raises:
          InputError: a field that cannot be, or a broken image.
        """
        self.check()
        end = _FOREVER if stop is None else stop
        if not 0 <= start <= end:
            raise InputError(f"batches {start} to {stop} are none")
        local = self.batch_size // self.shard.process_count
        dataset = (
            grain.MapDataset.source(_Places(self, end * local))
            .batch(local, batch_fn=_stack)
            .slice(slice(start, end))
            .to_iter_dataset(
                grain.ReadOptions(
                    num_threads=self.num_threads, prefetch_buffer_size=self.ahead
                )
            )
        )
        if self.num_workers:
            if not flags.FLAGS.is_parsed():  # grain reads its own before it spawns
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=self.num_workers, per_worker_buffer_size=self.ahead
                ),
                worker_init_fn=_start_worker,
            )
        iterator = iter(dataset)
        try:
            for batch in iterator:
                # What comes from a worker lies in shared memory, which is scarce.
                yield ImageBatch(*map(np.array, batch)) if self.num_workers else batch
        finally:
            iterator.close()


class _Example(NamedTuple):
    image: np.ndarray  # [H, W, 3] uint8
    label: int
    row: int
    weight: float


class _Places:
    """The examples of all batches of a shard, one after another."""

    def __init__(self, stream: Stream, length: int):
        self._stream = stream
        self._length = length
        self._steps = stream.steps_per_epoch
        self._examples = len(stream.images)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: SupportsIndex) -> _Example:
        stream = self._stream
        index, count = stream.shard
        local = stream.batch_size // count
        step, slot = divmod(int(place), local)
        epoch, step = divmod(step, self._steps)
        position = step * stream.batch_size + index * local + slot
        row = position % self._examples
        if stream.train:
            row = self._shuffled(row, epoch)
        example = stream.images[row]
        image = example.decode()
        if stream.train:
            rng = np.random.default_rng((stream.seed, epoch, row))
            pixels = training_crop(
                image,
                rng,
                size=stream.image_size,
                min_area=stream.min_area,
                jitter=stream.color_jitter,
            )
        else:
            pixels = evaluation_crop(image, size=stream.image_size)
        return _Example(pixels, example.label, row, float(position < self._examples))

    def _shuffled(self, row: int, epoch: int) -> int:
        """Place of a row in the epoch's order, without a table of it."""
        seeds = np.random.SeedSequence((self._stream.seed, epoch))
        key = int(seeds.generate_state(1)[0])
        return int(index_shuffle(row, self._examples - 1, key, _ROUNDS))


def _start_worker(index: int, count: int) -> None:
    """Leave signals to the parent, which ends its workers; end when it was killed."""
    del index, count
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _stack(examples: list[_Example]) -> ImageBatch:
    return ImageBatch(
        np.stack([example.image for example in examples]),
        np.array([example.label for example in examples], np.int32),
        np.array([example.row for example in examples], np.int32),
        np.array([example.weight for example in examples], np.float32),
    )
