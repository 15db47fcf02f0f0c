"""Discrete networks against PyTorch, and their properties."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import genotypes, network
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.interop import pytorch
from nasjax.layers import Context
from nasjax.layers.running import train_norm, update_running
from nasjax.network import functions
from nasjax.network.settings import Pass, Settings
from tests.compilations import lowered


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Small shapes: most of the time would go into optimising what runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


#: Every operation of the DARTS family, in the normal cell with stride 1 and in the
#: reduction cell with stride 2.
EVERY = Genotype(
    normal=(
        ("sep_conv_3x3", 0), ("max_pool_3x3", 1), ("avg_pool_3x3", 0),
        ("skip_connect", 2), ("sep_conv_5x5", 3), ("dil_conv_3x3", 1),
        ("dil_conv_5x5", 4), ("sep_conv_7x7", 0), ("conv_7x1_1x7", 5), ("none", 2),
    ),
    normal_concat=(2, 4, 6),
    reduce=(
        ("max_pool_3x3", 1), ("dil_conv_5x5", 0), ("skip_connect", 1),
        ("conv_7x1_1x7", 0), ("sep_conv_7x7", 1), ("avg_pool_3x3", 0),
        ("sep_conv_3x3", 0), ("sep_conv_5x5", 1), ("dil_conv_3x3", 1), ("none", 0),
    ),
    reduce_concat=(2, 3, 4, 5, 6),
)  # fmt: skip
#: Few operations, with every kind of unit: quick to compile.
SMALL = Genotype(
    normal=(
        ("sep_conv_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 1),
        ("sep_conv_3x3", 2),
    ),
    normal_concat=(2, 3),
    reduce=(
        ("skip_connect", 0), ("conv_7x1_1x7", 1), ("avg_pool_3x3", 2),
        ("dil_conv_3x3", 0),
    ),
    reduce_concat=(3,),
)  # fmt: skip
NB201 = Genotype(
    "nasbench201",
    arch_str=(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|"
        "+|skip_connect~0|none~1|nor_conv_3x3~2|"
    ),
)
#: One edge: for what does not depend on the operations.
TINY = Genotype("nasbench201", arch_str="|nor_conv_1x1~0|")
TINY_SIZES = {
    "dataset": "cifar10", "channels": 4, "num_cells": 1, "num_classes": 7
}  # fmt: skip
CIFAR = {"dataset": "cifar10", "channels": 4, "num_cells": 3, "num_classes": 7}
IMAGENET = {**CIFAR, "dataset": "imagenet"}


ONE = (("sep_conv_3x3", 0), ("skip_connect", 1))


def cells(**changes):
    fields = {
        "normal": ONE, "normal_concat": (2,), "reduce": ONE, "reduce_concat": (2,)
    }  # fmt: skip
    return Genotype("darts", **{**fields, **changes})


def variables_of(genotype, sizes, **settings):
    """As after some training: no scale, offset or moment at its start."""
    variables = network.init(jax.random.key(1), genotype, **sizes, **settings)

    def moved(path, leaf):
        rng = np.random.default_rng(len(jax.tree_util.keystr(path)))
        name = path[-1].key
        if name in ("scale", "var"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        if name in ("offset", "mean"):
            return jnp.asarray(rng.normal(0.0, 0.3, leaf.shape), jnp.float32)
        return leaf

    return jax.tree_util.tree_map_with_path(moved, variables)


def images_of(size, *, batch=3, channels=3):
    rng = np.random.default_rng(0)
    shape = (batch, size, size, channels)
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def torch_twin(genotype, variables, sizes, *, auxiliary=False):
    """The PyTorch network with the same weights."""
    oracle = pytest.importorskip("tests.oracles.torch_network")
    if genotype.arch_str:
        names = [name for name, _ in genotype.cells["cell"]]
        own = {k: v for k, v in sizes.items() if k != "dataset"}
        net = oracle.NasBench201Network(names, **own)
    else:
        net = oracle.DartsNetwork(genotype, **sizes, auxiliary=auxiliary)
    state = pytorch.to_state_dict(variables, genotype, **sizes, auxiliary=auxiliary)
    net.load_state_dict({k: oracle.torch.from_numpy(v) for k, v in state.items()})
    return oracle.torch, net


def to_torch(torch, images):
    # Contiguous: the gradient of a strided 1×1 convolution of another layout writes
    # past its end in PyTorch 2.13.
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()


def assert_close(ours, theirs, tolerance=2e-4, *, floor=1e-12):
    """Largest difference relative to the largest value, or to ``floor``."""
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else theirs
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() <= tolerance * max(scale, floor)


# --- against PyTorch ------------------------------------------------------------


@pytest.mark.parametrize(
    ("genotype", "sizes", "size"),
    [
        (EVERY, CIFAR, 16),
        # Odd heights: 64 → 8 → 4 → 2 after the stems; 24 → 3 would fail in PyTorch.
        (EVERY, IMAGENET, 64),
        (genotypes.DARTS_V2, {**CIFAR, "num_cells": 4}, 8),
        # Two runs of equal cells, which evaluation loops over.
        (cells(), {**CIFAR, "num_cells": 13}, 8),
        (NB201, {**CIFAR, "num_cells": 2}, 8),
    ],
    ids=["every-cifar", "every-imagenet", "darts", "deep", "nasbench201"],
)
def test_logits_are_pytorchs(genotype, sizes, size):
    variables = variables_of(genotype, sizes)
    torch, net = torch_twin(genotype, variables, sizes)
    images = images_of(size)
    with torch.no_grad():
        theirs, _ = net.eval()(to_torch(torch, images))
    ours = network.apply(variables, images, genotype, **sizes)
    assert ours.dtype == jnp.float32
    assert_close(ours, theirs)


def train_in_torch(torch, net, images, labels, masks=None):
    """Logits of both heads, gradient and state after a pass in training mode."""
    net.train()
    inputs = to_torch(torch, images)
    logits, auxiliary = net(inputs) if masks is None else net(inputs, masks)
    entropy = torch.nn.functional.cross_entropy
    loss = entropy(logits, labels)
    if auxiliary is not None:
        loss = loss + 0.4 * entropy(auxiliary, labels)
    loss.backward()
    gradient = {
        k: torch.zeros_like(p) if p.grad is None else p.grad
        for k, p in net.named_parameters()
    }
    return logits, auxiliary, gradient, net.state_dict()


def train_in_jax(genotype, variables, images, labels, sizes, **settings):
    @partial(jax.grad, has_aux=True)
    def gradient(params):
        output = network.train_apply(
            {**variables, "params": params}, images, genotype, **sizes, **settings
        )
        return loss(output, labels), output

    return jax.jit(gradient)(variables["params"])


def loss(output, labels):
    def entropy(logits):
        log = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(log, labels[:, None], axis=1).mean()

    if output.auxiliary is None:
        return entropy(output.logits)
    return entropy(output.logits) + 0.4 * entropy(output.auxiliary)


@pytest.mark.parametrize(
    ("genotype", "sizes", "size", "auxiliary"),
    [
        (SMALL, CIFAR, 32, True),
        (SMALL, IMAGENET, 224, True),
        (NB201, {**CIFAR, "num_cells": 1}, 8, False),
    ],
    ids=["cifar", "imagenet", "nasbench201"],
)
def test_a_training_pass_is_pytorchs(genotype, sizes, size, auxiliary):
    settings = {"auxiliary": True} if auxiliary else {}
    variables = variables_of(genotype, sizes, **settings)
    torch, net = torch_twin(genotype, variables, sizes, auxiliary=auxiliary)
    images, labels = images_of(size, batch=4), np.array([0, 3, 6, 1])
    logits, extra, gradient, state = train_in_torch(
        torch, net, images, torch.from_numpy(labels)
    )
    ours, output = train_in_jax(genotype, variables, images, jnp.asarray(labels), sizes)
    assert_close(output.logits, logits)
    assert (output.auxiliary is None) == (extra is None)
    if auxiliary:
        assert_close(output.auxiliary, extra)
    named = partial(pytorch.to_state_dict, genotype=genotype, **sizes, **settings)
    after = named({"params": ours, "batch_stats": output.batch_stats})
    for name, theirs in state.items():
        if "running" in name:
            assert_close(after[name], theirs, 1e-5)
    # Some offsets have no gradient but rounding: a normalisation follows them.
    for name, theirs in gradient.items():
        assert_close(after[name], theirs, 1e-3, floor=1e-2)


def test_drop_path_masks_are_applied_where_pytorchs_are():
    variables = variables_of(SMALL, CIFAR)
    torch, net = torch_twin(SMALL, variables, CIFAR)
    images = images_of(8, batch=6)
    rng = np.random.default_rng(0)
    masks = (rng.random((3, 4, 6)) < 0.7).astype(np.float32) / np.float32(0.7)
    labels = torch.zeros(6, dtype=torch.long)
    theirs, *_ = train_in_torch(
        torch, net, images, labels, masks=torch.from_numpy(masks)
    )
    skeleton = functions.skeleton(Settings(SMALL, **CIFAR))
    assert skeleton.edges == (3, 4)
    how = Pass(Context(train=True))
    forward = jax.jit(lambda keep: skeleton.forward(variables, images, keep, how))
    assert_close(forward(jnp.asarray(masks)).logits, theirs)


def test_batch_normalisation_is_pytorchs_where_the_mean_dwarfs_the_spread():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.normal(30.0, 0.1, (4, 5, 3, 2)).astype(np.float32)  # [C, H, W, B]
    g = rng.normal(size=x.shape).astype(np.float32)
    scale, offset = rng.normal(size=(2, 4)).astype(np.float32)
    layer = torch.nn.BatchNorm2d(4).double()
    layer.weight.data[:] = torch.from_numpy(scale)
    layer.bias.data[:] = torch.from_numpy(offset)
    wide = torch.from_numpy(x).double().permute(3, 0, 1, 2).requires_grad_()
    y = layer(wide)
    y.backward(torch.from_numpy(g).double().permute(3, 0, 1, 2))

    def run(x, scale, offset):
        return train_norm(x, scale, offset, None)

    (ours, mean, variance), back = jax.vjp(run, x, scale, offset)
    assert_close(ours, y.permute(1, 2, 3, 0), 1e-3)
    running = update_running(
        {"mean": jnp.zeros(4), "var": jnp.ones(4)}, {"mean": mean, "var": variance}
    )
    assert_close(running["mean"], layer.running_mean, 1e-5)
    assert_close(running["var"], layer.running_var, 1e-5)
    dx, dscale, doffset = back((jnp.asarray(g), jnp.zeros(4), jnp.zeros(4)))
    assert_close(dx, wide.grad.permute(1, 2, 3, 0), 1e-3)
    assert_close(dscale, layer.weight.grad, 1e-3)
    assert_close(doffset, layer.bias.grad, 1e-5)


# --- drop path ------------------------------------------------------------------


def trained(genotype, variables, images, sizes, **settings):
    return network.train_apply(variables, images, genotype, **sizes, **settings)


def test_drop_path_drops_examples_at_its_rate_and_keeps_the_mean():
    keep = functions.drop_path(jax.random.key(0), 0.3, shape=(20, 8, 500))
    values = np.unique(np.asarray(keep))
    np.testing.assert_allclose(values, [0.0, 1 / 0.7], rtol=1e-6)
    kept = float((keep > 0).mean())
    deviation = (0.3 * 0.7 / keep.size) ** 0.5
    assert abs(kept - 0.7) < 4 * deviation
    # Examples and edges are dropped on their own, not all together.
    assert float((keep > 0).mean(axis=(0, 1)).std()) < 0.1
    assert float((keep > 0).mean(axis=(0, 2)).std()) < 0.05


@pytest.mark.parametrize(("rate", "value"), [(0.0, 1.0), (1.0, 0.0)])
def test_drop_path_at_its_ends(rate, value):
    keep = functions.drop_path(jax.random.key(0), rate, shape=(100,))
    np.testing.assert_array_equal(keep, np.full(100, value, np.float32))


def test_drop_path_leaves_identities_alone():
    images = images_of(8)
    pools = (("max_pool_3x3", 0), ("max_pool_3x3", 1))
    dropped = jnp.zeros((3, 2, 3)).at[1:].set(1.0)  # all of the first cell's edges
    for second, alike in (("skip_connect", True), ("avg_pool_3x3", False)):
        genotype = cells(normal=(("skip_connect", 0), (second, 1)), reduce=pools)
        variables = variables_of(genotype, CIFAR)
        skeleton = functions.skeleton(Settings(genotype, **CIFAR))
        forward = jax.jit(skeleton.forward, static_argnums=3)
        how = Pass(Context(train=True))
        logits = [
            forward(variables, images, keep, how).logits for keep in (None, dropped)
        ]
        assert np.array_equal(*logits) == alike


def test_drop_path_needs_a_key():
    variables = variables_of(TINY, TINY_SIZES)
    with pytest.raises(InputError, match=r"drop_path_rate is 0\.5; it needs a key"):
        trained(TINY, variables, images_of(8), TINY_SIZES, drop_path_rate=0.5)


def test_a_traced_rate_compiles_once_and_the_key_decides():
    variables = variables_of(TINY, TINY_SIZES)
    images = images_of(8)
    traces = []

    @jax.jit
    def step(key, rate):
        traces.append(1)
        return trained(
            TINY, variables, images, TINY_SIZES, key=key, drop_path_rate=rate
        ).logits

    first, second = (step(jax.random.key(k), jnp.float32(0.5)) for k in (0, 1))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(step(jax.random.key(0), jnp.float32(0.5)), first)
    none = trained(TINY, variables, images, TINY_SIZES).logits
    np.testing.assert_allclose(
        step(jax.random.key(0), jnp.float32(0.0)), none, rtol=1e-5, atol=1e-6
    )
    assert len(traces) == 1


# --- properties -----------------------------------------------------------------


def test_equal_TINY_SIZES_are_compiled_once():
    # A number of images that no other test has.
    with lowered() as names:
        for key in range(2):
            variables = network.init(jax.random.key(key), TINY, **TINY_SIZES)
            network.apply(variables, images_of(12, batch=5), TINY, **TINY_SIZES)
    assert names.count("jit(_evaluate)") == 1


def test_looped_and_recomputed_cells_give_the_same_gradient():
    sizes = {**TINY_SIZES, "num_cells": 2}
    variables = variables_of(TINY, sizes)
    images, labels = images_of(8), jnp.array([0, 1, 2])
    run = partial(
        train_in_jax, TINY, variables, images, labels, sizes,
        key=jax.random.key(0), drop_path_rate=0.3,
    )  # fmt: skip
    expected = run()
    assert_equal(run(loop=True), expected)
    assert_equal(run(remat=True), expected)
    assert_equal(run(loop=True, remat=True), expected)


def assert_equal(one, other, tolerance=1e-4):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert_close(a, np.asarray(b), tolerance, floor=1e-2)


def test_bfloat16_activations_leave_the_rest_in_float32():
    variables = variables_of(TINY, TINY_SIZES)
    images, labels = images_of(8, batch=8), jnp.arange(8) % 7
    gradient, output = train_in_jax(
        TINY, variables, images, labels, TINY_SIZES, dtype=jnp.bfloat16
    )
    _, exact = train_in_jax(TINY, variables, images, labels, TINY_SIZES)
    for leaf in jax.tree.leaves((gradient, output)):
        assert leaf.dtype == jnp.float32
    assert_close(output.logits, np.asarray(exact.logits), 0.05)
    assert not np.array_equal(output.logits, exact.logits)
    logits = network.apply(variables, images, TINY, **TINY_SIZES, dtype="bfloat16")
    assert logits.dtype == jnp.float32


def test_synchronised_normalisation_is_that_of_the_whole_batch():
    variables = variables_of(TINY, TINY_SIZES)
    images, labels = images_of(8, batch=8), jnp.arange(8) % 7
    gradient, output = train_in_jax(TINY, variables, images, labels, TINY_SIZES)

    @partial(jax.pmap, axis_name="devices", in_axes=(None, 0, 0))
    def step(variables, images, labels):
        gradient, output = train_in_jax(
            TINY, variables, images, labels, TINY_SIZES, axis_name="devices"
        )
        return jax.lax.pmean(gradient, "devices"), output

    shards = [a.reshape(4, 2, *a.shape[1:]) for a in (images, labels)]
    mean, parts = step(variables, *shards)
    np.testing.assert_allclose(
        parts.logits.reshape(8, -1), output.logits, rtol=1e-3, atol=1e-4
    )
    for device in range(4):
        own = jax.tree.map(lambda a, d=device: a[d], (mean, parts.batch_stats))
        assert_equal(own, (gradient, output.batch_stats), 5e-3)


@pytest.mark.parametrize("form", ["banded", "grouped", "shift"])
def test_forms_of_the_depthwise_convolution_agree(form):
    variables = variables_of(cells(), TINY_SIZES)
    images = images_of(8)
    expected = network.apply(variables, images, cells(), **TINY_SIZES)
    found = network.apply(variables, images, cells(), **TINY_SIZES, depthwise=form)
    assert_close(found, np.asarray(expected), 1e-5)


def test_evaluation_takes_each_example_on_its_own():
    variables = variables_of(TINY, TINY_SIZES)
    images = images_of(8, batch=4)
    both = network.apply(variables, images, TINY, **TINY_SIZES)
    alone = network.apply(variables, images[:2], TINY, **TINY_SIZES)
    np.testing.assert_allclose(both[:2], alone, rtol=1e-5, atol=1e-6)


def test_steps_of_gradient_descent_fit_a_batch():
    variables = network.init(jax.random.key(0), TINY, **TINY_SIZES, image_channels=1)
    images, labels = images_of(8, batch=8, channels=1), jnp.arange(8) % 7

    @jax.jit
    def step(variables, rate):
        gradient, output = train_in_jax(TINY, variables, images, labels, TINY_SIZES)
        params = jax.tree.map(lambda p, g: p - rate * g, variables["params"], gradient)
        after = {"params": params, "batch_stats": output.batch_stats}
        return after, loss(output, labels)

    losses = []
    for rate in [0.1] * 30 + [0.0] * 60:
        variables, value = step(variables, jnp.float32(rate))
        losses.append(float(value))
    assert losses[-1] < 0.3 * losses[0]
    # The running averages have come near the batch's own moments.
    logits = network.apply(variables, images, TINY, **TINY_SIZES)
    assert (logits.argmax(axis=1) == labels).mean() > 0.8


def test_init_starts_as_pytorch_does():
    variables = network.init(jax.random.key(0), genotypes.DARTS_V2, **CIFAR)
    params = variables["params"]
    kernel = np.asarray(params["cells"][0]["edges"]["sep_conv_3x3"][0]["depthwise"])
    assert kernel.shape == (1, 5, 4, 3, 3)
    assert 0.9 / 3 < np.abs(kernel).max() <= 1 / 3  # a fan-in of nine
    np.testing.assert_array_equal(params["stem"][0]["scale"], np.ones(12))
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["batch_stats"]):
        start = 1.0 if path[-1].key == "var" else 0.0
        np.testing.assert_array_equal(leaf, np.full(leaf.shape, start, np.float32))
    other = network.init(jax.random.key(1), genotypes.DARTS_V2, **CIFAR)
    assert not np.array_equal(
        kernel, other["params"]["cells"][0]["edges"]["sep_conv_3x3"][0]["depthwise"]
    )


# --- the Linen module -----------------------------------------------------------


def test_the_module_is_the_functions():
    net = network.Network(TINY, **TINY_SIZES)
    images = images_of(8)
    variables = net.init(jax.random.key(0), images)
    wanted = network.init(jax.random.key(0), TINY, **TINY_SIZES)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, wanted)
    np.testing.assert_array_equal(
        net.apply(variables, images),
        network.apply(variables, images, TINY, **TINY_SIZES),
    )
    (logits, auxiliary), state = net.apply(
        variables, images, train=True, mutable=["batch_stats"]
    )
    output = trained(TINY, variables, images, TINY_SIZES)
    assert auxiliary is None
    np.testing.assert_array_equal(logits, output.logits)
    assert_equal(state["batch_stats"], output.batch_stats, 0.0)
    dropped, _ = net.apply(
        variables,
        images,
        train=True,
        drop_path_rate=0.5,
        mutable=["batch_stats"],
        rngs={"drop_path": jax.random.key(0)},
    )
    assert not np.allclose(dropped[0], logits)


# --- bad input ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("genotype", "changes", "message"),
    [
        (cells(), {"dataset": "svhn"}, "dataset 'svhn' is not one of cifar10, cifar1"),
        (cells(), {"channels": 0}, "channels is 0; it is an integer of at least 1"),
        (cells(), {"num_cells": 2.0}, r"num_cells is 2\.0; it is an integer"),
        (cells(), {"num_classes": True}, "num_classes is True; it is an integer"),
        (cells(), {"dataset": "imagenet", "channels": 5}, "channels is 5; ImageNet's"),
        (
            NB201,
            {"dataset": "imagenet"},
            "nasbench201 has no network for dataset",
        ),
        (NB201, {"auxiliary": True}, "has no auxiliary head"),
        (Genotype(), {}, r"genotype\.normal has 0 edges; a node has two"),
        (cells(reduce=ONE[:1]), {}, r"genotype\.reduce has 1 edges; a node has two"),
        (
            cells(normal=(("sep_conv_9x9", 0), *ONE[1:])),
            {},
            "operation 'sep_conv_9x9' is not one of avg_pool_3x3, conv_7x1_1x7",
        ),
        (
            cells(reduce=(*ONE[:1], ("none", 2))),
            {},
            r"edge 1 of genotype\.reduce leaves state 2; it leaves one of 0 to 1",
        ),
        (cells(normal_concat=(3,)), {}, r"genotype\.normal_concat is \[3\]; it lists"),
        (cells(reduce_concat=()), {}, r"genotype\.reduce_concat is \[\]; it lists"),
        (cells(reduce_concat=(0,)), {}, "reduce_concat is .* states from 2 to 2"),
        (
            Genotype("nasbench201", arch_str="|max~0|"),
            {},
            "operation 'max' is not one of avg_pool_3x3",
        ),
    ],
)
def test_what_makes_no_network_is_refused(genotype, changes, message):
    settings = {**CIFAR, **changes}
    with pytest.raises(InputError, match=message) as error:
        network.init(jax.random.key(0), genotype, **settings)
    assert "\n" not in str(error.value)
    del settings["num_classes"]
    if "num_classes" not in changes:
        with pytest.raises(InputError, match=message):
            network.cost(genotype, **settings)


def replaced(variables, leaf):
    params = {**variables["params"], "head": {**variables["params"]["head"], **leaf}}
    return {**variables, "params": params}


def test_variables_or_images_of_another_network_are_refused():
    variables = network.init(jax.random.key(0), TINY, **TINY_SIZES)
    images = images_of(8)
    wrong = replaced(variables, {"bias": jnp.zeros(3)})
    extra = replaced(variables, {"slope": jnp.zeros(3)})
    less = {**variables, "batch_stats": {}}
    message = r"variables have params\.head\.bias of shape \(3,\), .* needs \(7,\)"
    for given, found in (
        (wrong, message),
        (extra, r"variables have params\.head\.slope, which this network has not"),
        (less, r"variables have no batch_stats\.\S+, which this network needs"),
        ({"params": variables["params"]}, "params and batch_stats; no batch_stats"),
        ({}, "variables are not those of a network"),
        (None, "variables are not those of a network"),
    ):
        for run in (network.apply, network.train_apply):
            with pytest.raises(InputError, match=found) as error:
                run(given, images, TINY, **TINY_SIZES)
            assert "\n" not in str(error.value)
    for shape in ((8, 8, 3), (2, 8, 8, 1), (2, 0, 8, 3)):
        with pytest.raises(InputError, match=r"images are \[.*reads \[B, H, W, 3\]"):
            network.apply(variables, jnp.zeros(shape), TINY, **TINY_SIZES)
    with pytest.raises(InputError, match="both are multiples of 4"):
        network.apply(variables, images_of(10), TINY, **TINY_SIZES)
    with pytest.raises(InputError, match="dtype 'float16' is not one of float32"):
        network.apply(variables, images, TINY, **TINY_SIZES, dtype=jnp.float16)
    with pytest.raises(InputError, match="depthwise='fast' is not one of auto"):
        network.apply(variables, images, TINY, **TINY_SIZES, depthwise="fast")


def test_the_auxiliary_head_says_which_images_it_fits():
    for sizes, size in ((CIFAR, 16), (IMAGENET, 64)):
        variables = network.init(jax.random.key(0), cells(), **sizes, auxiliary=True)
        with pytest.raises(InputError, match="does not fit features of") as error:
            trained(cells(), variables, images_of(size), sizes)
        assert "\n" not in str(error.value)
        # Evaluation does not run it.
        logits = network.apply(variables, images_of(size), cells(), **sizes)
        assert logits.shape == (3, 7)
