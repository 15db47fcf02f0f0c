"""Supernets against the papers' networks in PyTorch, and their parts unrolled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import tree_util

from nasjax import bilevel, methods, spaces, supernet
from nasjax.architecture import Mixture, Path
from nasjax.data.batches import Batch
from nasjax.engine.scan import edge_groups

#: The same numbers, compiled in half the time.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def random_images(seed, batch, size):
    return np.random.default_rng(seed).normal(size=(batch, size, size, 3)) * 0.8


def random_architecture(space, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: Mixture(
            jnp.asarray(rng.dirichlet(np.ones(space.num_ops), space.num_edges), "f4")
        )
        for name in space.cell_types
    }


# --- against PyTorch ------------------------------------------------------------


def affine_pairs(tree, norm):
    yield tree["scale"], norm.weight
    yield tree["offset"], norm.bias


def reduce_pairs(tree, module):
    yield tree["even"][:, :, None, None], module.conv_1.weight
    yield tree["odd"][:, :, None, None], module.conv_2.weight


def operation_pairs(tree, module):
    """An operation's arrays with the convolutions they belong to, in order."""
    if "even" in tree:
        yield from reduce_pairs(tree, module)
        return
    kernels = [m.weight for m in module.modules() if hasattr(m, "kernel_size")]
    names = sorted(tree, key=lambda name: (name[-1:], name))  # depthwise1, pointwise1
    for name, parameter in zip(names, kernels, strict=True):
        array = tree[name]
        if name.startswith("depthwise"):
            array = array[:, None]  # [C, 1, k, k]
        yield array if array.ndim == 4 else array[:, :, None, None], parameter


def edge_pairs(tree, modules, space, reduction):
    for group, weights in zip(
        edge_groups(space, reduction=reduction), tree, strict=True
    ):
        for position, edge in enumerate(group.edges):
            for name, own in weights.items():
                one = tree_util.tree_map(lambda a, at=position: a[at], own)
                yield from operation_pairs(one, modules[edge].ops[name])


def unstack(stage):
    """The trees of the cells of a stage."""
    length = len(jax.tree.leaves(stage)[0])
    return [tree_util.tree_map(lambda a, at=at: a[at], stage) for at in range(length)]


def stems(tree):
    """The stem's convolutions: one, or ImageNet's three."""
    return [tree["stem"]] if isinstance(tree["stem"], dict) else list(tree["stem"])


def stem_layers(module):
    """Of the torch network: each convolution with its norm."""
    if not hasattr(module, "stem0"):
        return [module.stem[:2]]
    return [module.stem0[:2], module.stem0[3:], module.stem1[1:]]


def pairs(space, tree, module):
    """Every array of a tree of weights with its parameter of the torch network."""
    for own, (convolution, norm) in zip(stems(tree), stem_layers(module), strict=True):
        yield own["kernel"], convolution.weight
        yield from affine_pairs(own, norm)
    yield tree["head"]["kernel"], module.classifier.weight
    yield tree["head"]["bias"], module.classifier.bias
    if space.name == "darts":
        edges = [cell for stage in tree["edges"] for cell in unstack(stage)]
        for before, previous, own, cell, reduction in zip(
            tree["before"],
            tree["previous"],
            edges,
            module.cells,
            module.reductions,
            strict=True,
        ):
            if isinstance(before, dict):
                yield from reduce_pairs(before, cell.preprocess0)
            else:
                yield before[:, :, None, None], cell.preprocess0[1].weight
            yield previous[:, :, None, None], cell.preprocess1[1].weight
            yield from edge_pairs(own, cell.edges, space, reduction)
        return
    yield from affine_pairs(tree["last"], module.last[0])
    for own, cells in zip(tree["stages"], module.stages, strict=True):
        for one, cell in zip(unstack(own), cells, strict=True):
            yield from edge_pairs(one, cell.edges, space, False)
    for own, block in zip(tree["residuals"], module.residuals, strict=True):
        yield own["first"], block.first[1].weight
        yield own["second"], block.second[1].weight
        yield own["shortcut"][:, :, None, None], block.shortcut[1].weight


def torch_network(space, weights, *, channels, num_cells, num_classes, stem="cifar"):
    """The reference network in float64 under our weights, all of them."""
    torch = pytest.importorskip("torch")
    from tests.oracles import torch_search as reference

    if space.name == "darts":
        nodes = space.num_states - space.num_inputs
        module = reference.DartsNetwork(
            channels,
            num_classes,
            num_cells,
            nodes,
            space.primitives,
            imagenet=stem == "imagenet",
        )
    else:
        module = reference.NasBench201Network(channels, num_classes, num_cells)
    module = module.double()
    seen = []
    with torch.no_grad():
        for array, parameter in pairs(space, weights, module):
            assert array.shape == tuple(parameter.shape)
            parameter.copy_(torch.tensor(np.asarray(array)))
            seen.append(id(parameter))
    assert sorted(seen) == sorted(map(id, module.parameters()))
    assert supernet.count(weights) == sum(p.numel() for p in module.parameters())
    return torch, module


def torch_loss(torch, module, alpha, images, labels):
    weights = {name: torch.softmax(a, dim=-1) for name, a in alpha.items()}
    logits = module(torch.tensor(images.transpose(0, 3, 1, 2)), weights)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    return logits, loss


def assert_near(actual, expected, tolerance, what):
    """To a tolerance in units of the largest expected entry."""
    scale = max(float(np.abs(expected).max()), 1e-4)
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * scale, err_msg=what
    )


FEW = ("max_pool_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
#: All operations; then stages of one to three cells, which a loop may run.
REFERENCE = {
    "darts": (spaces.darts(), 3, "cifar"),
    "darts, 9 cells of 2 nodes": (spaces.darts(num_nodes=2).without(*FEW), 9, "cifar"),
    "darts, 6 cells of 3 nodes": (spaces.darts(num_nodes=3).without(*FEW), 6, "cifar"),
    # Two cells before the first reduction read the stem's two outputs.
    "darts, ImageNet's stem": (spaces.darts(num_nodes=1).without(*FEW), 6, "imagenet"),
    "nasbench201": (spaces.nasbench201(), 2, "cifar"),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_logits_and_gradients_are_the_reference_networks(name):
    """Under shared weights, in everything a search differentiates."""
    space, num_cells, stem = REFERENCE[name]
    size = {"channels": 4, "num_cells": num_cells, "num_classes": 5, "stem": stem}
    pixels = 64 if stem == "imagenet" else 8
    net = supernet.build(space, image_shape=(pixels, pixels, 3), **size)
    weights = net.init(jax.random.key(0))
    rng = np.random.default_rng(1)
    # Scale and offset start at 1 and 0, where a missing one would not show.
    for affine in (*stems(weights), weights.get("last", {})):
        for part in set(affine) & {"scale", "offset"}:
            noise = rng.normal(size=affine[part].shape) * 0.3
            affine[part] = affine[part] + jnp.asarray(noise, "f4")
    shape = space.num_edges, space.num_ops
    alpha = {k: rng.normal(size=shape).astype("f4") for k in space.cell_types}
    images = random_images(2, 6, pixels).astype("f4")
    labels = rng.integers(0, 5, 6)

    torch, module = torch_network(space, weights, **size)
    there = {
        k: torch.tensor(a, dtype=torch.float64, requires_grad=True)
        for k, a in alpha.items()
    }
    expected, loss = torch_loss(torch, module, there, images.astype(np.float64), labels)
    loss.backward()

    def ours(weights, alpha):
        mixture = {k: Mixture(jax.nn.softmax(a)) for k, a in alpha.items()}
        logits = net.apply(weights, mixture, jnp.asarray(images))
        chosen = jax.nn.log_softmax(logits)[jnp.arange(6), labels]
        return -jnp.mean(chosen), logits

    (value, logits), gradients = compiled(
        jax.value_and_grad(ours, argnums=(0, 1), has_aux=True)
    )(weights, tree_util.tree_map(jnp.asarray, alpha))
    assert logits.shape == (6, 5)
    assert_near(logits, expected.detach().numpy(), 1e-4, "logits")
    assert float(value) == pytest.approx(loss.item(), rel=1e-4)
    for cell_type, gradient in gradients[1].items():
        wanted = there[cell_type].grad.numpy()
        assert np.abs(wanted).max() > 1e-3
        assert_near(gradient, wanted, 1e-3, cell_type)
    largest = max(float(p.grad.abs().max()) for p in module.parameters())
    for got, parameter in pairs(space, gradients[0], module):
        np.testing.assert_allclose(
            got, parameter.grad.numpy(), rtol=2e-3, atol=1e-4 * largest
        )


SMALL = {
    "darts": (spaces.darts(num_nodes=2), 1),
    "nasbench201": (spaces.nasbench201(), 1),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_second_order_step_is_pytorchs_double_backward(name):
    """The step's gradient in alpha through momentum, decay and every operation."""
    space, num_cells = SMALL[name]
    size = {"channels": 4, "num_cells": num_cells, "num_classes": 5}
    net = supernet.build(space, image_shape=(8, 8, 3), **size)
    lr, momentum, decay = 0.2, 0.9, 0.01
    optimizers = bilevel.Optimizers(
        optax.chain(optax.add_decayed_weights(decay), optax.sgd(lr, momentum=momentum)),
        optax.sgd(1.0),
    )
    method = methods.darts(order=2, alpha_scale=0.5)
    state = bilevel.init_state(jax.random.key(0), net, method, optimizers=optimizers)
    velocity = tree_util.tree_map(lambda w: 0.1 * jnp.cos(40.0 * w), state.weights)
    state = state._replace(
        weight_optimizer=tree_util.tree_map(
            lambda _: velocity,
            state.weight_optimizer,
            is_leaf=lambda part: isinstance(part, dict),
        )
    )
    rng = np.random.default_rng(0)
    data = [
        Batch(
            jnp.asarray(random_images(seed, 6, 8), "f4"),
            jnp.asarray(rng.integers(0, 5, 6), "i4"),
            ids=jnp.arange(6),
            rows=jnp.arange(6),
            weights=jnp.ones(6),
        )
        for seed in (0, 1)
    ]
    step = bilevel.make_step(
        net, method, optimizers=optimizers, steps_per_epoch=1, epochs=1
    )
    after, _ = compiled(step)(state, *data)

    torch, module = torch_network(space, state.weights, **size)
    kicks = {
        id(p): torch.tensor(np.asarray(v)) for v, p in pairs(space, velocity, module)
    }
    alpha = {
        k: torch.tensor(np.asarray(a), dtype=torch.float64, requires_grad=True)
        for k, a in state.alpha.items()
    }

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self, batch):
            images = np.asarray(batch.images, np.float64)
            labels = np.asarray(batch.labels, np.int64)
            return torch_loss(torch, self.module, alpha, images, labels)[1]

    loss = Loss()
    named = dict(loss.named_parameters())
    gradients = torch.autograd.grad(
        loss(data[0]), list(named.values()), create_graph=True
    )
    moved = {
        name: p - lr * (momentum * kicks[id(p)] + gradient + decay * p)
        for (name, p), gradient in zip(named.items(), gradients, strict=True)
    }
    outer = torch.func.functional_call(loss, moved, (data[1],))
    used = {k: a for k, a in alpha.items() if k != "normal"}  # of one cell, reduced
    wanted = torch.autograd.grad(outer, list(used.values()))
    plain = torch.autograd.grad(loss(data[1]), list(used.values()))
    for cell_type, exact, first in zip(used, wanted, plain, strict=True):
        got = np.asarray(state.alpha[cell_type] - after.alpha[cell_type])
        assert_near(got, exact.numpy(), 2e-3, cell_type)
        assert np.abs(first.numpy() - got).max() > 0.1 * np.abs(got).max()


# --- sizes ----------------------------------------------------------------------


def shapes(net):
    return jax.eval_shape(net.init, jax.random.key(0))


def test_the_darts_supernet_has_the_published_count_of_weights():
    net = supernet.build(spaces.darts(), channels=16, num_cells=8, num_classes=10)
    assert supernet.count(shapes(net)) == 1_930_618
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes(net)))
    assert shapes(supernet.build(spaces.darts())) == shapes(net)  # the defaults


@pytest.mark.parametrize(
    ("channels", "cells", "classes"), [(16, 5, 10), (4, 1, 100), (8, 3, 120)]
)
def test_the_nasbench201_supernet_has_the_count_of_its_layers(channels, cells, classes):
    c = channels
    # Six edges of a 1×1 and a 3×3 in each cell, at C, 2C and 4C.
    expected = cells * 6 * 10 * (c * c + 4 * c * c + 16 * c * c)
    # Blocks C to 2C and 2C to 4C: two 3×3, one 1×1.
    expected += sum(2 * w * (9 * w + 9 * 2 * w + w) for w in (c, 2 * c))
    # Stem and its BN, last BN, classifier.
    expected += (27 * c + 2 * c) + 2 * 4 * c + (4 * c + 1) * classes
    net = supernet.build(
        spaces.nasbench201(), channels=c, num_cells=cells, num_classes=classes
    )
    assert supernet.count(shapes(net)) == expected


def test_affine_residual_blocks_have_scale_and_offset_and_train_them():
    """Of C to 2C and 2C to 4C, two each; at their start they change nothing."""
    c = 4
    sizes = {"channels": c, "num_cells": 1, "image_shape": (8, 8, 1)}
    plain, affine = (
        supernet.build(spaces.nasbench201(), residual_affine=on, **sizes)
        for on in (False, True)
    )
    added = supernet.count(shapes(affine)) - supernet.count(shapes(plain))
    assert added == 2 * 2 * (2 * c + 4 * c)
    weights = affine.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    runs = {"cell": Path(jnp.full(6, 3, jnp.int32), jnp.ones(6), jnp.ones(6, bool))}

    def loss(weights, net):
        logits = net.apply(weights, runs, images)
        return (logits**2).sum(), logits

    gradient, logits = compiled(
        jax.grad(functools.partial(loss, net=affine), has_aux=True)
    )(weights)
    kernels = [
        {name: block[name] for name in ("first", "second", "shortcut")}
        for block in weights["residuals"]
    ]
    same = compiled(functools.partial(loss, net=plain))(
        {**weights, "residuals": tuple(kernels)}
    )[1]
    np.testing.assert_allclose(logits, same, rtol=1e-5, atol=1e-5)
    # Finite differences along one direction of all scales and offsets.
    rng, h = np.random.default_rng(0), 1e-2
    norms = [
        {name: block[name] for name in ("first_norm", "second_norm")}
        for block in weights["residuals"]
    ]
    direction = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape) / 10, jnp.float32), norms
    )
    value = compiled(lambda weights: loss(weights, affine)[0])

    def moved(step):
        blocks = [
            {**block, **jax.tree.map(lambda a, d: a + step * d, own, along)}
            for block, own, along in zip(
                weights["residuals"], norms, direction, strict=True
            )
        ]
        return float(value({**weights, "residuals": tuple(blocks)}))

    slope = sum(
        float(jnp.vdot(block[name][part], along[name][part]))
        for block, along in zip(gradient["residuals"], direction, strict=True)
        for name in along
        for part in along[name]
    )
    assert abs(slope) > 1e-2
    np.testing.assert_allclose((moved(h) - moved(-h)) / (2 * h), slope, rtol=0.02)
    with pytest.raises(ValueError, match="residual_affine=True is of spaces with"):
        supernet.build(spaces.darts(), residual_affine=True)


def test_partial_channels_shrink_the_edges_and_nothing_else():
    """Weights and multiply-accumulates of operations on C/4 channels."""
    whole, part = (
        supernet.build(
            spaces.nasbench201()._replace(channel_divisor=divisor),
            channels=16,
            num_cells=2,
        )
        for divisor in (1, 4)
    )
    widths = (16, 32, 64)
    edges = 2 * 6 * 10 * sum(c * c for c in widths)
    weights = [supernet.count(shapes(net)) for net in (whole, part)]
    assert weights[0] - weights[1] == edges - edges // 16
    macs = [net.macs(supernet.every_operation) for net in (whole, part)]
    pixels = (32 * 32, 16 * 16, 8 * 8)
    edges = 2 * 6 * 10 * sum(c * c * p for c, p in zip(widths, pixels, strict=True))
    assert macs[0] - macs[1] == edges - edges // 16
    logits = jax.eval_shape(
        part.apply,
        shapes(part),
        random_architecture(part.space),
        jnp.zeros((2, 32, 32, 3)),
    )
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_channels_that_cannot_be_shared_out_are_refused(space):
    partial = spaces.SPACES[space]()._replace(channel_divisor=4)
    with pytest.raises(ValueError, match="channels=6 is not a multiple of 4"):
        supernet.build(partial, channels=6)


@pytest.mark.parametrize(
    ("space", "length", "expected"),
    [("darts", 8, [2, 5]), ("darts", 20, [6, 13]), ("darts", 14, [4, 9])],
)
def test_reductions_stand_at_one_and_two_thirds(space, length, expected):
    sizes = spaces.Sizes(channels=16, num_cells=length, num_classes=10)
    cells = spaces.SPACES[space]().plan(sizes, lambda kind: 4).cells
    assert [i for i, cell in enumerate(cells) if cell.reduction] == expected
    assert len(cells) == length
    assert cells[-1].channels == 4 * 16


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_weights_start_within_one_over_the_root_of_their_fan_in(space):
    net = supernet.build(spaces.SPACES[space](), channels=8, num_cells=3)
    weights = jax.jit(net.init)(jax.random.key(0))
    bound = 1 / np.sqrt(27)
    stem = np.asarray(weights["stem"]["kernel"])
    assert 0.9 * bound < np.abs(stem).max() <= bound
    assert abs(stem.mean()) < 0.2 * bound
    width = weights["head"]["kernel"].shape[1]
    for part in ("kernel", "bias"):
        assert np.abs(weights["head"][part]).max() <= 1 / np.sqrt(width)
    assert (np.asarray(weights["stem"]["scale"]) == 1).all()
    leaves = [np.ravel(a) for a in jax.tree.leaves(weights)]
    # No draw is used twice: all kernels' starts differ.
    starts = [a[0] for a in leaves if a.size > 1 and a[0] not in (0.0, 1.0)]
    assert len(set(map(float, starts))) == len(starts)


# --- paths and cost -----------------------------------------------------------


@pytest.mark.parametrize("name", ["darts, 9 cells of 2 nodes", "nasbench201"])
def test_a_path_is_the_reference_network_of_its_one_hot(name):
    space, num_cells, _ = REFERENCE[name]
    size = {"channels": 4, "num_cells": num_cells, "num_classes": 5}
    net = supernet.build(space, image_shape=(8, 8, 3), **size)
    weights = net.init(jax.random.key(0))
    rng = np.random.default_rng(3)
    paths, one_hot = {}, {}
    for cell_type in space.cell_types:
        operation = rng.integers(1, space.num_ops, space.num_edges)
        factor = rng.uniform(0.5, 1.0, space.num_edges)
        active = np.arange(space.num_edges) != 1
        paths[cell_type] = Path(
            jnp.asarray(operation, "i4"), jnp.asarray(factor, "f4"), jnp.asarray(active)
        )
        one_hot[cell_type] = (
            np.eye(space.num_ops)[operation] * (factor * active)[:, None]
        )
    images = random_images(0, 6, 8).astype("f4")
    torch, module = torch_network(space, weights, **size)
    expected = module(
        torch.tensor(images.transpose(0, 3, 1, 2), dtype=torch.float64),
        {k: torch.tensor(v) for k, v in one_hot.items()},
    )
    actual = compiled(net.apply)(weights, paths, jnp.asarray(images))
    assert_near(actual, expected.detach().numpy(), 2e-4, "logits")
    assert expected.detach().numpy().std() > 1e-2


def test_cost_of_a_mixture_and_of_a_path():
    """Multiply-accumulates of one cell by hand, then of what lies around it."""
    space = spaces.nasbench201()
    net = supernet.build(
        space, channels=2, num_cells=1, num_classes=5, image_shape=(8, 8, 3)
    )
    around = 27 * 2 * 64 + 8 * 5
    around += 16 * 4 * (2 * 9 + 4 * 9 + 2) + 4 * 8 * (4 * 9 + 8 * 9 + 4)
    assert net.macs(lambda macs: 0.0) == around
    dense = [64 * 4, 16 * 16, 4 * 64]  # H W C² of each stage
    mixture = net.macs(supernet.every_operation)
    assert mixture == around + 6 * 10 * sum(dense)
    assert net.macs(supernet.costliest_operation) == around + 6 * 9 * sum(dense)


# --- arithmetic and refusals ----------------------------------------------------


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_bfloat16_logits_stay_near_float32(name):
    space = spaces.SPACES[name]()
    if name == "darts":
        space = spaces.darts(num_nodes=2).without("dil_conv_5x5", "sep_conv_5x5")
    size = {"channels": 4, "num_cells": 1, "num_classes": 5, "image_shape": (8, 8, 3)}
    wide, narrow = (
        supernet.build(space, dtype=dtype, **size) for dtype in ("float32", "bfloat16")
    )
    weights = wide.init(jax.random.key(0))
    arguments = (
        weights,
        random_architecture(space),
        jnp.asarray(random_images(0, 8, 8), "f4"),
    )
    expected, actual = (compiled(net.apply)(*arguments) for net in (wide, narrow))
    assert actual.dtype == expected.dtype == jnp.float32
    assert_near(actual, expected, 0.05, "logits")
    assert (np.asarray(actual) != np.asarray(expected)).any()


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
@pytest.mark.parametrize(
    ("settings", "value", "allowed"),
    [
        ({"channels": 0}, "channels is 0", "at least 1"),
        ({"num_cells": -1}, "num_cells is -1", "at least 1"),
        ({"num_classes": 0}, "num_classes is 0", "at least 1"),
        ({"image_shape": (0, 8, 3)}, "image height is 0", "at least 1"),
        ({"dtype": "float16"}, "float16", "float32, bfloat16"),
        ({"dtype": jnp.int32}, "int32", "float32, bfloat16"),
        ({"depthwise": "fast"}, "'fast'", "auto, banded, grouped, shift"),
        ({"image_shape": (2, 2, 3)}, "2", "4"),
        ({"stem": "mnist"}, "'mnist'", "cifar, imagenet"),
    ],
)
def test_bad_settings_are_refused_by_value_and_allowed(space, settings, value, allowed):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (read below)
        supernet.build(spaces.SPACES[space](), **settings)
    message = str(error.value)
    assert value in message
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        (
            "nasbench201",
            {},
            "stem='imagenet' is not of the space nasbench201",
        ),
        ("darts", {"channels": 5}, "channels is 5; ImageNet's stem halves it"),
        ("darts", {"image_shape": (28, 28, 3)}, "smaller than 32×32"),
    ],
)
def test_imagenets_stem_is_refused_where_it_cannot_be(space, settings, message):
    with pytest.raises(ValueError, match=message):
        supernet.build(spaces.SPACES[space](), stem="imagenet", **settings)


def test_imagenets_stem_brings_224_pixels_to_28():
    net = supernet.build(
        spaces.darts(),
        channels=48,
        num_cells=1,
        num_classes=1000,
        image_shape=(224, 224, 3),
        stem="imagenet",
    )
    stem = 9 * (3 * 24 * 112**2 + 24 * 48 * 56**2 + 48 * 48 * 28**2)
    # The one cell reads 28×28 (its first input halved) and makes 4 · 96 channels.
    assert net.macs(lambda macs: 0.0) == stem + 96 * 96 * 28**2 + 4 * 96 * 1000


def test_nasbench201_refuses_images_it_cannot_halve_twice():
    with pytest.raises(ValueError, match="6×8; nasbench201 halves them"):
        supernet.build(spaces.nasbench201(), image_shape=(6, 8, 3))


def test_a_cell_of_one_node():
    """Its reduction cell has no edge of stride 1."""
    space = spaces.darts(num_nodes=1).without("sep_conv_5x5", "dil_conv_5x5")
    net = supernet.build(
        space, channels=4, num_cells=1, num_classes=3, image_shape=(8, 8, 3)
    )
    logits = jax.eval_shape(
        net.apply,
        shapes(net),
        random_architecture(space),
        jnp.zeros((2, 8, 8, 3)),
    )
    assert logits.shape == (2, 3)


def test_a_space_without_some_candidates():
    space = spaces.darts()
    smaller = space.without("none", "sep_conv_5x5")
    assert smaller.num_ops == 6
    assert space.num_ops == 8
    assert smaller.primitives == tuple(
        name for name in space.primitives if name not in ("none", "sep_conv_5x5")
    )
    with pytest.raises(ValueError, match="'conv_9x9' is not one of"):
        space.without("conv_9x9")
    with pytest.raises(ValueError, match="no candidate left"):
        space.without(*space.primitives)
    with pytest.raises(ValueError, match="num_nodes=0"):
        spaces.darts(num_nodes=0)
