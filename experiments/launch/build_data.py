"""From ``config["data"]`` to images on the device, looked at on the way."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from experiments.configs.references import find, is_reference
from nasjax.base import InputError
from nasjax.data import (
    Augmentation,
    Dataset,
    DeviceData,
    load,
    load_halves,
    open_tfds,
    split_half,
    splits,
    to_device,
    to_device_halves,
    to_device_seeds,
)
from nasjax.data.files.pixels import check_varied
from nasjax.data.reading import Reading
from nasjax.data.sources import Source, of_function

#: Where validation images come from, in a `Reading`.
OWN_SPLIT = "a split of its own"
DRAWN = "drawn from train"


class Read(NamedTuple):
    """A data set for a search.

    Attributes:
      by_seed: on the device, of each seed asked for.
      images: of each part on the host, to look at.
      reading: what is told of it.
    """

    by_seed: Sequence[DeviceData]
    images: Mapping[str, np.ndarray]
    reading: Reading


@contextmanager
def named(name: str, *, separator: str = ": ") -> Iterator[None]:
    """Say which block the library's own complaints are about."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{name}{separator}{error}") from None


def read(config: Mapping[str, Any], seeds: Sequence[int] = ()) -> Read:
    """Read the data set of a search, and put it on the device.

    Args:
      config: the configuration.
      seeds: that share the images; none for the configuration's alone.

    Raises:
      InputError: anything wrong with the fields or the data.
    """
    if config["data"]["name"] == "imagenet2012":
        return _imagenet(config, seeds)
    block, batch_size = config["data"], config["search"]["batch_size"]
    fraction = block["train_fraction"]
    if block["class_fraction"] is not None:
        raise InputError(
            f"data.class_fraction is for imagenet2012, not for {block['name']!r}"
        )
    train, valid = load_split(block, "train"), load_own_valid(block)
    if valid is None:
        with named("data"):
            halves = split_half(0, len(train.labels), train_fraction=fraction)
        sizes = tuple(map(len, halves))
        images = {"images": train.images}
    elif fraction != 0.5:
        raise InputError(
            f"data.train_fraction is {fraction}; {block['path']} has a validation "
            "split of its own, on which alpha is trained: leave it at 0.5"
        )
    else:
        sizes = len(train.labels), len(valid.labels)
        images = {"train images": train.images, "valid images": valid.images}
    _check_batch_size(batch_size, max(sizes))
    examples = {"train": sizes[0], "valid": sizes[1], "test": None}
    read = [train] if valid is None else [train, valid]
    told = reading(block, examples, read, has_valid=valid is not None)
    return Read(_on_device(config, train, valid, seeds), images, told)


def _on_device(
    config: Mapping[str, Any],
    train: Dataset,
    valid: Dataset | None,
    seeds: Sequence[int],
) -> Sequence[DeviceData]:
    size, fraction = config["search"]["batch_size"], config["data"]["train_fraction"]
    with named("data"):
        if seeds:
            return to_device_seeds(
                train,
                batch_size=size,
                seeds=seeds,
                train_fraction=fraction,
                valid=valid,
            )
        if valid is not None:
            return [to_device_halves(train, valid, batch_size=size)]
        seed = config["seed"]
        return [to_device(train, batch_size=size, seed=seed, train_fraction=fraction)]


def load_split(block: Mapping[str, Any], split: str) -> Dataset:
    """A split of the data set of ``config["data"]``, not looked at yet."""
    with named("data"):
        return load(
            _source(block["name"]),
            split=split,
            data_dir=block["data_dir"],
            path=block["path"],
            image_size=block["image_size"],
            max_examples=block["max_examples"],
            look=False,
        )


def _source(name: str) -> str | Source:
    """A data set's name, or the source that ``package.module:function`` is."""
    if is_reference(name):
        return of_function(find("name", name, {}))
    return name


def load_own_valid(block: Mapping[str, Any]) -> Dataset | None:
    """Its validation split, where it has one of its own."""
    with named("data"):
        if "valid" not in splits(_source(block["name"]), path=block["path"]):
            return None
    return load_split(block, "valid")


def reading(
    block: Mapping[str, Any],
    examples: Mapping[str, int | None],
    read: Sequence[Dataset],
    *,
    has_valid: bool = False,
) -> Reading:
    """What is told of a data set.

    Args:
      block: ``config["data"]``.
      examples: see `Reading`.
      read: its splits that were read, train first.
      has_valid: whether it has a validation split of its own.
    """
    return Reading(
        " ".join(filter(None, (block["name"], block["path"]))),
        read[0].image_shape,
        read[0].class_names,
        examples,
        (OWN_SPLIT if has_valid else DRAWN) if examples["valid"] else "",
        tuple(passed for one in read for passed in one.passed_over),
    )


def _imagenet(config: Mapping[str, Any], seeds: Sequence[int]) -> Read:
    """Two shares of every class of ImageNet on the device."""
    block, batch_size = config["data"], config["search"]["batch_size"]
    if seeds:
        raise InputError(
            f"search.num_seeds is {len(seeds)}; of imagenet2012 each seed takes images "
            "of its own: give one seed a launch"
        )
    if block["train_fraction"] != 0.5:
        raise InputError(
            f"data.train_fraction is {block['train_fraction']}; of imagenet2012 either "
            "half has data.class_fraction of each class"
        )
    if block["path"] is not None:
        raise InputError(f"data.path is for npz and folder, got {block['path']!r}")
    with named("data"):
        halves = load_halves(
            open_tfds("imagenet2012", data_dir=block["data_dir"]),
            image_size=224 if block["image_size"] is None else block["image_size"],
            fraction=0.1
            if block["class_fraction"] is None
            else block["class_fraction"],
            max_examples=block["max_examples"],
            seed=config["seed"],
        )
    train, valid = halves
    _check_batch_size(batch_size, len(train.labels))
    images = {"train images": train.images, "valid images": valid.images}
    examples = {"train": len(train.labels), "valid": len(valid.labels), "test": None}
    told = reading(block, examples, [train])
    return Read([to_device_halves(train, valid, batch_size=batch_size)], images, told)


def _check_batch_size(batch_size: int, largest: int) -> None:
    if batch_size > largest:
        raise InputError(
            f"search.batch_size is {batch_size}; it must be at most {largest}, the "
            "examples of the larger half"
        )


def look(images: Mapping[str, np.ndarray], augmentation: Augmentation) -> None:
    """Refuse images, or an augmentation of them, from which nothing can be learned.

    Args:
      images: of each part; the first are trained on.
      augmentation: of what is trained on.

    Raises:
      InputError: naming what was read, or the field.
    """
    with named("data"):
        for place, (part, pixels) in enumerate(images.items()):
            check_varied(pixels, part=part, channels=place == 0)
    height, width = next(iter(images.values())).shape[1:3]
    with named("data", separator="."):
        augmentation.check(height, width)


def augmentation(config: Mapping[str, Any]) -> Augmentation:
    """Crop, flip and cutout of ``config["data"]``."""
    block = config["data"]
    return Augmentation(pad=block["pad"], flip=block["flip"], cutout=block["cutout"])
