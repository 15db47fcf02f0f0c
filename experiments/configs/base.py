"""The fields of every configuration and the papers' common defaults.

A configuration determines the run. Its blocks are unpacked as keyword arguments, so
each field is documented where the library's function takes it.
"""

from collections.abc import Callable

from ml_collections import ConfigDict, config_dict

from nasjax.base import InputError

#: Epochs between two measures, and always after the last; 0 for never.
_ANALYSIS = {
    "decidedness": 1,  # entropy and margins of the edges
    "teachers": 1,  # agreement of SD-DARTS's teachers
    "eigenvalue": 0,  # of the Hessian of the validation loss in alpha
    "sharpness": 0,  # of that loss in a ball around alpha and w, and its drop in a step
    "discretization": 0,  # accuracy lost by deriving
    "draws": 0,  # mean accuracy of what is sampled, beside the most probable path's
    "ranking": 0,  # Kendall's tau, where a table can be looked up
    "eigenvalue_batches": 4,  # of the validation half
    "sharpness_batches": 4,  # likewise
    "sharpness_radius": 0.05,
    "sharpness_steps": 1,  # of ascent in the ball; 1 is SAM's
    "sharpness_learning_rate": 0.025,  # of the step
    "draws_number": 10,
    "ranking_batches": 0,  # of the validation half; 0 for all of it
    "ranking_architectures": 50,
}


def default() -> ConfigDict:
    """DARTS's settings on CIFAR-10, without a method (spec section 2)."""
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "cifar10",  # digits, cifar100, imagenet2012, npz, folder
                "data_dir": config_dict.placeholder(str),  # of TFDS's data sets
                "path": config_dict.placeholder(str),  # of npz and folder
                "image_size": config_dict.placeholder(int),  # in pixels, of folder too
                "max_examples": config_dict.placeholder(int),  # of a split; all
                "train_fraction": 0.5,  # where there is no valid; not of imagenet2012:
                "class_fraction": config_dict.placeholder(float),  # in either half
                "pad": 4,  # pixels around the image before the random crop
                "flip": True,
                "cutout": 0,  # side in pixels; off in search
            },
            "supernet": {
                "space": "darts",  # darts, nasbench201
                "channels": 16,
                "num_cells": 8,  # a stage, in nasbench201
                "stem": "cifar",  # or imagenet, 224 pixels to 28
                "dtype": "float32",  # of the activations; or bfloat16
                "depthwise": "auto",  # auto, banded, grouped, shift
                "synchronised": True,  # batch norm over all devices, or of each
                "residual_affine": False,  # batch norm between stages of nasbench201
            },
            "method": {"name": "darts"},
            "search": {
                "epochs": 50,
                "batch_size": 64,
                "learning_rate": 0.025,
                "learning_rate_end": 0.001,
                "momentum": 0.9,
                "nesterov": False,
                "weight_decay": 3e-4,
                "clip_norm": 5.0,
                "arch_learning_rate": 3e-4,
                "arch_b1": 0.5,
                "arch_b2": 0.999,
                "arch_weight_decay": 1e-3,
                "evaluate_every": 1,  # epochs
                "steps_per_dispatch": 20,
                "num_seeds": 1,  # searched in one program: seed, seed + 1, …
                "seeds_mapped": "auto",  # as vmap, one batch, or map, in turns
            },
            "analysis": dict(_ANALYSIS),
        }
    )


def darts(order: int) -> ConfigDict:
    """DARTS of first or second order."""
    config = default()
    config.method = ConfigDict(
        {
            "name": "darts",
            "order": order,
            "alpha_scale": 1e-3,
            "inner_clip": True,  # of order 2: the weights' own step clips its gradient
        }
    )
    return config


def stc_nas() -> ConfigDict:
    """STC-NAS's search (spec section 5)."""
    config = default()
    config.method = ConfigDict(
        {
            "name": "stc_nas",
            "noise_range": "linear(0.3, 0)",  # schedules go from start to end
            "js_strength": "linear(0, 2)",
            "alpha_start": 0.3,
            "arch_start": 0,  # epochs before, of the weights alone
            "activation": "relu",  # relu, softmax, sigmoid
            "cell_consistency": True,  # else every edge runs, not the derived ones
            "keep_none": False,  # a candidate in nasbench201
            "noise": "one_sided",  # in [0, range), or symmetric
            "js_gradient": "sampled",  # moves the sampled entries, or all
            "js_scope": "edge",  # alpha is normalised over it; or node, cell
            "js_step": "loss",  # before Adam; or decoupled, after it, with its rate
            "js_rate": 3e-4,
            "project": "auto",  # to [0, 1], with relu alone; or always, never
        }
    )
    config.search.arch_weight_decay = 0.0
    config.search.batch_size = 256
    return config


#: Fields of the voting teachers.
_TEACHERS = {
    "strength": "constant(1)",
    "window": 2,  # epochs that vote
    "warmup": 25,  # epochs before
    "teacher": "outputs",  # stored; or weights, kept and run again
    "metric": "kl",  # or euclidean, manhattan, cosine: of both outputs
    "voting": "mean",  # or ema, with its decay
    "decay": 0.5,
    "ring_dtype": "float32",  # or bfloat16
}


def sd_darts() -> ConfigDict:
    """SD-DARTS's search (spec section 3)."""
    config = default()
    config.method = ConfigDict({"name": "sd_darts", **_TEACHERS, "alpha_scale": 1e-3})
    return config


def msg_das() -> ConfigDict:
    """MSG-DAS's search (spec section 4)."""
    config = default()
    config.method = ConfigDict(
        {
            "name": "msg_das",
            "k": 2,
            "replacement": False,  # draw each sub-graph from all operations
            "aggregate": False,  # run them as one graph
            "temperature": "linear(10, 1)",
            "guidance": "linear(0, 0.01)",
            "distillation": "guidance",  # or in_place, whose guidance is constant(1)
            "drop_rate": "steps(0, 0.2, 4)",
            "block_size": 3,
            "drop_rescale": False,  # scale what is kept up, as DropBlock's paper does
            "alpha_start": 0.0,
        }
    )
    config.search.arch_weight_decay = 1e-4
    config.search.batch_size = 128
    config.search.epochs = 240
    return config


def gdas() -> ConfigDict:
    """GDAS's search: DARTS's settings for 250 epochs."""
    config = default()
    config.method = ConfigDict(
        {
            "name": "gdas",
            "temperature": "linear(10, 0.1)",
            "alpha_scale": 1e-3,
            "unchosen_gradient": False,  # alpha's, through operations not run
            "fixed_reduction": False,  # GDAS (FRC): the reduction cell is given
        }
    )
    config.search.epochs = 250
    return config


def snas() -> ConfigDict:
    """SNAS's search: DARTS's settings for its paper's 150 epochs."""
    config = default()
    config.method = ConfigDict(
        {"name": "snas", "temperature": "linear(1, 0.03)", "alpha_scale": 1e-3}
    )
    config.search.epochs = 150
    return config


def pc_darts() -> ConfigDict:
    """PC-DARTS's search: batch 256, four times DARTS's learning rate."""
    config = default()
    config.method = ConfigDict(
        {
            "name": "pc_darts",
            "channel_divisor": 4,
            "arch_start": 15,
            "alpha_scale": 1e-3,
        }
    )
    config.search.batch_size = 256
    config.search.learning_rate = 0.1
    config.search.learning_rate_end = 0.0
    config.search.arch_learning_rate = 6e-4
    return config


def random_sampling() -> ConfigDict:
    """Random search with weight sharing, at DARTS's settings."""
    config = default()
    config.method = ConfigDict(
        {"name": "random", "candidates": 1000, "batches": 10, "finalists": 10}
    )
    return config


def stc_nas_sd() -> ConfigDict:
    """STC-NAS's sampling with SD-DARTS's teachers: no paper's."""
    config = stc_nas()
    config.method = ConfigDict(
        {
            "name": "stc_nas_sd",
            "noise_range": "linear(0.3, 0)",
            "js_strength": "linear(0, 2)",
            **_TEACHERS,
        }
    )
    return config


def gumbel_js() -> ConfigDict:
    """MSG-DAS's sampler with STC-NAS's JS loss: no paper's."""
    config = msg_das()
    config.method = ConfigDict(
        {
            "name": "gumbel_js",
            "k": 2,
            "temperature": "linear(10, 1)",
            "js_strength": "linear(0, 2)",
            "alpha_start": 0.0,
        }
    )
    return config


#: Epochs of the baselines in NAS-Bench-201. Those of DARTS, GDAS and random search are
#: the benchmark's (Dong and Yang, arXiv 2001.00326); SD-DARTS's paper searches there as
#: DARTS does; SNAS and PC-DARTS have their papers' of another space (assumptions).
_BASELINE_EPOCHS = {
    "darts": 50,
    "sd_darts": 50,
    "gdas": 250,
    "random": 250,
    "snas": 150,
    "pc_darts": 50,
}
#: How the benchmark trains its baselines: ``configs/nas-benchmark/algos`` of its code.
_BASELINE_SEARCH = {
    "batch_size": 64,
    "learning_rate": 0.025,
    "learning_rate_end": 0.001,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "clip_norm": 5.0,
    "arch_learning_rate": 3e-4,
    "arch_b1": 0.5,
    "arch_b2": 0.999,
    "arch_weight_decay": 1e-3,
}


def on_nasbench201(config: ConfigDict) -> ConfigDict:
    """The NAS-Bench-201 space: C=16, five cells a stage.

    Baselines are searched as the benchmark searches its own, GDAS with the gradient
    of what it did not choose, as in that code; that SNAS and PC-DARTS, which it has
    not, are searched so too is an assumption. The rest keeps the settings it has in
    the DARTS space: STC-NAS, whose paper names 50 epochs and nothing else here (its
    batch of 256 and 12 epochs before alpha moves are assumptions), MSG-DAS, which has
    no figure here, and combinations (assumptions). docs/reproduction.md has a table of
    every number.
    """
    config.supernet.space = "nasbench201"
    config.supernet.num_cells = 5
    name = config.method.name
    if name in _BASELINE_EPOCHS:
        config.search.update({**_BASELINE_SEARCH, "epochs": _BASELINE_EPOCHS[name]})
    if name == "gdas":
        config.method.unchosen_gradient = True
    if name == "stc_nas":
        config.method.arch_start = 12  # without, skip connections win: docs/stc_nas.md
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
    # Of thirty epochs, the share that the papers' settings have of theirs.
    for field in {"warmup", "arch_start"} & set(config.method):
        config.method[field] = {"warmup": 15, "arch_start": 9}[field]
    if config.method.name == "stc_nas" and not small:
        # Where alpha moves slowly here, skip connections win: docs/stc_nas.md.
        config.search.epochs = 40
        config.method.arch_start = 20
        config.search.arch_learning_rate = 1e-2
    return config


def on_imagenet(config: ConfigDict) -> ConfigDict:
    """A tenth of every class of ImageNet for the weights, as much for alpha.

    The network is the target's: 14 cells, C=48 (STC-NAS, section 4.3). The paper
    names neither the batch, here that of its retraining, nor the augmentation, here
    CIFAR's in proportion.
    """
    config.data.name = "imagenet2012"
    config.data.image_size = 224
    config.data.class_fraction = 0.1
    config.data.pad = 28
    config.supernet.stem = "imagenet"
    config.supernet.channels = 48
    config.supernet.num_cells = 14
    config.search.batch_size = 1024
    config.search.learning_rate = 0.5
    return config


def smoke(config: ConfigDict) -> ConfigDict:
    """Every part for a few steps: ends within a minute on two cores."""
    config.data.max_examples = 160
    config.supernet.channels = 4
    config.supernet.num_cells = 1 if config.supernet.space == "nasbench201" else 3
    config.search.epochs = 2
    config.search.batch_size = 32
    config.search.steps_per_dispatch = 2
    if config.supernet.stem == "imagenet":  # small data sets are enough
        config.data.image_size = 32
        config.data.class_fraction = 0.5
    # What begins after some epochs, or takes many rounds, begins and takes few here.
    few = {
        "warmup": 1,
        "window": 1,
        "arch_start": 1,
        "candidates": 4,
        "batches": 1,
        "finalists": 2,
    }
    for field in few.keys() & config.method.keys():
        config.method[field] = few[field]
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
    if config.method.name == "stc_nas":
        config.method.arch_start = 4
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
