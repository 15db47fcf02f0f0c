"""How fast the stream of ImageNet's images is, without any training.

Images per second of training batches (decoded, cropped at random, resized, mirrored,
their colours jittered) once the workers are at work, and the seconds until the first
batch: of the prepared ``imagenet2012``, else of synthetic JPEGs in memory, of the mean
size of ImageNet's, 500×375 pixels, and 90 kB (its: 108).
"""

import io
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from nasjax.base import InputError
from nasjax.data.files.encoded import Encoded, open_tfds
from nasjax.data.jitter import IMAGENET_JITTER, ColorJitter
from nasjax.data.stream import Images, Stream

#: Different synthetic images.
_SYNTHETIC = 64


def measure(
    *,
    num_workers: Sequence[str],
    num_threads: int = 2,
    batch_size: int = 64,
    image_size: int = 224,
    color_jitter: bool = True,
    seconds: float = 10.0,
    data_dir: str | None = None,
) -> Iterator[dict[str, Any]]:
    """A line for each number of worker processes.

    Raises:
      InputError: a number that is none, or out of its range; no data set.
    """
    workers = _integers(num_workers)
    name = "synthetic" if data_dir is None else "imagenet2012"
    images: Images = (
        synthetic() if data_dir is None else open_tfds(name, data_dir=data_dir)
    )
    stream = Stream(
        images,
        batch_size=batch_size,
        image_size=image_size,
        num_threads=num_threads,
        color_jitter=IMAGENET_JITTER if color_jitter else ColorJitter(),
    )
    for number in workers:
        stream._replace(num_workers=number).check()
    for number in workers:
        settings = {
            "images": name,
            "num_images": len(images),
            "mean_kilobytes": round(_mean_bytes(images) / 1000, 1),
            "num_workers": number,
            "num_threads": num_threads,
            "batch_size": batch_size,
            "image_size": image_size,
            "color_jitter": color_jitter,
        }
        yield settings | _rate(stream._replace(num_workers=number), seconds)


def _integers(texts: Sequence[str]) -> list[int]:
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise InputError(
            f"--num_workers={','.join(texts)}: must be integers, as in 0,2,4"
        ) from None


def synthetic() -> list[Encoded]:
    """JPEGs of the mean size of ImageNet's, in pixels and about in bytes."""
    rng = np.random.default_rng(0)
    made = []
    for label in range(_SYNTHETIC):
        coarse = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        noise = rng.normal(0, 14, (375, 500, 1))
        pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        made.append(Encoded(file.getvalue(), label, f"synthetic {label}"))
    return made


def _rate(stream: Stream, seconds: float) -> dict[str, float]:
    """Images per second of a stream, and the seconds until its first batch."""
    started = time.perf_counter()
    batches = stream.batches()
    next(batches)
    first = time.perf_counter() - started
    # What was made ahead while the workers started says nothing of their pace.
    for _ in range(stream.ahead * max(1, stream.num_workers)):
        next(batches)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        next(batches)
        count += stream.batch_size
    rate = count / (time.perf_counter() - started)
    batches.close()
    return {"images_per_second": round(rate, 1), "first_batch_seconds": round(first, 2)}


def _mean_bytes(images: Images) -> float:
    rows = range(0, len(images), max(1, len(images) // 64))
    return float(np.mean([len(images[row].image) for row in rows]))
