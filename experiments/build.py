"""From a configuration to the library's objects, every field checked on the way."""

import inspect
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from nasjax import epoch, methods, optimizers, schedules, spaces, supernet
from nasjax.base import InputError
from nasjax.bilevel import Optimizers
from nasjax.data import Augmentation, DeviceData, load, to_device
from nasjax.methods import Method

#: Fields that must lie in a range: (block, field): (lowest, below what).
_RANGES = {
    ("search", "epochs"): (1, math.inf),
    ("search", "batch_size"): (1, math.inf),
    ("search", "steps_per_dispatch"): (1, math.inf),
    ("search", "evaluate_every"): (1, math.inf),
    ("search", "learning_rate"): (0, math.inf),
    ("search", "learning_rate_end"): (0, math.inf),
    ("search", "momentum"): (0, 1),
    ("search", "weight_decay"): (0, math.inf),
    ("search", "clip_norm"): (0, math.inf),
    ("search", "arch_learning_rate"): (0, math.inf),
    ("search", "arch_b1"): (0, 1),
    ("search", "arch_b2"): (0, 1),
    ("search", "arch_weight_decay"): (0, math.inf),
    ("data", "pad"): (0, math.inf),
    ("data", "cutout"): (0, math.inf),
}
#: Method fields that are (start, end) of a linear schedule.
_SCHEDULES = ("noise_range", "js_strength")


def all_parts(
    config: Mapping[str, Any],
) -> tuple[supernet.Supernet, Method, DeviceData]:
    """Supernet, method and data of a configuration.

    Raises:
      InputError: a value that is not allowed, here or by the library's own checks.
    """
    try:
        check(config)
        chosen = method(config)
        on_device, num_classes = data(config)
        height, width, channels = on_device.images.shape[1:]
        largest = max(len(on_device.train_ids), len(on_device.valid_ids))
        if config["search"]["batch_size"] > largest:
            raise InputError(
                f"search.batch_size is {config['search']['batch_size']}; it must be "
                f"at most {largest}, the examples of the larger half"
            )
        built = net(
            config,
            chosen,
            image_shape=(height, width, channels),
            num_classes=num_classes,
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    return built, chosen, on_device


def check(config: Mapping[str, Any]) -> None:
    """Refuse values outside their range.

    Raises:
      InputError: naming the field, its value and what is allowed.
    """
    for (block, field), (low, limit) in _RANGES.items():
        value = config[block][field]
        if not low <= value < limit:
            below = f" and below {limit}" if limit < math.inf else ""
            raise InputError(
                f"{block}.{field} is {value}; it must be at least {low}{below}"
            )
    for field, value in config["method"].items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"method.{field} is {value}; it must be finite")
    if not 0 <= config["seed"] < 2**32:
        raise InputError(f"seed is {config['seed']}; it must be from 0 to 2**32 - 1")


@contextmanager
def _block(name: str) -> Iterator[None]:
    """Say which block the library's own complaints are about."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def method(config: Mapping[str, Any]) -> Method:
    """The method of ``config["method"]``."""
    fields = dict(config["method"])
    name = fields.pop("name")
    make = _choose("method.name", name, methods.METHODS)
    for field in _SCHEDULES:
        if field in fields:
            fields[field] = _schedule(f"method.{field}", fields[field])
    known = inspect.signature(make).parameters
    for field in fields:
        if field not in known:
            raise InputError(
                f"method.name is {name!r}, which has no field {field!r} but "
                f"{', '.join(known)}; take a --config of this method"
            )
    with _block("method"):
        return make(**fields)


def _schedule(field: str, value: Any) -> Any:
    ok = isinstance(value, tuple | list) and len(value) == 2
    if not ok or not all(
        isinstance(v, int | float) and 0 <= v < math.inf for v in value
    ):
        raise InputError(f"{field} is {value}; it is (start, end), neither below 0")
    return schedules.linear(*map(float, value))


def _choose(field: str, name: str, choices: Mapping[str, Any]) -> Any:
    if name not in choices:
        known = ", ".join(sorted(choices))
        raise InputError(f"{field} is {name!r}; it must be one of {known}")
    return choices[name]


def data(config: Mapping[str, Any]) -> tuple[DeviceData, int]:
    """The data set of ``config["data"]`` on the device, and its number of classes."""
    block = config["data"]
    with _block("data"):
        dataset = load(
            block["name"],
            data_dir=block["data_dir"],
            path=block["path"],
            image_size=block["image_size"],
            max_examples=block["max_examples"],
        )
        on_device = to_device(
            dataset, seed=config["seed"], train_fraction=block["train_fraction"]
        )
    return on_device, dataset.num_classes


def augmentation(config: Mapping[str, Any]) -> Augmentation:
    """Crop, flip and cutout of ``config["data"]``."""
    block = config["data"]
    return Augmentation(pad=block["pad"], flip=block["flip"], cutout=block["cutout"])


def net(
    config: Mapping[str, Any],
    method: Method,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
) -> supernet.Supernet:
    """The supernet of ``config["supernet"]`` in the method's space."""
    fields = dict(config["supernet"])
    space = _choose("supernet.space", fields.pop("space"), spaces.SPACES)()
    if fields["dtype"] not in ("float32", "bfloat16"):
        raise InputError(
            f"supernet.dtype is {fields['dtype']!r}; it must be float32 or bfloat16"
        )
    with _block("supernet"):
        return supernet.build(
            method.adapt(space),
            num_classes=num_classes,
            image_shape=image_shape,
            **fields,
        )


def both_optimizers(config: Mapping[str, Any], data: DeviceData) -> Optimizers:
    """The optimizers of ``config["search"]``."""
    block = config["search"]
    rate = optimizers.cosine_by_epoch(
        block["learning_rate"],
        block["learning_rate_end"],
        steps_per_epoch=epoch.steps_per_epoch(data, block["batch_size"]),
        epochs=block["epochs"],
    )
    return Optimizers(
        weights=optimizers.weight_optimizer(
            rate,
            momentum=block["momentum"],
            weight_decay=block["weight_decay"],
            clip_norm=block["clip_norm"],
        ),
        alpha=optimizers.arch_optimizer(
            block["arch_learning_rate"],
            b1=block["arch_b1"],
            b2=block["arch_b2"],
            weight_decay=block["arch_weight_decay"],
        ),
    )


def use_compilation_cache(folder: str) -> None:
    """Keep compiled programs in a folder, so that a second start is quick.

    A folder that cannot be used is told and done without.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"--compilation_cache={folder}: {error.strerror}"
        print(f"warning: compiled programs are not kept, {reason}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
