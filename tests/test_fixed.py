"""A cell that is given, not searched, and GDAS with its fixed reduction cell."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax import bilevel, methods, optimizers, spaces, supernet
from nasjax.data.batches import Batch
from nasjax.genotype import Genotype, kept_edges
from nasjax.methods.baselines.fixed import with_fixed_cell
from nasjax.methods.baselines.gdas import FIXED_REDUCTION
from nasjax.network import Network

#: The same numbers, compiled in half the time.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)
#: Of two nodes.
CELL = (("skip_connect", 0), ("none", 1), ("none", 0), ("max_pool_3x3", 1))
SMALL = spaces.darts(num_nodes=2).without(
    "avg_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_5x5"
)


def test_gdas_frc_runs_the_published_reduction_cell():
    """Its four branches: a convolution of either input, a max pooling of either."""
    method = methods.gdas(fixed_reduction=True)
    space = method.adapt(spaces.darts())
    alpha = method.init(jax.random.key(0), space)
    for progress in (0.0, 1.0):
        runs = method.relax(jax.random.key(1), alpha, jnp.float32(progress), space)
        path = runs["reduce"]
        run = {
            space.edges[edge]: space.primitives[int(path.operation[edge])]
            for edge in np.flatnonzero(path.active)
        }
        assert {edge: op for edge, op in run.items() if op != "none"} == {
            (0, 2): "sep_conv_3x3",
            (1, 3): "sep_conv_3x3",
            (0, 4): "max_pool_3x3",
            (1, 5): "max_pool_3x3",
        }
        np.testing.assert_array_equal(path.weight, np.ones(14))
    settled = method.settled(alpha, space)["reduce"]
    jax.tree.map(np.testing.assert_array_equal, settled, path)
    plain = methods.gdas()
    same = plain.relax(jax.random.key(1), dict(alpha), jnp.ones(()), space)
    assert runs["normal"].active.all()
    assert same["normal"].operation.shape == runs["normal"].operation.shape


def test_gdas_frc_derives_its_normal_cell_and_the_given_one():
    method = methods.gdas(fixed_reduction=True)
    space = method.adapt(spaces.darts())
    rng = np.random.default_rng(0)
    normal = jnp.asarray(rng.normal(size=(14, 8)), jnp.float32)
    alpha = {**method.init(jax.random.key(0), space), "normal": normal}
    found = method.derive(space, alpha)
    assert found.reduce == FIXED_REDUCTION
    searched = methods.gdas().derive(spaces.darts(), {**alpha, "reduce": normal})
    assert found.normal == searched.normal
    assert Genotype.from_json(found.to_json()) == found
    assert Genotype.from_text(found.to_text()) == found
    assert len(list(kept_edges(found, "reduce"))) == 8
    # It can be trained, and its strengths are those edges.
    net = Network(found, channels=8, num_cells=3)
    images = jnp.zeros((2, 32, 32, 3))
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), images))
    assert supernet.count(variables) > 0
    strengths = method.strengths(alpha, space)["reduce"]
    assert float(strengths.sum()) == len(FIXED_REDUCTION)


def batch(seed, net, size=4):
    key = jax.random.key(seed)
    numbers = jnp.arange(size, dtype=jnp.int32)
    images = jax.random.normal(key, (size, *net.settings.image_shape))
    return Batch(images, numbers % 3, numbers, numbers, jnp.ones(size))


@pytest.mark.parametrize("name", ["darts", "msg_das"])
def test_no_step_moves_the_given_cell(name):
    """A mixture beside it, and two sub-graphs with their teacher; alpha decays."""
    method = with_fixed_cell(methods.METHODS[name](), "reduce", CELL)
    net = supernet.build(
        method.adapt(SMALL),
        channels=4,
        num_cells=3,
        num_classes=3,
        image_shape=(8, 8, 1),
    )
    both = bilevel.Optimizers(
        optimizers.weight_optimizer(lambda count: 0.1),
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0)),
    )
    state = bilevel.init_state(jax.random.key(0), net, method, optimizers=both)
    step = compiled(
        bilevel.make_step(net, method, optimizers=both, steps_per_epoch=1, epochs=2)
    )
    after, metrics = step(state, batch(1, net), batch(2, net))
    np.testing.assert_array_equal(after.alpha["reduce"], state.alpha["reduce"])
    assert float(state.alpha["reduce"].sum()) == len(CELL)
    assert np.abs(after.alpha["normal"] - state.alpha["normal"]).max() > 1e-4
    assert all(np.isfinite(value) for value in metrics.values())
    assert method.derive(net.space, after.alpha).reduce == CELL


@pytest.mark.parametrize(
    ("space", "cell", "message"),
    [
        (spaces.nasbench201(), CELL, "'reduce' cannot be given in nasbench201, whose"),
        (
            SMALL,
            (("sep_conv_3x3", 0),),
            "sep_conv_3x3 on edge 2←0 is not of darts with",
        ),
        (SMALL, FIXED_REDUCTION, "is not of darts with none, max_pool_3x3"),
    ],
)
def test_a_cell_that_the_space_does_not_have_is_refused(space, cell, message):
    method = with_fixed_cell(methods.darts(), "reduce", cell)
    with pytest.raises(ValueError, match=message):
        method.adapt(space)
