"""Array primitives against loops in float64 and against PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from nasjax import layers

CHANNELS, BATCH = 3, 2
SIZES = [(8, 8), (7, 6), (2, 2)]
FORMS = ("banded", "grouped", "shift")
DENSE_FORMS = ("plain", "stacked", "windows")
#: The same numbers, compiled in half the time.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def distinct(seed: int, *shape: int) -> np.ndarray:
    """No two entries closer than 0.05: no ties, and none within a difference."""
    values = np.arange(np.prod(shape)) - np.prod(shape) / 2
    order = np.random.default_rng(seed).permutation(values)
    return (0.05 * order).reshape(shape).astype(np.float32)


def strided(size: int, stride: int) -> int:
    return -(-size // stride)


def loop_convolution(x, kernel, cotangent, *, stride, dilation):
    """Value and both gradients of a padded convolution, tap by tap."""
    x, kernel, cotangent = (np.float64(a) for a in (x, kernel, cotangent))
    size = kernel.shape[-1]
    y = np.zeros((kernel.shape[0], *cotangent.shape[1:]))
    dx, dk = np.zeros_like(x), np.zeros_like(kernel)
    for r, c, i, j in np.ndindex(*cotangent.shape[1:3], size, size):
        row = r * stride + (i - size // 2) * dilation
        column = c * stride + (j - size // 2) * dilation
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            tap, pixel, back = kernel[:, :, i, j], x[:, row, column], cotangent[:, r, c]
            y[:, r, c] += tap @ pixel
            dx[:, row, column] += tap.T @ back
            dk[:, :, i, j] += back @ pixel.T
    return y, dx, dk


def pullback(f, cotangent, *arguments):
    """Value and gradients of f, compiled."""

    @compiled
    def run(cotangent, *arguments):
        y, pull = jax.vjp(f, *arguments)
        return y, *pull(cotangent.astype(y.dtype))

    return run(jnp.asarray(cotangent), *map(jnp.asarray, arguments))


def assert_close(actual, expected, tolerance=2e-6):
    """To a tolerance in units of the largest expected entry."""
    actual, expected = np.float64(actual), np.float64(expected)
    assert actual.shape == expected.shape
    scale = max(np.abs(expected).max(), 1e-3)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


# --- convolutions ---------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("k", "dilation", "sizes"),
    [
        (3, 1, SIZES),
        (3, 2, SIZES),
        (5, 1, [*SIZES, (3, 12)]),  # two blocks of columns in the weight gradient
        (5, 2, SIZES),
        (7, 1, [(5, 8)]),
        (7, 2, [(6, 3)]),
    ],
)
def test_depthwise_and_its_gradients(form, stride, k, dilation, sizes):
    for height, width in sizes:
        x = normal(0, CHANNELS, height, width, BATCH)
        kernel = normal(1, CHANNELS, k, k)
        out = strided(height, stride), strided(width, stride)
        cotangent = normal(2, CHANNELS, *out, BATCH)
        dense = np.zeros((CHANNELS, CHANNELS, k, k))
        dense[range(CHANNELS), range(CHANNELS)] = kernel
        y, dx, dk = loop_convolution(
            x, dense, cotangent, stride=stride, dilation=dilation
        )

        def f(x, kernel):
            return layers.depthwise(
                x, kernel, stride=stride, dilation=dilation, form=form
            )

        expected = y, dx, dk[range(CHANNELS), range(CHANNELS)]
        for actual, wanted in zip(
            pullback(f, cotangent, x, kernel), expected, strict=True
        ):
            assert_close(actual, wanted)


@pytest.mark.parametrize("form", DENSE_FORMS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_convolution_and_its_gradients(form, stride, k):
    for height, width in SIZES:
        x = normal(0, CHANNELS, height, width, BATCH)
        kernel = normal(1, 4, CHANNELS, k, k)
        out = strided(height, stride), strided(width, stride)
        cotangent = normal(2, 4, *out, BATCH)
        expected = loop_convolution(x, kernel, cotangent, stride=stride, dilation=1)

        def f(x, kernel):
            return layers.convolution(x, kernel, stride=stride, form=form)

        for actual, wanted in zip(
            pullback(f, cotangent, x, kernel), expected, strict=True
        ):
            assert_close(actual, wanted)


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_and_its_gradients(stride):
    x, kernel = normal(0, CHANNELS, 7, 6, BATCH), normal(1, 4, CHANNELS)
    cotangent = normal(2, 4, strided(7, stride), strided(6, stride), BATCH)
    y, dx, dk = loop_convolution(
        x, kernel[:, :, None, None], cotangent, stride=stride, dilation=1
    )

    def f(x, kernel):
        return layers.pointwise(x, kernel, stride=stride)

    expected = y, dx, dk[:, :, 0, 0]
    for actual, wanted in zip(pullback(f, cotangent, x, kernel), expected, strict=True):
        assert_close(actual, wanted)


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        (lambda x, k: layers.depthwise(x, k, form="fast"), "auto, banded"),
        (lambda x, k: layers.convolution(x, k[None], form="fast"), "auto, plain"),
    ],
    ids=["depthwise", "convolution"],
)
def test_an_unknown_form_is_refused(call, allowed):
    x, kernel = jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 3, 3))
    with pytest.raises(ValueError, match=f"'fast' is not one of .*{allowed}"):
        call(x, kernel)


# --- pooling --------------------------------------------------------------------


def windows(height, width, stride):
    """Each output pixel with the input pixels of its 3×3 window."""
    for r, c in np.ndindex(strided(height, stride), strided(width, stride)):
        rows = slice(max(r * stride - 1, 0), r * stride + 2)
        columns = slice(max(c * stride - 1, 0), c * stride + 2)
        yield r, c, rows, columns


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [*SIZES, (1, 5)])
def test_average_leaves_the_padding_out(size, stride):
    x = normal(0, CHANNELS, *size, BATCH)
    out = strided(size[0], stride), strided(size[1], stride)
    cotangent = normal(1, CHANNELS, *out, BATCH)
    y, dx = np.zeros(cotangent.shape), np.zeros(x.shape)
    for r, c, rows, columns in windows(*size, stride):
        window = np.float64(x[:, rows, columns])
        count = window.shape[1] * window.shape[2]
        y[:, r, c] = window.sum(axis=(1, 2)) / count
        dx[:, rows, columns] += cotangent[:, None, None, r, c] / count
    actual = pullback(lambda x: layers.avg_pool_3x3(x, stride=stride), cotangent, x)
    assert_close(actual[0], y)
    assert_close(actual[1], dx)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [*SIZES, (1, 5)])
@pytest.mark.parametrize("ties", [False, True])
def test_maximum_sends_its_gradient_to_one_maximum(size, stride, ties):
    x = distinct(0, CHANNELS, *size, BATCH)
    if ties:
        x = np.round(x * 0.4)  # a handful of values
    out = strided(size[0], stride), strided(size[1], stride)
    # Powers of two: whoever gets which cotangent can be read off the sum.
    cotangent = 2.0 ** np.random.default_rng(1).integers(0, 8, (CHANNELS, *out, BATCH))
    y, first = np.zeros(cotangent.shape), np.zeros(x.shape)
    may = np.zeros(x.shape, bool)
    for r, c, rows, columns in windows(*size, stride):
        window = x[:, rows, columns]
        y[:, r, c] = window.max(axis=(1, 2))
        may[:, rows, columns] |= window == y[:, None, None, r, c]
        for channel, example in np.ndindex(CHANNELS, BATCH):
            own = window[channel, :, :, example]
            where = np.unravel_index(own.argmax(), own.shape)  # row by row
            at = rows.start + where[0], columns.start + where[1]
            first[channel, *at, example] += cotangent[channel, r, c, example]
    value, gradient = pullback(
        lambda x: layers.max_pool_3x3(x, stride=stride), cotangent, x
    )
    np.testing.assert_array_equal(value, y)
    assert np.sum(gradient) == cotangent.sum()
    assert not np.asarray(gradient)[~may].any()
    np.testing.assert_array_equal(gradient, first)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pool", ["max", "avg"])
def test_pooling_is_pytorchs(pool, stride):
    torch = pytest.importorskip("torch")
    x = distinct(0, CHANNELS, 7, 6, BATCH)
    cotangent = normal(1, CHANNELS, strided(7, stride), strided(6, stride), BATCH)
    there = torch.tensor(x.transpose(3, 0, 1, 2), requires_grad=True)
    if pool == "max":
        y = torch.nn.functional.max_pool2d(there, 3, stride, 1)
        f = layers.max_pool_3x3
    else:
        y = torch.nn.functional.avg_pool2d(there, 3, stride, 1, count_include_pad=False)
        f = layers.avg_pool_3x3
    y.backward(torch.tensor(cotangent.transpose(3, 0, 1, 2)))
    value, gradient = pullback(lambda x: f(x, stride=stride), cotangent, x)
    assert_close(value, y.detach().numpy().transpose(1, 2, 3, 0))
    assert_close(gradient, there.grad.numpy().transpose(1, 2, 3, 0))


def test_average_of_two_by_two_leaves_an_odd_last_row_out():
    x = normal(0, CHANNELS, 5, 4, BATCH)
    expected = np.zeros((CHANNELS, 2, 2, BATCH))
    for r, c in np.ndindex(2, 2):
        window = x[:, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2]
        expected[:, r, c] = window.mean(axis=(1, 2), dtype=np.float64)
    assert_close(layers.avg_pool_2x2(jnp.asarray(x)), expected)


@pytest.mark.parametrize("size", [*SIZES, (1, 5), (3, 3)])
def test_maximum_of_two_by_two_is_pytorchs_with_an_odd_last_row_alone(size):
    torch = pytest.importorskip("torch")
    x = distinct(0, CHANNELS, *size, BATCH)
    cotangent = normal(1, CHANNELS, strided(size[0], 2), strided(size[1], 2), BATCH)
    there = torch.tensor(x.transpose(3, 0, 1, 2), requires_grad=True)
    y = torch.nn.functional.max_pool2d(there, 2, ceil_mode=True)
    y.backward(torch.tensor(cotangent.transpose(3, 0, 1, 2)))
    value, gradient = pullback(layers.max_pool_2x2, cotangent, x)
    assert_close(value, y.detach().numpy().transpose(1, 2, 3, 0))
    assert_close(gradient, there.grad.numpy().transpose(1, 2, 3, 0))


@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("taps", [(1, 7), (7, 1), (3, 5)])
def test_rectangular_convolution_is_pytorchs(taps, strides):
    torch = pytest.importorskip("torch")
    x, kernel = normal(0, CHANNELS, 7, 6, BATCH), normal(1, 4, CHANNELS, *taps)
    out = strided(7, strides[0]), strided(6, strides[1])
    cotangent = normal(2, 4, *out, BATCH)
    there = [torch.tensor(x.transpose(3, 0, 1, 2)), torch.tensor(kernel)]
    for tensor in there:
        tensor.requires_grad_()
    padding = taps[0] // 2, taps[1] // 2
    y = torch.nn.functional.conv2d(*there, stride=strides, padding=padding)
    y.backward(torch.tensor(cotangent.transpose(3, 0, 1, 2)))
    value, d_x, d_kernel = pullback(
        lambda x, k: layers.rectangular(x, k, strides=strides), cotangent, x, kernel
    )
    assert_close(value, y.detach().numpy().transpose(1, 2, 3, 0))
    assert_close(d_x, there[0].grad.numpy().transpose(1, 2, 3, 0))
    assert_close(d_kernel, there[1].grad.numpy())


# --- batch normalisation --------------------------------------------------------


def test_batch_norm_is_pytorchs_training_form():
    torch = pytest.importorskip("torch")
    x = 3.0 * normal(0, 4, 5, 6, 3) + normal(1, 4, 1, 1, 1)
    cotangent = normal(2, *x.shape)
    there = torch.tensor(x.transpose(3, 0, 1, 2), dtype=torch.float64)
    there.requires_grad_()
    y = torch.nn.functional.batch_norm(there, None, None, training=True, eps=1e-5)
    y.backward(torch.tensor(cotangent.transpose(3, 0, 1, 2), dtype=torch.float64))
    value, gradient = pullback(layers.batch_norm, cotangent, x)
    assert_close(value, y.detach().numpy().transpose(1, 2, 3, 0))
    assert_close(gradient, there.grad.numpy().transpose(1, 2, 3, 0))


def test_batch_norm_over_devices_is_that_of_their_whole_batch():
    """Value and gradient; a mapped axis stands for the devices."""
    x = 3.0 * normal(0, 4, 5, 6, 6) + normal(1, 4, 1, 1, 6)  # no two parts alike
    cotangent = normal(2, *x.shape)
    expected = pullback(layers.batch_norm, cotangent, x)

    def parts(x):
        return jnp.stack(jnp.split(jnp.asarray(x), 3, axis=-1))

    one = functools.partial(layers.batch_norm, axis_name="devices")
    shared = jax.vmap(one, axis_name="devices")
    found = pullback(shared, parts(cotangent), parts(x))
    for actual, wanted in zip(found, expected, strict=True):
        assert_close(jnp.concatenate(actual, axis=-1), wanted, 5e-6)
    alone = jax.vmap(layers.batch_norm)(parts(x))
    difference = np.abs(jnp.concatenate(alone, axis=-1) - expected[0])
    assert difference.max() > 0.1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_relu_is_jaxs(dtype):
    """Its gradient at 0 and of what is not finite, and its dtype, too."""
    x = jnp.asarray([-np.inf, -1.0, -0.0, 0.0, 1e-30, 2.0, np.inf, np.nan], dtype)
    cotangent = jnp.asarray([1.0, np.inf, 2.0, np.nan, 3.0, -4.0, 5.0, 6.0], dtype)
    found, expected = (
        pullback(relu, cotangent, x) for relu in (layers.relu, jax.nn.relu)
    )
    for actual, wanted in zip(found, expected, strict=True):
        assert actual.dtype == wanted.dtype == dtype
        np.testing.assert_array_equal(np.float32(actual), np.float32(wanted))


def test_the_gradient_of_batch_norm_from_what_it_gave():
    x = 3.0 * normal(0, 4, 5, 6, 3) + normal(1, 4, 1, 1, 1)
    cotangent = normal(2, *x.shape)
    y, mean, scale = layers.normalised(jnp.asarray(x))
    np.testing.assert_allclose(mean, x.mean(axis=(1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(scale, 1 / x.std(axis=(1, 2, 3)), rtol=1e-4)
    found = layers.pull_normalised(y, scale, jnp.asarray(cotangent))
    assert_close(found, pullback(layers.batch_norm, cotangent, x)[1])


@pytest.mark.parametrize("of", ["input", "output"])
def test_the_gradient_of_a_weighted_batch_norm(of):
    """Of its factor too, from mean and scale, where these are read as well."""
    x = 3.0 * normal(0, 4, 5, 6, 3) + normal(1, 4, 1, 1, 1)
    cotangent, factor = normal(2, *x.shape), np.float32(-0.7)
    moments_bar = 50.0 * normal(3, 2, len(x))

    def loss(x, factor):
        y, *moments = layers.normalised(x)
        read = jnp.sum(layers.weighted(y, factor) * cotangent)
        return read + jnp.sum(jnp.stack(moments) * moments_bar)

    expected = jax.grad(loss, (0, 1))(jnp.asarray(x), jnp.asarray(factor))
    y, mean, scale = layers.normalised(jnp.asarray(x))
    known = {"input": (jnp.asarray(x), mean), "output": (y, None)}
    given, mean = known[of]
    found = layers.pull_weighted_norm(
        given,
        scale,
        jnp.asarray(cotangent),
        jnp.asarray(factor),
        mean=mean,
        norm_stats_bar=jnp.asarray(moments_bar),
    )
    for actual, wanted in zip(found, expected, strict=True):
        assert_close(actual, wanted)


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e4])
def test_batch_norm_where_the_mean_dwarfs_the_spread(mean):
    x = normal(0, 2, 8, 8, 16) + np.float32(mean)
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=(1, 2, 3), keepdims=True)
    variance = (centred**2).mean(axis=(1, 2, 3), keepdims=True)
    expected = centred / np.sqrt(variance + 1e-5)
    # A float32 mean is some units in its last place off; the spread is right.
    tolerance = 1e-6 + 16 * np.spacing(np.float32(mean))
    value = jax.jit(layers.batch_norm)(jnp.asarray(x))
    np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance)
    spread = np.std(np.float64(value), axis=(1, 2, 3))
    np.testing.assert_allclose(spread, 1.0, rtol=1e-4)


def test_batch_norm_of_a_constant_channel_is_zero_with_a_finite_gradient():
    x = jnp.full((1, 2, 2, 2), 3.0)
    value, gradient = pullback(layers.batch_norm, np.ones(x.shape, np.float32), x)
    np.testing.assert_array_equal(value, np.zeros(x.shape))
    assert np.isfinite(gradient).all()


def test_affine_and_its_gradients():
    x, cotangent = normal(0, CHANNELS, 4, 5, BATCH), normal(1, CHANNELS, 4, 5, BATCH)
    scale, offset = normal(2, CHANNELS), normal(3, CHANNELS)
    value, *gradients = pullback(layers.affine, cotangent, x, scale, offset)
    wide, bar = np.float64(x), np.float64(cotangent)
    by_channel = scale[:, None, None, None], offset[:, None, None, None]
    assert_close(value, wide * by_channel[0] + by_channel[1])
    sums = [np.sum(terms, axis=(1, 2, 3)) for terms in (bar * wide, bar)]
    for gradient, expected in zip(gradients, (bar * by_channel[0], *sums), strict=True):
        assert_close(gradient, expected)


def test_the_gradients_of_a_narrow_affine_are_of_its_dtypes():
    arguments = normal(0, 2, 3, 3, 2), normal(1, 2), normal(2, 2)
    narrow = [jnp.asarray(a, jnp.bfloat16) for a in arguments]
    gradients = pullback(layers.affine, arguments[0], *narrow)[1:]
    assert [g.dtype for g in gradients] == [jnp.bfloat16] * 3


def test_weighted_and_its_gradients():
    x, cotangent = normal(0, CHANNELS, 4, 5, BATCH), normal(1, CHANNELS, 4, 5, BATCH)
    factor = np.float32(-1.7)
    value, x_bar, factor_bar = pullback(layers.weighted, cotangent, x, factor)
    assert_close(value, factor * x)
    assert_close(x_bar, factor * cotangent)
    assert_close(factor_bar, np.vdot(x, cotangent))


# --- arithmetic and derivatives -------------------------------------------------

KERNEL = normal(1, CHANNELS, 3, 3)
DENSE = normal(1, CHANNELS, CHANNELS, 3, 3)


def depthwise_case(form):
    return lambda x, k: layers.depthwise(x, k, stride=2, dilation=2, form=form)


def convolution_case(form):
    return lambda x, k: layers.convolution(x, k, stride=2, form=form)


CASES = {
    **{f"depthwise-{form}": (depthwise_case(form), KERNEL) for form in FORMS},
    **{f"conv-{f}": (convolution_case(f), DENSE) for f in DENSE_FORMS},
    "pointwise": (lambda x, k: layers.pointwise(x, k, stride=2), DENSE[..., 0, 0]),
    "max": (lambda x: layers.max_pool_3x3(x, stride=2),),
    "avg": (lambda x: layers.avg_pool_3x3(x, stride=2),),
    "max 2x2": (layers.max_pool_2x2,),
    "batch_norm": (layers.batch_norm,),
    "weighted": (lambda x, k: layers.weighted(x, k[0, 0, 0]), KERNEL),
    "affine": (lambda x, k: layers.affine(x, k[:, 0, 0], k[:, 0, 1]), KERNEL),
}


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_stays_near_float32_and_keeps_its_dtype(case):
    f, *kernels = CASES[case]
    x = normal(0, CHANNELS, 6, 7, 4)
    wide = compiled(f)(jnp.asarray(x), *map(jnp.asarray, kernels))
    narrow = compiled(f)(jnp.asarray(x, jnp.bfloat16), *map(jnp.asarray, kernels))
    assert narrow.dtype == jnp.bfloat16
    # Eight bits of mantissa: 2**-9 for each rounding, a few of them.
    assert_close(narrow, wide, 2**-6)


@pytest.mark.parametrize("case", CASES)
def test_second_derivatives(case):
    f, *kernels = CASES[case]
    x = distinct(0, CHANNELS, 3, 4, 2)

    # A square on top: a linear map would have no second derivative to get wrong.
    def squared(*arguments):
        return jnp.square(f(*arguments))

    check_grads(
        jax.jit(squared),
        (jnp.asarray(x), *map(jnp.asarray, kernels)),
        order=2,
        modes=["rev"],
        atol=2e-2,
        rtol=2e-2,
        eps=1e-2,
    )


def test_raised_adds_a_scalar_and_sums_its_gradient_in_float32():
    """A sum in bfloat16 ends at 256, where adding 1 changes nothing."""
    x = jnp.zeros((2, 3, 8, 8, 16), jnp.bfloat16)
    offset = jnp.array([0.5, -2.0])
    y, pull = jax.vjp(layers.raised, x, offset)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(y, np.float32)[:, 0, 0, 0, 0], offset)
    cotangent = jnp.stack([jnp.ones(x.shape[1:]), jnp.full(x.shape[1:], 2.0)])
    x_bar, offset_bar = pull(cotangent.astype(jnp.bfloat16))
    np.testing.assert_array_equal(np.asarray(x_bar, np.float32), cotangent)
    np.testing.assert_array_equal(offset_bar, [3072.0, 6144.0])
