"""The fields of every search, their defaults, and what spaces and data sets change.

A configuration determines the run. Its blocks are unpacked as keyword arguments, so
each field is documented where the library's function takes it; the fields of
``method`` are the arguments of the method's own function, with its defaults.
``python -m experiments.configs`` prints them all.
"""

import inspect
import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict, config_dict

from nasjax.analysis.probes import PROBES, Probe
from nasjax.base import InputError
from nasjax.schedules import SCHEDULES, Schedule


class Field(NamedTuple):
    """A field of a configuration.

    Attributes:
      default: its value; a type stands for none, to be filled by a value of that type.
      about: comment, in one line.
      least: the lowest number that is allowed.
      below: what it must be below.
    """

    default: Any
    about: str = ""
    least: float = -math.inf
    below: float = math.inf


#: Fields by block; the block of the method is made by `method_block`.
Fields = Mapping[str, Mapping[str, Field]]


def arguments_of(function: Callable[..., Any]) -> dict[str, str]:
    """What a docstring's ``Args:`` says of each argument, in one line.

    >>> arguments_of(arguments_of)
    {'function': 'documented in the style of this one.'}

    Args:
      function: documented in the style
        of this one.
    """
    _, _, rest = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    found: dict[str, str] = {}
    name = ""
    for line in itertools.takewhile(str.strip, rest.split("\n")):
        if not line.startswith("    "):
            name, _, line = line.strip().partition(":")
        found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


def summary_of(function: Callable[..., Any]) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _of(probe: Probe) -> dict[str, Field]:
    """The fields of a measure, described as its function's arguments are."""
    about = arguments_of(probe.make)
    fields = {}
    for name, default in probe.fields.items():
        argument = name.removeprefix(f"{probe.name}_")
        told = summary_of(probe.make) if name == probe.name else about[argument]
        fields[name] = Field(default, told, probe.least.get(argument, 0))
    return fields


#: DARTS's settings on CIFAR-10.
FIELDS: Fields = {
    "data": {
        "name": Field("cifar10", "digits, cifar100, imagenet2012, npz, folder"),
        "data_dir": Field(str, "of TFDS's data sets"),
        "path": Field(str, "of npz and folder"),
        "image_size": Field(int, "in pixels, of folder and imagenet2012"),
        "max_examples": Field(int, "of a split; all"),
        "train_fraction": Field(0.5, "where there is no split valid", 0),
        "class_fraction": Field(float, "of imagenet2012, in either half"),
        "pad": Field(4, "pixels around the image before the random crop", 0, 1025),
        "flip": Field(True, "mirror images at random"),
        "cutout": Field(0, "side in pixels; off in search", 0, 1025),
    },
    "supernet": {
        "space": Field("darts", "darts, nasbench201"),
        "channels": Field(16, "C of the first cells"),
        "num_cells": Field(8, "cells; of a stage, in nasbench201"),
        "stem": Field("cifar", "or imagenet, 224 pixels to 28"),
        "dtype": Field("float32", "of the activations; or bfloat16"),
        "depthwise": Field("auto", "auto, banded, grouped, shift"),
        "engine": Field("auto", "batched on an accelerator, scan on a CPU"),
        "synchronised": Field(True, "batch norm over all devices, or of each"),
        "residual_affine": Field(False, "batch norm between stages of nasbench201"),
    },
    "search": {
        "epochs": Field(50, "of the weights' half", 1, 1_000_001),
        "batch_size": Field(64, "B, of either half", 1),
        "learning_rate": Field(0.025, "of the weights, at the start", 0),
        "learning_rate_end": Field(0.001, "after a cosine by epoch", 0),
        "momentum": Field(0.9, "of the weights", 0, 1),
        "nesterov": Field(False, "Nesterov's momentum"),
        "weight_decay": Field(3e-4, "of the weights", 0),
        "clip_norm": Field(5.0, "of the weights' gradient; 0 for none", 0),
        "arch_learning_rate": Field(3e-4, "of alpha's Adam", 0),
        "arch_b1": Field(0.5, "of alpha's Adam", 0, 1),
        "arch_b2": Field(0.999, "of alpha's Adam", 0, 1),
        "arch_weight_decay": Field(1e-3, "of alpha", 0),
        "evaluate_every": Field(1, "epochs", 1),
        "steps_per_dispatch": Field(20, "steps between two words with the host", 1),
        "num_seeds": Field(1, "searched in one program: seed, seed + 1, …"),
        "seeds_mapped": Field("auto", "as vmap, one batch, or map, in turns"),
    },
    # Of a measure: epochs between two of it, and always after the last; 0 for never.
    "analysis": {name: field for probe in PROBES for name, field in _of(probe).items()},
}


def of_fields(fields: Fields) -> ConfigDict:
    """A configuration of the fields' defaults, with a seed."""

    def value(field: Field) -> Any:
        if isinstance(field.default, type):
            return config_dict.placeholder(field.default)
        return field.default

    blocks = {
        block: {name: value(field) for name, field in of_block.items()}
        for block, of_block in fields.items()
    }
    return ConfigDict({"seed": 0, **blocks})


def method_block(name: str, make: Callable[..., Any], **given: Any) -> ConfigDict:
    """The block of a method: its name and the arguments of its function.

    A schedule is its text; one that has none that `schedules.parse` reads is no field.

    Args:
      name: as the configuration has it.
      make: the function.
      **given: arguments with another value than the function's default.

    Raises:
      InputError: an argument without a default.
    """
    block = {"name": name}
    for argument, parameter in inspect.signature(make).parameters.items():
        if parameter.default is parameter.empty:
            raise InputError(
                f"method.name is {name!r}, whose argument {parameter} has no default; "
                "a method is launched with the defaults of its arguments"
            )
        default = parameter.default
        if not isinstance(default, Schedule):
            block[argument] = default
        elif re.match(rf"({'|'.join(SCHEDULES)})\(", default.text):
            block[argument] = default.text
    return ConfigDict({**block, **given})


def default() -> ConfigDict:
    """DARTS's settings on CIFAR-10, for a method to be put in."""
    config = of_fields(FIELDS)
    config.method = ConfigDict({"name": "darts"})
    return config


def with_fields(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """The configuration with fields set, ``{"search.epochs": 10}``."""
    with config.unlocked():
        config.update_from_flattened_dict(fields)
    return config


# --- spaces and data sets ----------------------------------------------------------

#: What a space has of its own; another one has the numbers of DARTS's.
_SPACES: dict[str, dict[str, Any]] = {
    "nasbench201": {"supernet.num_cells": 5},
}
#: How the NAS-Bench-201 paper trains its baselines: ``configs/nas-benchmark/algos`` of
#: its code.
BENCHMARK = {
    "search.batch_size": 64,
    "search.learning_rate": 0.025,
    "search.learning_rate_end": 0.001,
    "search.momentum": 0.9,
    "search.nesterov": True,
    "search.weight_decay": 5e-4,
    "search.clip_norm": 5.0,
    "search.arch_learning_rate": 3e-4,
    "search.arch_b1": 0.5,
    "search.arch_b2": 0.999,
    "search.arch_weight_decay": 1e-3,
}


def on_space(config: ConfigDict, space: str) -> ConfigDict:
    """The search in a space; NAS-Bench-201 has C=16 and five cells per stage."""
    return with_fields(config, {"supernet.space": space, **_SPACES.get(space, {})})


def on_data(config: ConfigDict, data: str) -> ConfigDict:
    """The search on a data set; one that has nothing of its own is as CIFAR-10."""
    if data == "digits":
        return _on_digits(config)
    if data == "imagenet":
        return _on_imagenet(config)
    return with_fields(config, {"data.name": data})


def _on_digits(config: ConfigDict) -> ConfigDict:
    """Scikit-learn's 8×8 digits and a supernet of their size.

    Few and small images want few and small cells, a batch that leaves enough steps
    for alpha to move, and its learning rate raised by as much as there are fewer
    steps than on CIFAR-10.
    """
    fields: dict[str, Any] = {
        "data.name": "digits",
        "data.pad": 1,
        "data.flip": False,  # a mirrored digit is another sign
        "supernet.channels": 8,
        "supernet.num_cells": 1 if config.supernet.space == "nasbench201" else 4,
        "search.epochs": 30,
        "search.batch_size": 64,
        "search.arch_learning_rate": 3e-3,
    }
    # Of thirty epochs, the share that the papers' settings have of theirs.
    return with_fields(config, fields | _there(config, {"warmup": 15, "arch_start": 9}))


def _on_imagenet(config: ConfigDict) -> ConfigDict:
    """A tenth of every class of ImageNet for the weights, as much for alpha.

    The network is the target's: 14 cells, C=48 (STC-NAS, section 4.3). The paper
    names neither the batch, here that of its retraining, nor the augmentation, here
    CIFAR's in proportion.
    """
    fields = {
        "data.name": "imagenet2012",
        "data.image_size": 224,
        "data.class_fraction": 0.1,
        "data.pad": 28,
        "supernet.stem": "imagenet",
        "supernet.channels": 48,
        "supernet.num_cells": 14,
        "search.batch_size": 1024,
        "search.learning_rate": 0.5,
    }
    return with_fields(config, fields)


def _there(config: ConfigDict, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some fields of methods that this one has."""
    return {f"method.{k}": v for k, v in values.items() if k in config.method}


# --- variants ----------------------------------------------------------------------


def smoke(config: ConfigDict) -> ConfigDict:
    """Every part for a few steps: ends within a minute on two cores."""
    fields: dict[str, Any] = {
        "data.max_examples": 160,
        "supernet.channels": 4,
        "supernet.num_cells": 1 if config.supernet.space == "nasbench201" else 3,
        "search.epochs": 2,
        "search.batch_size": 32,
        "search.steps_per_dispatch": 2,
    }
    if config.supernet.stem == "imagenet":  # small data sets are enough
        fields |= {"data.image_size": 32, "data.class_fraction": 0.5}
    # What begins after some epochs, or takes many rounds, begins and takes few here.
    few = {"warmup": 1, "window": 1, "arch_start": 1}
    few |= {"candidates": 4, "batches": 1, "finalists": 2}
    fields |= _there(config, few)
    if config.method.get("order") == 2:
        # Tracing a gradient through a gradient takes most of the minute; the banded
        # form has fewer operations to trace.
        fields |= {"data.max_examples": 64, "search.batch_size": 16}
        fields |= {"supernet.depthwise": "banded"}
    return with_fields(config, fields)


def nasbench201_proxy(config: ConfigDict) -> ConfigDict:
    """The NAS-Bench-201 search sized for two cores: a proxy, not the paper's setting.

    20,000 images of CIFAR-10, one narrow cell a stage instead of five, fifteen epochs.
    At batch 64 that is about half as many alpha steps (2,355) as the full variant
    has (4,900), at twice its learning rate.
    """
    fields = {
        "data.max_examples": 20_000,
        "supernet.channels": 8,
        "supernet.num_cells": 1,
        "search.batch_size": 64,
        "search.epochs": 15,
        "search.arch_learning_rate": 6e-4,
    }
    return with_fields(config, fields | _there(config, {"arch_start": 4}))
