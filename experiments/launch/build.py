"""From a configuration to the library's objects, every field checked on the way."""

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.configs.base import FIELDS, Fields
from experiments.configs.references import find
from experiments.launch import build_data
from experiments.launch.build_data import augmentation as augmentation
from experiments.launch.build_data import named as named
from nasjax import methods, optimizers, schedules, spaces, supernet
from nasjax.analysis import probes
from nasjax.base import InputError
from nasjax.bilevel import Optimizers
from nasjax.data import DeviceData
from nasjax.data.reading import Reading
from nasjax.genotype import Genotype
from nasjax.methods import Method
from nasjax.runtime.parallel import Devices, most_devices
from nasjax.schedules import Schedule
from nasjax.tabular import NASBench201


class Parts(NamedTuple):
    """What `search.prepare` takes, and what there is to tell of its data.

    ``by_seed`` has the data of each seed asked for.
    """

    net: supernet.Supernet
    method: Method
    data: DeviceData
    devices: Devices
    by_seed: Sequence[DeviceData]
    reading: Reading


def all_parts(
    config: Mapping[str, Any],
    *,
    num_devices: int | None = None,
    seeds: Sequence[int] = (),
) -> Parts:
    """Supernet, method and data of a configuration.

    Args:
      config: the configuration.
      num_devices: that share a batch; None takes as many as can.
      seeds: that share the data set; none for that of the configuration alone.

    Raises:
      InputError: a value that is not allowed, here or by the library's own checks.
    """
    try:
        check(config)
        chosen = method(config)
        devices = choose_devices(config["search"]["batch_size"], num_devices)
        read = build_data.read(config, seeds)
        built = net(
            config,
            chosen,
            image_shape=read.reading.image_shape,
            num_classes=len(read.reading.class_names),
            axis_name=devices.axis_name,
        )
        build_data.look(read.images, augmentation(config))
    except ValueError as error:
        raise InputError(str(error)) from None
    return Parts(built, chosen, read.by_seed[0], devices, read.by_seed, read.reading)


def choose_devices(batch_size: int, asked: int | None) -> Devices:
    """The devices asked for, or the most that can share the batch out evenly.

    Raises:
      InputError: more than there are, or a batch they cannot share out.
    """
    if asked is None:
        several = jax.process_count()
        there = range(several, most_devices() + 1, several)
        asked = max((n for n in there if batch_size % n == 0), default=several)
    devices = Devices(asked, batch_size)
    devices.check()
    return devices


def check(config: Mapping[str, Any]) -> None:
    """Refuse values outside their range.

    Raises:
      InputError: naming the field, its value and what is allowed.
    """
    check_ranges(config, FIELDS)
    for field, value in config["method"].items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"method.{field} is {value}; it must be finite")
    start, epochs = config["method"].get("arch_start", 0), config["search"]["epochs"]
    if start >= epochs:
        raise InputError(
            f"method.arch_start is {start}; alpha would never be trained in "
            f"search.epochs={epochs}: it must be below"
        )


def check_ranges(config: Mapping[str, Any], fields: Fields) -> None:
    """Refuse a seed or a field outside its range.

    Args:
      config: the configuration.
      fields: with their ranges.

    Raises:
      InputError: naming the field, its value and what is allowed.
    """
    for block, of_block in fields.items():
        for name, (_, _, low, limit) in of_block.items():
            if (low, limit) == (-math.inf, math.inf) or name not in config[block]:
                continue
            value = config[block][name]
            if not low <= value < limit:
                below = f" and below {limit}" if limit < math.inf else ""
                raise InputError(
                    f"{block}.{name} is {value}; it must be at least {low}{below}"
                )
    if not 0 <= config["seed"] < 2**32:
        raise InputError(f"seed is {config['seed']}; it must be from 0 to 2**32 - 1")


def method(config: Mapping[str, Any]) -> Method:
    """The method of ``config["method"]``."""
    fields = dict(config["method"])
    name = fields.pop("name")
    make = find("method.name", name, methods.METHODS)
    known = inspect.signature(make).parameters
    for field, value in fields.items():
        if field not in known:
            raise InputError(
                f"method.name is {name!r}, which has no field {field!r} but "
                f"{', '.join(known)}; take a --config of this method"
            )
        if callable(known[field].default):
            fields[field] = _schedule(f"method.{field}", value)
    with named("method"):
        return make(**fields)


def _schedule(field: str, text: Any) -> Schedule:
    try:
        schedule = schedules.parse(str(text))
    except ValueError as error:
        raise InputError(f"{field} is {error}") from None
    lowest = min(float(schedule(jnp.float32(at / 100))) for at in range(101))
    if lowest < 0:
        raise InputError(f"{field} is {text!r}, which goes down to {lowest:g}, below 0")
    return schedule


def data(config: Mapping[str, Any]) -> tuple[DeviceData, int]:
    """The data set of ``config["data"]`` on the device, and its number of classes."""
    read = build_data.read(config)
    return read.by_seed[0], len(read.reading.class_names)


def net(
    config: Mapping[str, Any],
    method: Method,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    axis_name: str | None = None,
) -> supernet.Supernet:
    """The supernet of ``config["supernet"]`` in the method's space."""
    fields = dict(config["supernet"])
    space = find("supernet.space", fields.pop("space"), spaces.SPACES)()
    if fields["dtype"] not in ("float32", "bfloat16"):
        raise InputError(
            f"supernet.dtype is {fields['dtype']!r}; it must be float32 or bfloat16"
        )
    with named("supernet"):
        return supernet.build(
            method.adapt(space),
            num_classes=num_classes,
            image_shape=image_shape,
            axis_name=axis_name,
            **fields,
        )


def both_optimizers(config: Mapping[str, Any]) -> Optimizers:
    """The optimizers of ``config["search"]``."""
    block = config["search"]
    rate = schedules.cosine(block["learning_rate"], block["learning_rate_end"])
    return Optimizers(
        weights=optimizers.weight_optimizer(
            rate,
            momentum=block["momentum"],
            weight_decay=block["weight_decay"],
            clip_norm=block["clip_norm"],
            nesterov=block["nesterov"],
        ),
        alpha=optimizers.arch_optimizer(
            block["arch_learning_rate"],
            b1=block["arch_b1"],
            b2=block["arch_b2"],
            weight_decay=block["arch_weight_decay"],
        ),
    )


def analyses(
    config: Mapping[str, Any], table: NASBench201 | None
) -> list[probes.Analysis]:
    """The measures of ``config["analysis"]``.

    Args:
      config: the configuration.
      table: to rank against.

    Raises:
      InputError: a ranking without a table.
    """
    block, found = config["analysis"], []
    for probe in probes.PROBES:
        if not block[probe.name]:
            continue
        first = []
        if probe.asks:
            if table is None:
                raise InputError(
                    f"analysis.{probe.name} is {block[probe.name]}; it needs a table "
                    "to look up in: the space nasbench201 and "
                    "--nasbench201=accuracies.csv"
                )
            first = [partial(_accuracy, table)]
        found.append(probe.of(block, *first))
    return found


def _accuracy(table: NASBench201, genotype: Genotype) -> float:
    return table.query(genotype.arch_str)
