"""From the configuration of a retraining to the library's objects, all checked."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.configs.retraining import FIELDS
from experiments.launch import build, build_data
from nasjax import retrain
from nasjax.base import InputError
from nasjax.data.reading import Reading
from nasjax.genotype import Genotype
from nasjax.runtime import loop
from nasjax.runtime.parallel import Devices

#: Fields of ``train`` that are the loop's, not the recipe's.
_OF_THE_LOOP = ("batch_size", "evaluate_every", "steps_per_dispatch")


class Parts(NamedTuple):
    """What `retrain.prepare` takes."""

    net: retrain.Net
    recipe: retrain.Recipe
    feed: retrain.Feed


def all_parts(
    config: Mapping[str, Any],
    genotype: Genotype,
    *,
    num_devices: int | None = None,
    tell: Callable[[Reading], None] = lambda reading: None,
) -> Parts:
    """Network, recipe and data of a configuration.

    Args:
      config: the configuration.
      genotype: what is trained.
      num_devices: that share a batch; None takes as many as can.
      tell: told of what was read, once all is checked.

    Raises:
      InputError: a value that is not allowed, here or by the library's own checks.
    """
    build.check_ranges(config, FIELDS)
    _check_space(config, genotype)
    recipe = _recipe(config)
    size, number = config["train"]["batch_size"], recipe.micro_batches
    if size % number:
        raise InputError(
            f"train.micro_batches is {number}; it must divide train.batch_size, {size}"
        )
    shared = size // number if num_devices is None else size
    devices = build.choose_devices(shared, num_devices)
    make = _streamed if config["data"]["name"] == "imagenet2012" else _resident
    data = make(config, Devices(devices.number, size))
    net = _net(config, genotype, data.reading, devices.axis_name)
    net._replace(auxiliary=recipe.auxiliary_weight > 0).check()
    if data.images:
        build_data.look(data.images, build.augmentation(config))
    loop.check_length(recipe.epochs, data.feed.steps_per_epoch)
    tell(data.reading)
    return Parts(net, recipe, data.feed)


class _Data(NamedTuple):
    """A feed and what there is to tell of it."""

    feed: retrain.Feed
    reading: Reading
    images: Mapping[str, np.ndarray] = {}  # on the host, to look at


def _resident(config: Mapping[str, Any], devices: Devices) -> _Data:
    """Data that lives on the device."""
    if "pad" not in config["data"]:
        raise InputError(
            f"data.name is {config['data']['name']!r}, which is no stream; take "
            "--config=experiments/configs/retrain_cifar10.py"
        )
    block = config["data"]
    train, test = (build_data.load_split(block, split) for split in ("train", "test"))
    valid = build_data.load_own_valid(block)
    with build.named("data"):
        feed = retrain.resident(
            train,
            test,
            devices=devices,
            valid=valid,
            valid_fraction=block["valid_fraction"],
            seed=config["seed"],
            augmentation=build.augmentation(config),
        )
    held_out = 0 if feed.valid is None else int(feed.valid.half.weights.sum())
    examples = {
        "train": len(train.labels) - (held_out if valid is None else 0),
        "valid": held_out,
        "test": len(test.labels),
    }
    images = {"train images": train.images, "test images": test.images}
    read = [train, test]
    if valid is not None:
        images["valid images"] = valid.images
        read.append(valid)
    told = build_data.reading(block, examples, read, has_valid=valid is not None)
    return _Data(feed, told, images)


def _streamed(config: Mapping[str, Any], devices: Devices) -> _Data:
    """ImageNet as a stream."""
    # Imported here: grain takes a second that other data need not wait.
    from nasjax.data.imagenet_streams import MEAN, STD, imagenet_streams

    block = dict(config["data"])
    del block["name"]
    if "pad" in block:
        raise InputError(
            "data.name is 'imagenet2012', which is read as a stream; take "
            "--config=experiments/configs/retrain_imagenet.py"
        )
    with build.named("data"):
        streams = imagenet_streams(
            batch_size=devices.batch_size, seed=config["seed"], **block
        )
        feed = retrain.streamed(
            streams.train,
            streams.test,
            valid=streams.valid,
            mean=MEAN,
            std=STD,
            devices=devices,
        )
    size, valid = block["image_size"], streams.valid
    examples = {
        "train": len(streams.train.images),
        "valid": 0 if valid is None else len(valid.images),
        "test": len(streams.test.images),
    }
    source = build_data.DRAWN if valid is not None else ""
    told = Reading(
        "imagenet2012", (size, size, 3), streams.class_names, examples, source
    )
    return _Data(feed, told)


def _check_space(config: Mapping[str, Any], genotype: Genotype) -> None:
    """Refuse a genotype of another space: other sizes and other rules are its own."""
    space = "nasbench201" if genotype.arch_str else "darts"
    wanted = config["network"]["space"]
    if wanted not in ("darts", "nasbench201"):
        raise InputError(
            f"network.space is {wanted!r}; it must be one of darts, nasbench201"
        )
    if wanted != space:
        data = config["data"]["name"]
        if data not in ("digits", "cifar10", "cifar100"):
            data = "cifar10"  # other data have no configuration of either space
        name = f"retrain_nasbench201_{data}" if space != "darts" else f"retrain_{data}"
        raise InputError(
            f"--genotype is of the space {space} and network.space is {wanted}; take a "
            f"--config of that space, such as experiments/configs/{name}.py"
        )


def _recipe(config: Mapping[str, Any]) -> retrain.Recipe:
    fields = dict(config["train"])
    for name in _OF_THE_LOOP:
        del fields[name]
    with build.named("train"):
        recipe = retrain.Recipe(**fields)
        recipe.check()
    return recipe


def _net(
    config: Mapping[str, Any],
    genotype: Genotype,
    reading: Reading,
    axis_name: str | None,
) -> retrain.Net:
    fields = dict(config["network"])
    del fields["space"]
    synchronised = fields.pop("synchronised")
    return retrain.Net(
        genotype,
        len(reading.class_names),
        reading.image_shape,
        axis_name=axis_name if synchronised else None,
        **fields,
    )
