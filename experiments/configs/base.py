"""The fields of every configuration and the papers' common defaults.

A configuration determines the run. Its blocks are unpacked as keyword arguments, so
each field is documented where the library's function takes it.
"""

from collections.abc import Callable

from ml_collections import ConfigDict, config_dict

from nasjax.base import InputError


def default() -> ConfigDict:
    """DARTS's settings on CIFAR-10, without a method (spec section 2)."""
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "cifar10",  # digits, cifar10, cifar100, npz, folder
                "data_dir": config_dict.placeholder(str),  # of TFDS's data sets
                "path": config_dict.placeholder(str),  # of npz and folder
                "image_size": config_dict.placeholder(int),  # of folder, pixels
                "max_examples": config_dict.placeholder(int),  # all of them
                "train_fraction": 0.5,
                "pad": 4,  # pixels around the image before the random crop
                "flip": True,
                "cutout": 0,  # side in pixels; off in search
            },
            "supernet": {
                "space": "darts",  # darts, nasbench201
                "channels": 16,
                "num_cells": 8,  # a stage, in nasbench201
                "dtype": "float32",  # of the activations; or bfloat16
                "depthwise": "auto",  # auto, banded, grouped, shift
            },
            "method": {"name": "darts"},
            "search": {
                "epochs": 50,
                "batch_size": 64,
                "learning_rate": 0.025,
                "learning_rate_end": 0.001,
                "momentum": 0.9,
                "weight_decay": 3e-4,
                "clip_norm": 5.0,
                "arch_learning_rate": 3e-4,
                "arch_b1": 0.5,
                "arch_b2": 0.999,
                "arch_weight_decay": 1e-3,
                "evaluate_every": 1,  # epochs
                "steps_per_dispatch": 20,
            },
        }
    )


def darts(order: int) -> ConfigDict:
    """DARTS of first or second order."""
    config = default()
    config.method = ConfigDict({"name": "darts", "order": order, "alpha_scale": 1e-3})
    return config


def stc_nas() -> ConfigDict:
    """STC-NAS's search (spec section 5)."""
    config = default()
    config.method = ConfigDict(
        {
            "name": "stc_nas",
            "noise_range": (0.3, 0.0),  # at the start, at the end
            "js_strength": (0.0, 2.0),
            "alpha_start": 0.3,
            "activation": "relu",  # relu, softmax, sigmoid
        }
    )
    config.search.arch_weight_decay = 0.0
    config.search.batch_size = 256
    return config


def on_nasbench201(config: ConfigDict) -> ConfigDict:
    """The NAS-Bench-201 space: C=16, five cells a stage."""
    config.supernet.space = "nasbench201"
    config.supernet.num_cells = 5
    return config


def on_digits(config: ConfigDict) -> ConfigDict:
    """Scikit-learn's 8×8 digits and a supernet of their size.

    Few and small images want few and small cells, a batch that leaves enough steps
    for alpha to move, and its learning rate raised by as much as there are fewer
    steps than on CIFAR-10.
    """
    config.data.name = "digits"
    config.data.pad = 1
    config.data.flip = False  # a mirrored digit is another sign
    small = config.supernet.space == "nasbench201"
    config.supernet.channels = 8
    config.supernet.num_cells = 1 if small else 4
    config.search.epochs = 30
    config.search.batch_size = 64
    config.search.arch_learning_rate = 3e-3
    return config


def smoke(config: ConfigDict) -> ConfigDict:
    """Every part for a few steps: ends within a minute on two cores."""
    config.data.max_examples = 160
    config.supernet.channels = 4
    config.supernet.num_cells = 1 if config.supernet.space == "nasbench201" else 3
    config.search.epochs = 2
    config.search.batch_size = 32
    config.search.steps_per_dispatch = 2
    if config.method.get("order") == 2:
        # Tracing a gradient through a gradient takes most of the minute; the banded
        # form has fewer operations to trace.
        config.data.max_examples = 64
        config.search.batch_size = 16
        config.supernet.depthwise = "banded"
    return config


def nasbench201_proxy(config: ConfigDict) -> ConfigDict:
    """The NAS-Bench-201 search sized for two cores: a proxy, not the paper's setting.

    20,000 images of CIFAR-10, one narrow cell a stage instead of five, fifteen epochs.
    At batch 64 that is about half as many alpha steps (2,355) as the full variant
    has (4,900), at twice its learning rate.
    """
    config.data.max_examples = 20_000
    config.supernet.channels = 8
    config.supernet.num_cells = 1
    config.search.batch_size = 64
    config.search.epochs = 15
    config.search.arch_learning_rate = 6e-4
    return config


def variant(
    config: ConfigDict,
    name: str | None,
    **others: Callable[[ConfigDict], ConfigDict],
) -> ConfigDict:
    """The configuration's variant of a name.

    Args:
      config: the full variant.
      name: what stood behind the colon; None for the full variant.
      **others: variants beside ``smoke``, as functions of the full one.

    Raises:
      InputError: no variant of this name.
    """
    if not name:
        return config
    known = {"smoke": smoke, **others}
    if name not in known:
        raise InputError(f"variant {name!r} is not one of {', '.join(sorted(known))}")
    return known[name](config)
