"""Every configuration file: the papers' numbers, and no field without a use."""

import hashlib
import inspect
import pathlib
import shlex
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from experiments.configs import base, catalogue
from experiments.launch import build
from nasjax import methods
from nasjax.architecture import Drop, Path
from nasjax.base import InputError
from nasjax.data.batches import Batch
from nasjax.layers import Context
from nasjax.search import epoch

ROOT = pathlib.Path(__file__).parents[1]
EVERY = sorted(e.name for e in catalogue.entries().values() if e.command == "search")
#: Those that papers have, or that are small; the rest are of the same three tables.
NAMES = [
    name
    for name in EVERY
    if name.endswith(("_cifar10", "_digits"))
    or name in ("stc_nas_darts_cifar100", "stc_nas_darts_imagenet")
]


def parts(name: str) -> tuple[str, str, str]:
    """METHOD_SPACE_DATA; a method's name may have underscores itself."""
    method, space, data = name.rsplit("_", 2)
    return method, space, data


def load(name: str, variant: str | None = None) -> ConfigDict:
    return catalogue.load(f"{name}:{variant}" if variant else name)


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def of(name: str, variant: str | None = None) -> dict[str, Any]:
    return flat(load(name, variant).to_dict())


def test_there_are_configurations():
    methods_named = {"darts2nd", *methods.METHODS}
    assert {parts(name)[0] for name in NAMES} == methods_named
    every = {
        f"{method}_{space}_{data}"
        for method in methods_named
        for space in ("darts", "nasbench201")
        for data in ("cifar10", "digits")
    }
    assert set(NAMES) >= every


# --- the names -------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_is_told_of_a_configuration_has_its_command(name: str):
    text = catalogue.entries()[name].about
    commands = [
        shlex.split(paragraph)
        for paragraph in text.replace("\\\n", " ").split("\n")
        if "python -m" in paragraph
    ]
    command = ["python", "-m", "experiments.search"]
    own = f"--config={name}"
    assert any(c[:3] == command and own in c[3:] for c in commands), commands


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_what_is_searched(name: str):
    method, space, data = parts(name)
    found = of(name)
    order = {"darts": 1, "darts2nd": 2}.get(method)
    assert found["method.name"] == ("darts" if order else method)
    assert found.get("method.order") == order
    assert found["supernet.space"] == space
    assert found["data.name"] == {"imagenet": "imagenet2012"}.get(data, data)


@pytest.mark.parametrize("name", sorted({*EVERY} - {*NAMES}))
def test_a_name_without_an_entry_is_its_three_parts(name: str):
    method, space, data = parts(name)
    other, found = of(f"{method}_{space}_cifar10", "smoke"), of(name, "smoke")
    assert set(other) == set(found)
    changed = {field for field in found if found[field] != other[field]}
    assert "data.name" in changed
    assert data == "imagenet" or changed == {"data.name"}


@pytest.mark.parametrize("variant", [None, "smoke"])
@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_is_valid_and_lockable(name: str, variant: str | None):
    config = load(name, variant)
    config.lock()
    with pytest.raises(AttributeError, match="does not exist"):
        config.search.epoch = 1
    with pytest.raises(TypeError):
        config.search.epochs = "many"
    build.check(config.to_dict())
    method = build.method(config.to_dict())
    size = 32 if config.supernet.stem == "imagenet" else 8
    shape = (size, size, 1)
    net = build.net(config.to_dict(), method, image_shape=shape, num_classes=10)
    assert net.space.name == parts(name)[1]


@pytest.mark.parametrize("name", NAMES)
def test_smoke_differs_in_size_alone(name: str):
    full, smoke = of(name), of(name, "smoke")
    assert set(full) == set(smoke)
    changed = {field for field in full if full[field] != smoke[field]}
    assert changed <= {
        "data.max_examples",
        "supernet.channels",
        "supernet.num_cells",
        "supernet.depthwise",  # how, not what; quicker to trace in second order
        "search.epochs",
        "search.batch_size",
        "search.steps_per_dispatch",
        # What begins after some epochs or takes many rounds.
        "method.warmup",
        "method.window",
        "method.arch_start",
        "method.candidates",
        "method.batches",
        "method.finalists",
        *(("data.image_size", "data.class_fraction") if "imagenet" in name else ()),
    }
    assert smoke["data.max_examples"] <= 200
    assert smoke["search.epochs"] <= 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["Smoke", "big", "smoke,", "None"])
def test_an_unknown_variant_is_refused(name: str, variant: str):
    with pytest.raises(InputError, match=f"variant '{variant}' is not one of .*smoke"):
        load(name, variant)


def test_every_variant_of_the_message_loads():
    for name in NAMES:
        with pytest.raises(InputError) as raised:
            load(name, "no such")
        _, _, listed = str(raised.value).partition("is not one of ")
        for variant in listed.split(", "):
            assert set(of(name, variant)) == set(of(name))


# --- the papers' numbers ---------------------------------------------------------

#: DARTS on CIFAR: what every search here shares.
COMMON = {
    "seed": 0,
    "data.train_fraction": 0.5,
    "data.max_examples": None,
    "data.pad": 4,
    "data.flip": True,
    "data.cutout": 0,
    "supernet.channels": 16,
    "supernet.residual_affine": False,
    "search.epochs": 50,
    "search.learning_rate": 0.025,
    "search.learning_rate_end": 0.001,
    "search.momentum": 0.9,
    "search.nesterov": False,
    "search.weight_decay": 3e-4,
    "search.clip_norm": 5.0,
    "search.arch_learning_rate": 3e-4,
    "search.arch_b1": 0.5,
    "search.arch_b2": 0.999,
}
DARTS = {
    "method.alpha_scale": 1e-3,
    "search.batch_size": 64,
    "search.arch_weight_decay": 1e-3,
}
TEACHERS = {
    "method.strength": "constant(1)",
    "method.window": 2,
    "method.warmup": 25,
    "method.teacher": "outputs",
    "method.metric": "kl",
    "method.voting": "mean",
    "method.ring_dtype": "float32",
}
STC_NAS = {
    "method.noise_range": "linear(0.3, 0)",
    "method.js_strength": "linear(0, 2)",
    "search.batch_size": 256,
    "search.arch_weight_decay": 0.0,
}
MSG_DAS = {
    "method.k": 2,
    "method.temperature": "linear(10, 1)",
    "method.alpha_start": 0.0,
    "search.epochs": 240,
    "search.batch_size": 128,
    "search.arch_weight_decay": 1e-4,
}
METHODS = {
    "darts": DARTS,
    "darts2nd": DARTS,
    "stc_nas": {
        **STC_NAS,
        "method.alpha_start": 0.3,
        "method.activation": "relu",
        "method.cell_consistency": True,
    },
    "sd_darts": DARTS | TEACHERS,
    "msg_das": {
        **MSG_DAS,
        "method.guidance": "linear(0, 0.01)",
        "method.drop_rate": "steps(0, 0.2, 4)",
        "method.block_size": 3,
        "method.drop_rescale": False,
        "method.replacement": False,
        "method.aggregate": False,
        "method.distillation": "guidance",
    },
    "gdas": {
        **DARTS,
        "method.temperature": "linear(10, 0.1)",
        "search.epochs": 250,
    },
    "snas": {**DARTS, "method.temperature": "linear(1, 0.03)", "search.epochs": 150},
    "pc_darts": {
        "method.channel_divisor": 4,
        "method.arch_start": 15,
        "method.alpha_scale": 1e-3,
        "search.batch_size": 256,
        "search.learning_rate": 0.1,
        "search.learning_rate_end": 0.0,
        "search.arch_learning_rate": 6e-4,
        "search.arch_weight_decay": 1e-3,
    },
    "random": {"method.candidates": 1000, "method.finalists": 10},
    "a2m": DARTS,
    "beta_darts": DARTS,
    "drnas": DARTS,
    "dsnas": {"search.arch_learning_rate": 1e-3, "search.arch_weight_decay": 0.0},
    "fair_darts": {
        "method.strength": "constant(10)",
        "search.batch_size": 128,
        "search.learning_rate": 0.005,
        "search.arch_learning_rate": 3e-3,
        "search.arch_b1": 0.9,
    },
    "idarts": {**DARTS, "method.terms": 2},
    "nasp": {"method.alpha_start": 0.5, "search.arch_weight_decay": 1e-3},
    "sdarts_adv": {**DARTS, "method.steps": 7, "method.epsilon": "linear(0.03, 0.3)"},
    "sdarts_rs": {**DARTS, "method.epsilon": "linear(0.03, 0.3)"},
    "stc_nas_sd": STC_NAS | TEACHERS,
    "gumbel_js": {**MSG_DAS, "method.js_strength": "linear(0, 2)"},
}
#: The baselines of NAS-Bench-201, by its own code.
BENCHMARK = {
    "search.batch_size": 64,
    "search.learning_rate": 0.025,
    "search.learning_rate_end": 0.001,
    "search.nesterov": True,
    "search.weight_decay": 5e-4,
    "search.arch_learning_rate": 3e-4,
    "search.arch_weight_decay": 1e-3,
}
EPOCHS = {
    "darts": 50,
    "darts2nd": 50,
    "sd_darts": 50,
    "gdas": 250,
    "random": 250,
    "snas": 150,
    "pc_darts": 50,
    "idarts": 30,
}
#: What others have there otherwise than in the DARTS space.
THERE = {
    "a2m": {"method.rho": 0.01},
    "beta_darts": {"search.epochs": 100, "method.strength": "linear(0, 50)"},
    "drnas": {"search.epochs": 100},
    "idarts": {"search.learning_rate": 0.01},
    "sdarts_adv": {"search.epochs": 100},
    "sdarts_rs": {"search.epochs": 100},
}
CELLS = {"darts": 8, "nasbench201": 5}
#: What images of 8x8 pixels and a few hundred examples have of their own.
DIGITS = {
    "data.pad",
    "data.flip",
    "supernet.channels",
    "supernet.num_cells",
    "search.epochs",
    "search.batch_size",
    "search.arch_learning_rate",
    "method.warmup",
    "method.arch_start",
}


#: STC-NAS, section 4.3.
IMAGENET = {
    "data.class_fraction": 0.1,
    "data.image_size": 224,
    "data.pad": 28,
    "supernet.channels": 48,
    "supernet.num_cells": 14,
    "search.batch_size": 1024,
    "search.learning_rate": 0.5,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_full_variants_have_the_papers_numbers(name: str):
    method, space, data = parts(name)
    expected = COMMON | METHODS.get(method, {}) | {"supernet.num_cells": CELLS[space]}
    if method == "gdas":
        expected["method.unchosen_gradient"] = space == "nasbench201"
    if space == "nasbench201" and method in EPOCHS:
        expected |= BENCHMARK | {"search.epochs": EPOCHS[method]}
    if space == "nasbench201":
        expected |= THERE.get(method, {})
    if data == "digits":
        expected = {k: v for k, v in expected.items() if k not in DIGITS}
    if data == "imagenet":
        expected |= IMAGENET
    found = of(name)
    assert {field: found[field] for field in expected} == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_of_a_method_is_a_field(name: str):
    block = load(name).method.to_dict()
    make = methods.METHODS[block.pop("name")]
    assert set(block) == set(inspect.signature(make).parameters)


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_a_methods_own_defaults_are_the_configurations(method: str):
    config = load(f"{method}_darts_cifar10").to_dict()
    make = methods.METHODS[config["method"]["name"]]
    assert described(make()) == described(build.method(config))


# --- every field has a use -------------------------------------------------------


def described(method: methods.Method) -> Any:
    """What a method does, as values."""
    space = method.adapt(build.spaces.SPACES["nasbench201"]())
    alpha = dict(method.init(jax.random.key(0), space))
    moved = {
        name: a + jnp.linspace(-1.0, 2.0, a.size).reshape(a.shape)
        for name, a in alpha.items()
    }
    return (
        method.name,
        method.order,
        method.inner_clip,
        method.arch_start,
        method.subgraphs,
        method.candidates,
        space.channel_divisor,
        jax.tree.map(lambda a: a.tolist(), alpha),
        jax.tree.map(lambda a: a.tolist(), dict(method.strengths(moved, space))),
        dropped(space),
        edges_run(method),
        drawn(method),
        pulled(method),
        method.lead is not None,
        taught(method),
        lost(method),
        trained_at(method),
        followed(method),
        method.derive(space, moved).to_json(),
        {
            name: [float(schedule(jnp.float32(at))) for at in (0, 0.25, 1)]
            for name, schedule in method.schedules.items()
        },
    )


def edges_run(method: methods.Method) -> list[tuple[int, bool]]:
    """Edges that a sampled cell of the DARTS space runs, and whether they have offsets.

    None of a mixture's.
    """
    space = method.adapt(build.spaces.SPACES["darts"]())
    alpha = method.init(jax.random.key(0), space)
    key, at = jax.random.key(1), jnp.float32(0.5)
    cells = method.relax(key, alpha, at, space).values()
    return [
        (int(cell.active.sum()), cell.offset is not None)
        for cell in cells
        if isinstance(cell, Path)
    ]


def drawn(method: methods.Method) -> Any:
    """What a cell of the DARTS space runs, its noise left out."""
    space = method.adapt(build.spaces.SPACES["darts"]())
    alpha = method.init(jax.random.key(0), space)
    cells = method.relax(jax.random.key(1), alpha, jnp.float32(0.5), space)
    plain = {name: cell._replace(drop=None) for name, cell in cells.items()}
    return jax.tree.map(lambda leaf: leaf.tolist(), plain)


def pulled(method: methods.Method) -> Any:
    """Where one step of plain gradient descent on its own loss leads alpha."""
    space = method.adapt(build.spaces.SPACES["nasbench201"]())
    at, found = jnp.float32(0.25), []
    for seed in range(8):
        alpha = {
            name: a + jax.random.uniform(jax.random.key(seed), a.shape, a.dtype)
            for name, a in method.init(jax.random.key(0), space).items()
        }
        runs = method.relax(jax.random.key(seed), alpha, at, space)
        if not all(isinstance(cell, Path) for cell in runs.values()):
            return None
        if method.subgraphs is not None:
            runs = jax.tree.map(lambda leaf: leaf[0], runs)

        def loss(alpha: Any, runs: Any = runs) -> Any:
            return method.arch_loss(
                methods.Terms(
                    space=space,
                    alpha=alpha,
                    architecture=runs,
                    logits=jnp.zeros((2, 3)),
                    batch=None,
                    memory=(),
                    progress=at,
                    epoch=jnp.int32(0),
                    forward=None,
                    mean=jnp.mean,
                )
            )

        slope = jax.grad(loss)(alpha)
        moved = jax.tree.map(lambda a, g: a - g, alpha, slope)
        after = method.project(moved, runs, at, space)
        plain = {name: cell._replace(drop=None) for name, cell in runs.items()}
        found.append(jax.tree.map(lambda a: a.tolist(), (plain, after)))
    return found


def lost(method: methods.Method) -> float | None:
    """Alpha's own loss of a mixture."""
    space = method.adapt(build.spaces.SPACES["nasbench201"]())
    alpha = jax.tree.map(lambda a: a + 0.5, method.init(jax.random.key(0), space))
    runs = method.relax(jax.random.key(1), alpha, jnp.float32(0.5), space)
    if any(isinstance(cell, Path) for cell in runs.values()):
        return None
    terms = methods.Terms(
        space=space,
        alpha=alpha,
        architecture=runs,
        logits=jnp.zeros((2, 3)),
        batch=None,
        memory=(),
        progress=jnp.float32(0.5),
        epoch=jnp.int32(0),
        forward=None,
        mean=jnp.mean,
    )
    return float(method.arch_loss(terms))


def trained_at(method: methods.Method) -> Any:
    """What the weights' pass runs, where it is something else."""
    space = method.adapt(build.spaces.SPACES["nasbench201"]())
    alpha = method.init(jax.random.key(0), space)
    args = jax.random.key(1), alpha, jnp.float32(0.5), space
    runs = method.relax(*args)
    if method.weight_relax is not None:
        runs = method.weight_relax(*args)
    if method.attack is not None:

        def loss(runs: Any) -> Any:
            weights = runs["cell"].weights.ravel()
            return (weights**2 * jnp.arange(float(weights.size))).sum()

        runs = method.attack(jax.random.key(2), loss, runs, jnp.float32(0.5))
    elif method.weight_relax is None:
        return None
    return jax.tree.map(lambda leaf: leaf.tolist(), runs)


def followed(method: methods.Method) -> list[float] | None:
    """The gradient of alpha that a method takes of two losses."""
    if method.arch_gradient is None:
        return None

    def loss(weights: Any, alpha: Any) -> Any:
        return (weights * alpha**2).sum() + (weights**2).sum()

    found = method.arch_gradient(
        loss,
        loss,
        jnp.arange(3.0),
        jnp.ones(3),
        inner_step=lambda w, g: w - g,
        average=lambda g: g,
    )
    return found[1].tolist()


def dropped(space: Any) -> list[float]:
    """What the space's skip-connect leaves of ones when told to drop."""
    skip = next(op for op in space.operations if op.name == "skip_connect")
    context = Context(drop=Drop(jax.random.key(0), jnp.float32(0.3)))
    return skip.apply({}, jnp.ones((2, 6, 6, 2)), 1, context).ravel().tolist()


def taught(method: methods.Method) -> list[float]:
    """Memory and its loss over four epochs of one batch, where a method has one."""
    memory = method.init_memory(4, 3)
    if not jax.tree.leaves(memory):
        return []
    rows = jnp.arange(4, dtype=jnp.int32)
    batch = Batch(jnp.zeros((4, 1, 1, 1)), rows, rows, rows, jnp.ones(4))
    found = []
    for epoch_number in range(4):
        logits = jax.random.normal(jax.random.key(epoch_number), (4, 3))
        moment = jnp.int32(epoch_number)
        terms = methods.Terms(
            space=None,
            alpha={},
            architecture={},
            logits=logits,
            batch=batch,
            memory=memory,
            progress=jnp.float32(epoch_number / 4),
            epoch=moment,
            forward=lambda architecture: logits,  # noqa: B023
            mean=jnp.mean,
        )
        found.append(float(method.weight_loss(terms)))
        memory = method.remember(memory, batch, jax.nn.softmax(logits), moment)
    return [*found, str(jax.tree.map(lambda a: (a.shape, a.dtype), memory))]


def updates(config: dict[str, Any], data: Any) -> list[float]:
    """What both optimizers make of one gradient in steps of two epochs."""
    per_epoch = epoch.steps_per_epoch(data)
    found = []
    params = {"w": jnp.full(4, 3.0)}
    with jax.numpy_dtype_promotion("standard"):  # Adam of optax promotes an integer
        both = build.both_optimizers(config)
        for optimizer in both.over(
            steps_per_epoch=per_epoch, epochs=config["search"]["epochs"]
        ):
            state = optimizer.init(params)
            for step in range(2 * per_epoch):
                gradient = {"w": jnp.full(4, 1.0 + step)}
                update, state = optimizer.update(gradient, state, params)
                found.append(float(update["w"][0]))
    return found


def built(config: dict[str, Any]) -> Any:
    """Everything a launch builds from a configuration, or its complaint."""
    try:
        build.check(config)
        method = build.method(config)
        data, num_classes = build.data(config)
        net = build.net(
            config,
            method,
            image_shape=data.train.images.shape[2:],
            num_classes=num_classes,
        )
    except InputError as error:
        return str(error)
    return (
        described(method),
        [
            hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
            for leaf in jax.tree.leaves(data)
        ],
        data.train.images.shape,
        num_classes,
        net.space.name,
        net.settings,
        build.augmentation(config),
        updates(config, data),
    )


#: Field: (what has to hold beside it, another value). {tmp} is a folder with data.
USES: dict[str, tuple[dict[str, Any], Any]] = {
    "seed": ({}, 1),
    "data.name": ({"data.data_dir": "{tmp}/a"}, "cifar10"),
    "data.data_dir": ({"data.name": "cifar10", "data.data_dir": "{tmp}/a"}, "{tmp}/b"),
    "data.path": (
        {
            "data.name": "npz",
            "data.path": "{tmp}/a.npz",
            "search.batch_size": 8,
        },
        "{tmp}/b.npz",
    ),
    "data.image_size": (
        {
            "data.name": "folder",
            "data.path": "{tmp}/images",
            "data.image_size": 8,
            "search.batch_size": 4,
        },
        16,
    ),
    "data.max_examples": ({}, 80),
    "data.train_fraction": ({}, 0.25),
    "data.class_fraction": ({}, 0.25),
    "data.pad": ({}, 2),
    "data.flip": ({}, True),
    "data.cutout": ({}, 2),
    "supernet.space": ({}, "darts"),
    "supernet.channels": ({}, 6),
    "supernet.num_cells": ({}, 2),
    "supernet.dtype": ({}, "bfloat16"),
    "supernet.depthwise": ({}, "grouped"),
    "supernet.engine": ({}, "batched"),
    "supernet.stem": ({}, "imagenet"),
    "supernet.synchronised": ({}, False),
    "supernet.residual_affine": ({}, True),
    "method.name": ({}, "stc_nas"),
    "method.noise_range": ({}, "linear(0.3, 0.1)"),
    "method.js_strength": ({}, "cosine(1, 2)"),
    "method.strength": ({}, "constant(0.5)"),
    "method.window": ({}, 2),
    "method.warmup": ({}, 3),
    "method.teacher": ({}, "weights"),
    "method.metric": ({}, "cosine"),
    "method.voting": ({}, "ema"),
    "method.decay": ({"method.voting": "ema"}, 0.9),
    "method.ring_dtype": ({}, "bfloat16"),
    "method.k": ({}, 3),
    "method.temperature": ({}, "exponential(10, 0.1)"),
    "method.guidance": ({}, "linear(0, 1)"),
    "method.drop_rate": ({}, "constant(0.2)"),
    "method.block_size": ({}, 2),
    "method.drop_rescale": ({}, True),
    "method.replacement": ({}, True),
    "method.aggregate": ({}, True),
    "method.distillation": ({}, "in_place"),
    "method.channel_divisor": ({}, 2),
    "method.arch_start": ({}, 0),
    "method.candidates": ({}, 5),
    "method.batches": ({}, 2),
    "method.finalists": ({}, 1),
    "method.alpha_start": ({}, 0.5),
    "method.cell_consistency": ({}, False),
    "method.activation": ({}, "sigmoid"),
    "method.keep_none": ({}, True),
    "method.noise": ({}, "symmetric"),
    "method.js_gradient": ({}, "all"),
    "method.js_scope": ({}, "cell"),
    "method.js_step": ({}, "decoupled"),
    "method.js_rate": ({"method.js_step": "decoupled"}, 1e-3),
    "method.project": ({}, "never"),
    "method.order": ({}, 1),
    "method.rho": ({}, 0.3),
    "method.terms": ({}, 5),
    "method.learning_rate": ({}, 0.2),
    "method.steps": ({}, 2),
    "method.epsilon": ({}, "constant(0.2)"),
    "method.alpha_mean": ({}, 0.5),
    "method.kind": ({}, "l1"),
    "method.threshold": ({}, 0.9),
    "method.unchosen_gradient": ({"method.unchosen_gradient": False}, True),
    "method.fixed_reduction": ({}, True),
    "method.alpha_scale": ({}, 1e-2),
    "method.inner_clip": ({}, False),
    "search.epochs": ({}, 3),
    "search.batch_size": ({}, 8),
    "search.learning_rate": ({}, 0.1),
    "search.learning_rate_end": ({}, 0.01),
    "search.momentum": ({}, 0.5),
    "search.nesterov": ({"search.nesterov": False}, True),
    "search.weight_decay": ({}, 0.1),
    "search.clip_norm": ({}, 1.0),
    "search.arch_learning_rate": ({}, 0.1),
    "search.arch_b1": ({}, 0.9),
    "search.arch_b2": ({}, 0.9),
    "search.arch_weight_decay": ({}, 0.5),
}


def another(default: Any) -> Any:
    """Another value of an argument of a method."""
    if isinstance(default, bool):
        return not default
    return default + 1 if isinstance(default, int | float) else "constant(0.125)"


#: Of a method that is not above, every argument but a choice of words.
for _name, _make in methods.METHODS.items():
    for _field, _default in base.method_block(_name, _make).items():
        if not isinstance(_default, str) or "(" in _default:
            USES.setdefault(f"method.{_field}", ({}, another(_default)))
#: Fields of the loop alone; the tests of the loop and of the launches have them.
OF_THE_LOOP = {"search.evaluate_every", "search.steps_per_dispatch"}
#: Fields of the launch; the tests of several seeds have them.
OF_SEEDS = {"search.num_seeds", "search.seeds_mapped"}
#: Measures in the course of a search; the tests of the probes have them.
OF_ANALYSIS = {f"analysis.{name}" for name in base.FIELDS["analysis"]}
#: Their use shows in what is complained of: no data there, another method's fields,
#: ImageNet's fields of other data and another space, a reduction cell where none is.
COMPLAINTS = {
    "data.name",
    "data.data_dir",
    "data.class_fraction",
    "method.name",
    "method.fixed_reduction",
    "supernet.stem",
}
#: The quickest of each method.
SMALL = [name for name in NAMES if name.endswith("_nasbench201_digits")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        images = rng.integers(0, 256, (20, 8, 8)).astype(np.uint8)
        np.savez(folder / f"{name}.npz", images=images, labels=np.arange(20) % 2)
    for label in ("cat", "dog"):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"images/{label}/{number}.png")
    return folder


def with_fields(
    config: dict[str, Any], fields: dict[str, Any], folder: pathlib.Path
) -> dict[str, Any]:
    for field, value in fields.items():
        node = config
        *blocks, last = field.split(".")
        for block in blocks:
            node = node[block]
        node[last] = value.format(tmp=folder) if isinstance(value, str) else value
    return config


def test_every_field_is_looked_at():
    fields = {field for name in NAMES for field in of(name)}
    assert fields == set(USES) | OF_THE_LOOP | OF_SEEDS | OF_ANALYSIS


@pytest.mark.parametrize("field", USES)
def test_a_field_changes_what_is_built(folder, field: str):
    beside, value = USES[field]
    name = next(name for name in SMALL if field in of(name))

    def make(**fields: Any) -> Any:
        return built(with_fields(load(name, "smoke").to_dict(), fields, folder))

    before, after = make(**beside), make(**beside | {field: value})
    assert before == make(**beside)
    assert before != after
    if field not in COMPLAINTS:
        assert not isinstance(before, str), before
        assert not isinstance(after, str), after
