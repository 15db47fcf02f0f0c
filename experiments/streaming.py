r"""Measure how fast the stream of ImageNet's images is, without any training.

    python -m experiments.streaming [--num_workers=0,2,4] [--data_dir=DIR]

Prints one JSON object a line for each number of worker processes: images per second
of training batches (decoded, cropped at random, resized, mirrored, their colours
jittered unless ``--nocolor_jitter``) once the workers are at work, and the seconds
until the first batch. With ``--data_dir`` on the prepared ``imagenet2012``, else on
synthetic JPEGs in memory, of the mean size of ImageNet's, 500×375 pixels, and 90 kB
(its: 108). Exit code 2: bad input, told in one line.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import io
import json
import time
from collections.abc import Sequence

import numpy as np
from absl import flags
from PIL import Image

from experiments.launch import app
from nasjax.base import InputError
from nasjax.data.files.encoded import Encoded, open_tfds
from nasjax.data.jitter import IMAGENET_JITTER, ColorJitter
from nasjax.data.stream import Images, Stream

# Other launchers have some of these flags too; tests import several of them together.
_WORKERS = flags.DEFINE_list(
    "num_workers", ["0", "2"], "Processes that decode.", allow_override=True
)
_THREADS = flags.DEFINE_integer(
    "num_threads",
    2,
    "Threads that decode, of each worker; without workers, of all.",
    allow_override=True,
)
_BATCH = flags.DEFINE_integer(
    "batch_size", 64, "Images of a batch.", allow_override=True
)
_SIZE = flags.DEFINE_integer(
    "image_size", 224, "Side of the crops in pixels.", allow_override=True
)
_JITTER = flags.DEFINE_bool(
    "color_jitter", True, "Jitter colours, as DARTS does.", allow_override=True
)
_SECONDS = flags.DEFINE_float(
    "seconds", 10.0, "How long to measure each.", allow_override=True
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the TFDS data sets; synthetic images without it.",
    allow_override=True,
)

#: Different synthetic images.
_SYNTHETIC = 64


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


def measure(stream: Stream, *, seconds: float) -> dict[str, float]:
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


def main(argv: Sequence[str]) -> None:
    """Measure what the flags name."""
    del argv
    try:
        workers = [int(text) for text in _WORKERS.value]
    except ValueError:
        raise InputError(
            f"--num_workers={','.join(_WORKERS.value)}: must be integers, as in 0,2,4"
        ) from None
    name = "synthetic" if _DATA_DIR.value is None else "imagenet2012"
    images: Images = (
        synthetic()
        if _DATA_DIR.value is None
        else open_tfds(name, data_dir=_DATA_DIR.value)
    )
    stream = Stream(
        images,
        batch_size=_BATCH.value,
        image_size=_SIZE.value,
        num_threads=_THREADS.value,
        color_jitter=IMAGENET_JITTER if _JITTER.value else ColorJitter(),
    )
    for number in workers:
        stream._replace(num_workers=number).check()
    for number in workers:
        result = measure(stream._replace(num_workers=number), seconds=_SECONDS.value)
        settings = {
            "images": name,
            "num_images": len(images),
            "mean_kilobytes": round(_mean_bytes(images) / 1000, 1),
            "num_workers": number,
            "num_threads": stream.num_threads,
            "batch_size": stream.batch_size,
            "image_size": stream.image_size,
            "color_jitter": _JITTER.value,
        }
        print(json.dumps(settings | result), flush=True)


def _mean_bytes(images: Images) -> float:
    rows = range(0, len(images), max(1, len(images) // 64))
    return float(np.mean([len(images[row].image) for row in rows]))


if __name__ == "__main__":
    app.run(main)
