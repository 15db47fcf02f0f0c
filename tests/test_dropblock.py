"""DropBlock: its squares, its rate, its rescaling, and where it applies."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from jax.extend.random import threefry_2x32

from nasjax import dropblock, layers, methods, operations, schedules, spaces
from nasjax.architecture import Drop
from tests.catalogue import compiled

CHANNELS, SIZE, BATCH = 4, 16, 8


@functools.partial(compiled, static_argnames=("shape", "block_size", "rescale"))
def of_ones(key, rate, *, shape=(CHANNELS, SIZE, SIZE, BATCH), **settings):
    return dropblock.drop_block(key, jnp.ones(shape), rate=rate, **settings)


def maps(values):
    """``[C, H, W, B]`` to a list of ``[H, W]``."""
    return list(np.moveaxis(values, -1, 0).reshape(-1, *values.shape[1:3]))


def random_input(shape=(CHANNELS, SIZE, SIZE, BATCH), dtype=np.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_rate_of_zero_is_the_identity_to_the_bit(key, dtype):
    x = random_input(dtype=dtype)
    y = compiled(dropblock.drop_block)(key, x, rate=0.0)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("block_size", [1, 2, 3, 5])
def test_what_is_dropped_is_blocks(key, block_size):
    """A union of squares is what an opening by that square leaves as it is."""
    values = np.asarray(of_ones(key, 0.3, block_size=block_size))
    square = np.ones((block_size, block_size))
    dropped = [one == 0 for one in maps(values)]
    assert 0 < np.mean(dropped) < 1
    for one in dropped:
        opened = scipy.ndimage.binary_opening(one, square)
        np.testing.assert_array_equal(opened, one)


def test_a_lonely_block_is_a_square_inside_the_map(key):
    values = np.asarray(of_ones(key, 0.004, shape=(8, SIZE, SIZE, 32)))
    sizes = [one.size - np.count_nonzero(one) for one in maps(values)]
    assert sizes.count(9) > 5  # drawn apart, most blocks are alone
    assert set(sizes) <= {0, 9} | set(range(10, 19)) | {27}


def chances(rate, size, block=3):
    """That each pixel is dropped, from how many blocks cover it."""
    centres = size - block + 1
    seed = rate / block**2 * (size / centres) ** 2
    covers = np.convolve(np.ones(centres), np.ones(block))
    return 1 - (1 - seed) ** np.outer(covers, covers)


@pytest.mark.parametrize(("rate", "block_size"), [(0.05, 2), (0.2, 2), (0.2, 3)])
def test_the_mean_share_dropped_is_near_the_rate(key, rate, block_size):
    """Blocks that overlap make it a little less; how much is computed exactly."""
    shape = (8, 48, 48, 64)
    values = np.asarray(of_ones(key, rate, shape=shape, block_size=block_size))
    shares = [np.mean(one == 0) for one in maps(values)]
    error = np.std(shares) / np.sqrt(len(shares))
    # Five standard errors: a false alarm in 1.7 million keys.
    assert abs(np.mean(shares) - chances(rate, 48, block_size).mean()) < 5 * error
    assert 0.88 * rate < np.mean(shares) <= rate
    assert error < 0.01 * rate


@pytest.mark.parametrize(
    ("size", "share", "corner", "inner"), [(8, 0.18, 0.04, 0.3), (16, 0.18, 0.03, 0.23)]
)
def test_on_small_maps_the_share_is_what_the_docstring_says(
    key, size, share, corner, inner
):
    """Measured pixel by pixel, against how many blocks cover each."""
    expected = chances(0.2, size)
    values = np.asarray(of_ones(key, 0.2, shape=(64, size, size, 128)))
    found = (values == 0).mean(axis=(0, 3))
    # Five standard errors of the most uncertain of at most 256 pixels.
    np.testing.assert_allclose(found, expected, atol=5 * 0.5 / np.sqrt(64 * 128))
    assert found.mean() == pytest.approx(expected.mean(), abs=2e-3)
    for exact, stated in (
        (expected.mean(), share),
        (expected[0, 0], corner),
        (expected[size // 2, size // 2], inner),
    ):
        assert round(exact, 2) == stated
    text = dropblock.drop_block.__doc__
    assert f"{100 * share:.0f} % of a map of 8, 16 or 32" in text
    assert f"{100 * corner:.0f}" in text
    assert f"{100 * inner:.0f} %" in text


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_rescaling_keeps_the_sum_of_ones_of_each_example(key, rate):
    values = np.asarray(of_ones(key, rate, rescale=True))
    sums = values.sum(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(sums, CHANNELS * SIZE**2, rtol=1e-6)
    for example in np.moveaxis(values, -1, 0):
        assert len(np.unique(example)) == 2  # zero and one factor
    plain = np.asarray(of_ones(key, rate))
    np.testing.assert_array_equal(plain, values > 0)  # as they are by default


@pytest.mark.parametrize("rescale", [False, True])
def test_kept_units_have_one_factor_and_dropped_ones_no_gradient(key, rescale):
    x = random_input()
    drop = functools.partial(dropblock.drop_block, rate=0.2, rescale=rescale)
    factor = np.asarray(compiled(drop)(key, jnp.ones_like(x)))
    y = compiled(drop)(key, x)
    np.testing.assert_allclose(y, factor * np.asarray(x), rtol=1e-6)
    gradient = compiled(jax.grad(lambda x: drop(key, x).sum()))(x)
    np.testing.assert_allclose(gradient, factor, rtol=1e-6)


def test_channels_examples_and_keys_are_drawn_apart(key):
    values = np.asarray(of_ones(key, 0.2)) == 0
    seen = {one.tobytes() for one in maps(values)}
    assert len(seen) == CHANNELS * BATCH
    other = np.asarray(of_ones(jax.random.key(1), 0.2)) == 0
    assert (other != values).any()
    np.testing.assert_array_equal(np.asarray(of_ones(key, 0.2)) == 0, values)


@pytest.mark.parametrize("first", [0, 3, 6])
def test_an_example_does_not_depend_on_its_place_in_the_batch(key, first):
    """To the bit: the batches of several devices are parts of one."""
    x = random_input()
    drop = compiled(functools.partial(dropblock.drop_block, rate=0.2))
    part = drop(key, x[..., first : first + 2], offset=jnp.int32(first))
    np.testing.assert_array_equal(part, drop(key, x)[..., first : first + 2])


@pytest.mark.parametrize(("height", "width"), [(2, 2), (1, 1), (2, 5)])
def test_maps_smaller_than_a_block(key, height, width):
    """The block is cut to the map; an example that lost everything is zero."""
    shape = (2, height, width, 200)
    values = np.asarray(of_ones(key, 0.4, shape=shape, rescale=True))
    assert np.isfinite(values).all()
    lost = ~values.any(axis=(0, 1, 2))
    if width < 3:  # one block is the whole map
        for one in maps(values):
            assert len(np.unique(one)) == 1
        assert lost.any()
    assert 0.2 < np.mean(values == 0) < 0.45
    sums = values.sum(axis=(0, 1, 2))
    np.testing.assert_allclose(sums[~lost], 2 * height * width, rtol=1e-5)
    np.testing.assert_array_equal(sums[lost], np.zeros(lost.sum()))


# --- as an operation ------------------------------------------------------------


def context(key, rate=0.3):
    return layers.PLAIN._replace(drop=Drop(key, jnp.float32(rate)))


def test_a_skip_of_stride_1_drops_and_nothing_else_does(key):
    method = methods.msg_das()
    plain, dropping = (
        {op.name: op for op in space.operations}
        for space in (spaces.darts(), method.adapt(spaces.darts()))
    )
    assert tuple(plain) == tuple(dropping)
    for name, operation in dropping.items():
        assert (operation is plain[name]) == (name != "skip_connect")
    x = random_input((2, 8, 8, 4))
    skip = dropping["skip_connect"]
    expected = compiled(functools.partial(dropblock.drop_block, rate=0.3))(key, x)
    dropped = compiled(lambda key: skip.apply({}, x, 1, context(key)))(key)
    np.testing.assert_array_equal(dropped, expected)
    assert (np.asarray(expected) == 0).any()
    # Of stride 2 it is the factorized reduce, as it was.
    assert skip.shapes(2, 2) == plain["skip_connect"].shapes(2, 2)
    weights = {"even": jnp.ones((1, 2)), "odd": jnp.ones((1, 2))}
    halved = skip.apply(weights, x, 2, context(key))
    np.testing.assert_array_equal(
        halved, plain["skip_connect"].apply(weights, x, 2, layers.PLAIN)
    )


def test_evaluation_drops_nothing():
    x = random_input((2, 8, 8, 4))
    skip = dropblock.with_drop_block(operations.SKIP_CONNECT, block_size=3)
    assert skip.apply({}, x, 1, layers.PLAIN) is x
    assert skip.name == "skip_connect"
    assert skip.macs is operations.SKIP_CONNECT.macs


def test_devices_drop_what_one_device_drops(key):
    x = random_input((2, 8, 8, 8))
    skip = dropblock.with_drop_block(operations.SKIP_CONNECT, block_size=3)
    one = compiled(lambda x: skip.apply({}, x, 1, context(key)))(x)
    own = context(key)._replace(axis_name="devices")
    several = compiled(
        jax.vmap(lambda x: skip.apply({}, x, 1, own), in_axes=3, axis_name="devices")
    )(x.reshape(2, 8, 8, 4, 2))
    np.testing.assert_array_equal(np.concatenate(several, axis=-1), one)


# --- as a part of a method ------------------------------------------------------


@pytest.mark.parametrize("rescale", [False, True])
def test_the_skips_alpha_has_p_times_its_gradient(key, rescale):
    """MSG-DAS Eq. 6, of a loss that is linear in the edge's output.

    dL/dalpha = <c, x * mask> dg/dalpha, so in expectation over masks it is that
    without DropBlock times E[mask], pixel by pixel; rescaled it is that itself.
    """
    method = methods.msg_das(
        k=1, drop_rate=schedules.constant(0.2), drop_rescale=rescale
    )
    space = method.adapt(spaces.darts())
    at = space.primitives.index("skip_connect")
    alpha = {name: jnp.zeros((14, 8)).at[:, at].set(50.0) for name in space.cell_types}
    size, number = 8, 2000
    ramp = jnp.linspace(0.0, 1.0, size)
    x = jnp.broadcast_to(1.0 + ramp[:, None, None], (1, size, size, 1))
    c = jnp.broadcast_to(2.0 - ramp[:, None], (1, size, size, 1))

    def of_alpha(drop_key, dropping):
        def loss(alpha):
            path = method.relax(key, alpha, jnp.float32(0.5), space)["normal"]
            drop = Drop(drop_key, path.drop.rate[0, 0]) if dropping else None
            own = layers.PLAIN._replace(drop=drop)
            y = space.operations[at].apply({}, x, 1, own)
            return path.weight[0, 0] * jnp.vdot(c, y)

        return jax.grad(loss)(alpha)["normal"][0]

    keys = jax.random.split(key, number)
    plain = np.asarray(of_alpha(key, False))
    assert abs(plain).min() > 0
    each = np.asarray(compiled(jax.vmap(lambda k: of_alpha(k, True)))(keys))
    ratio = each[:, at] / plain[at]
    # Every entry of alpha's row scales alike: the Jacobian of g is its own.
    np.testing.assert_allclose(each, ratio[:, None] * plain, rtol=1e-3)
    share = np.asarray(c * x)[0, :, :, 0]
    expected = (share * (1 - chances(0.2, size))).sum() / share.sum()
    error = ratio.std() / np.sqrt(number)
    assert error < 0.005
    if rescale:
        assert abs(ratio.mean() - 1) < 0.02
    else:
        assert abs(ratio.mean() - expected) < 5 * error
        assert 0.79 < expected < 0.84


def test_bad_blocks_and_rates_are_refused():
    with pytest.raises(ValueError, match="block_size=0 is not at least 1"):
        methods.msg_das(block_size=0)
    for ends in ((0.0, 1.0), (-0.1, 0.2), (1.5, 0.0)):
        with pytest.raises(ValueError, match=r"drop rate goes from .*not in \[0, 1\)"):
            methods.msg_das(drop_rate=schedules.linear(*ends))


def test_every_edge_and_cell_of_a_sub_graph_has_a_key_of_its_own(key):
    """At the rate of its schedule; the final architecture drops nothing."""
    method = methods.msg_das(k=3)
    space = method.adapt(spaces.darts())
    alpha = method.init(key, space)
    paths = compiled(lambda key: method.relax(key, alpha, jnp.float32(0.6), space))(key)
    keys = np.concatenate(
        [jax.random.key_data(path.drop.key).reshape(-1, 2) for path in paths.values()]
    )
    assert keys.shape == (2 * 3 * 14, 2)
    assert len(np.unique(keys, axis=0)) == len(keys)
    for path in paths.values():
        np.testing.assert_allclose(path.drop.rate, 0.4 / 3, rtol=1e-6)
        assert path.drop.rate.shape == path.weight.shape == (3, 14)


def test_threefry_is_jaxs():
    key = jnp.uint32(0x13198A2E), jnp.uint32(0x03707344)
    first = jnp.arange(7, dtype=jnp.uint32)[:, None] * jnp.uint32(0x9E3779B9)
    second = jnp.arange(5, dtype=jnp.uint32)[None] - jnp.uint32(2)
    ours = jnp.stack(dropblock._threefry(key, first, second))
    counts = jnp.stack([jnp.broadcast_to(x, (7, 5)) for x in (first, second)])
    np.testing.assert_array_equal(ours, threefry_2x32(key, counts))
