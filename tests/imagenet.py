"""A small ImageNet for the tests: official archives in miniature, and prepared."""

import functools
import io
import pathlib
import tarfile

import numpy as np
from PIL import Image

from nasjax.data.files.imagenet import ARCHIVES, class_names

#: Synset -> training images of it.
CLASSES = {"n01440764": 9, "n01443537": 7, "n02123394": 6, "n15075141": 5}
NUM_VALIDATION = 7


@functools.cache
def jpeg(seed: int, *, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    """A smooth image of a size of its own."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(40, 90, 2))
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3)).astype(np.uint8))
    image = small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return out.getvalue()


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def train_images() -> dict[str, dict[str, bytes]]:
    """Synset -> file name -> image; one is grey, one CMYK, one a PNG, as there."""
    odd = {0: {"mode": "CMYK"}, 1: {"kind": "PNG"}, 2: {"mode": "L"}}
    number = iter(range(1000))
    images = {
        synset: {f"{synset}_{10 * n}.JPEG": next(number) for n in range(count)}
        for synset, count in CLASSES.items()
    }
    return {
        synset: {name: jpeg(seed, **odd.get(seed, {})) for name, seed in own.items()}
        for synset, own in images.items()
    }


def validation_images() -> dict[str, bytes]:
    """In an order that is not that of their numbers."""
    return {
        f"ILSVRC2012_val_{number:08d}.JPEG": jpeg(500 + number)
        for number in reversed(range(1, NUM_VALIDATION + 1))
    }


def write_archives(
    folder: pathlib.Path,
    *,
    train: dict[str, bytes] | None = None,
    validation: dict[str, bytes] | None = None,
) -> None:
    """Write the two archives; members other than the usual where given."""
    if train is None:
        train = {f"{name}.tar": tar(own) for name, own in train_images().items()}
    if validation is None:
        validation = validation_images()
    for split, files in (("train", train), ("validation", validation)):
        (folder / ARCHIVES[split][0]).write_bytes(tar(files))


def label(synset: str) -> int:
    return class_names().index(synset)
