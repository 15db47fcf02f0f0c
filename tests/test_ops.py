"""Every candidate operation against its PyTorch module under shared weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import layers, operations, spaces

CHANNELS, BATCH = 4, 3
CASES = [
    (space, operation, stride)
    for space in ("darts", "nasbench201")
    for operation in spaces.SPACES[space]().operations
    for stride in (1, 2)
]
every_operation = pytest.mark.parametrize(
    ("space", "operation", "stride"),
    CASES,
    ids=[f"{space}-{op.name}-{stride}" for space, op, stride in CASES],
)
#: The same numbers, compiled in half the time.
OPTIONS = {"xla_backend_optimization_level": 0}


def draw(operation, stride, seed=0):
    template = {
        name: layers.kernel(*shape)
        for name, shape in operation.shapes(CHANNELS, stride).items()
    }
    return layers.draw(jax.random.key(seed), template) if template else {}


def there(module):
    """Parameters in the order of the computation, and our names of them."""
    parameters = list(module.parameters())
    names = {
        0: [],
        1: ["kernel"],
        2: ["depthwise1", "pointwise1"],
        4: ["depthwise1", "pointwise1", "depthwise2", "pointwise2"],
    }[len(parameters)]
    if hasattr(module, "conv_2"):
        names = ["even", "odd"]
    return dict(zip(names, parameters, strict=True))


def in_shape(array, parameter):
    """Our array in the shape of a torch kernel: axes of length 1 come or go."""
    assert array.size == parameter.numel()
    return np.asarray(array).reshape(tuple(parameter.shape))


def reference(space, operation, stride, weights):
    torch = pytest.importorskip("torch")
    from tests.oracles.torch_search import OPS

    module = OPS[space][operation.name](CHANNELS, stride).double()
    parameters = there(module)
    assert set(parameters) == set(weights)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.tensor(in_shape(weights[name], parameter)))
    return torch, module, parameters


def assert_near(actual, expected, what):
    scale = max(np.abs(expected).max(), 1e-3)
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=5e-5 * scale, err_msg=what
    )


@every_operation
def test_values_and_gradients_are_pytorchs(space, operation, stride):
    weights = draw(operation, stride)
    torch, module, parameters = reference(space, operation, stride, weights)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(CHANNELS, 8, 6, BATCH)).astype(np.float32)
    cotangent = rng.normal(size=(CHANNELS, 8 // stride, 6 // stride, BATCH))
    pixels = torch.tensor(x.transpose(3, 0, 1, 2), dtype=torch.float64)
    pixels.requires_grad_()
    y = module(pixels)
    y.backward(torch.tensor(cotangent.transpose(3, 0, 1, 2)))

    def run(weights, x, cotangent):
        value, pull = jax.vjp(
            lambda w, x: operation.apply(w, x, stride, layers.Context()), weights, x
        )
        return value, *pull(cotangent)

    value, d_weights, d_x = jax.jit(run, compiler_options=OPTIONS)(
        weights, jnp.asarray(x), jnp.asarray(cotangent, jnp.float32)
    )
    assert_near(value, y.detach().numpy().transpose(1, 2, 3, 0), "value")
    assert_near(d_x, pixels.grad.numpy().transpose(1, 2, 3, 0), "input")
    for name, parameter in parameters.items():
        assert np.abs(parameter.grad.numpy()).max() > 1e-2
        got = in_shape(d_weights[name], parameter)
        assert_near(got, parameter.grad.numpy(), name)


@every_operation
def test_macs_are_those_of_the_convolutions_that_run(space, operation, stride):
    torch, module, _ = reference(space, operation, stride, draw(operation, stride))
    count = 0

    def hook(layer, _, y):
        nonlocal count
        taps = layer.in_channels // layer.groups * np.prod(layer.kernel_size)
        count += int(taps) * y[0].numel()

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(hook)
    module(torch.zeros(2, CHANNELS, 8, 6, dtype=torch.float64))
    macs = operation.macs(CHANNELS, (8, 6), stride)
    assert macs == count
    assert isinstance(macs, int)


@every_operation
def test_odd_sizes_are_rounded_up_and_context_changes_nothing(space, operation, stride):
    weights = draw(operation, stride)
    x = jnp.asarray(
        np.random.default_rng(0).normal(size=(CHANNELS, 5, 3, BATCH)), jnp.float32
    )
    forms = ("banded", "grouped", "shift")
    uses_form = any(name.startswith("depthwise") for name in weights)
    values = [
        jax.jit(
            lambda w, x, form=form: operation.apply(w, x, stride, layers.Context(form)),
            compiler_options=OPTIONS,
        )(weights, x)
        for form in (forms if uses_form else forms[:1])
    ]
    assert values[0].shape == (CHANNELS, -(-5 // stride), -(-3 // stride), BATCH)
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], rtol=0, atol=2e-5)


@every_operation
def test_devices_that_normalise_together_give_what_one_gives(space, operation, stride):
    """A mapped axis stands for the devices."""
    weights = draw(operation, stride)
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 5.0, 1.0, 5.0])  # parts of the batch are not alike
    x = jnp.asarray(scale * rng.normal(size=(CHANNELS, 4, 4, 4)), jnp.float32)
    together, alone = (
        layers.Context(axis_name="devices", synchronised=flag) for flag in (True, False)
    )

    def spread(context):
        def run(weights, x):
            return operation.apply(weights, x, stride, context)

        mapped = jax.vmap(run, in_axes=(None, 0), axis_name="devices")
        parts = jnp.stack([x[..., 0::2], x[..., 1::2]])
        y = jax.jit(mapped, compiler_options=OPTIONS)(weights, parts)
        return jnp.stack([y[0], y[1]], axis=-1).reshape(*y.shape[1:-1], -1)

    whole = operation.apply(weights, x, stride, layers.PLAIN)
    np.testing.assert_allclose(spread(together), whole, rtol=0, atol=2e-5)
    plain = operation.name in ("none", "skip_connect") and stride == 1
    plain |= operation in (operations.PLAIN_AVG_POOL_3X3, operations.NONE)
    apart = float(jnp.abs(spread(alone) - whole).max())
    assert (apart < 2e-5) if plain else (apart > 0.1)


@every_operation
def test_only_none_is_zero(space, operation, stride):
    x = jnp.asarray(
        np.random.default_rng(0).normal(size=(CHANNELS, 4, 4, BATCH)), jnp.float32
    )
    y = operation.apply(draw(operation, stride), x, stride, layers.Context())
    assert operation.is_zero == (operation.name == "none") == (not np.any(y))


def test_a_factorized_reduction_of_odd_sizes_pads_the_shifted_half():
    """By hand: ReLU, every other pixel, and every other pixel from (1, 1) on."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5, 5, BATCH))
    even, odd = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    wide = np.zeros((3, 6, 6, BATCH))
    wide[:, :5, :5] = np.maximum(x, 0)
    halves = np.concatenate(
        [
            np.einsum("oc,chwb->ohwb", even, wide[:, 0::2, 0::2]),
            np.einsum("oc,chwb->ohwb", odd, wide[:, 1::2, 1::2]),
        ]
    )
    mean = halves.mean(axis=(1, 2, 3), keepdims=True)
    spread = np.sqrt(halves.var(axis=(1, 2, 3), keepdims=True) + 1e-5)
    weights = {"even": jnp.asarray(even, "f4"), "odd": jnp.asarray(odd, "f4")}
    halve = operations.chain("halve", layers.FACTORIZED_REDUCE)
    value = halve.apply(weights, jnp.asarray(x, "f4"), 2, layers.PLAIN)
    np.testing.assert_allclose(value, (halves - mean) / spread, rtol=0, atol=2e-5)


def test_an_odd_number_of_channels_is_split_in_two_halves():
    shapes = layers.FACTORIZED_REDUCE.shapes(3, 5)
    assert shapes == {"even": (2, 3), "odd": (3, 3)}


def test_draws_are_uniform_within_one_over_the_root_of_the_fan_in():
    template = {
        "dense": layers.kernel(64, 16, 3, 3),
        "stack": layers.kernel(32, 8, stack=(5, 4)),
        "one": layers.Constant((3,), 1.0),
    }
    drawn = layers.draw(jax.random.key(0), template)
    for name, fan_in in (("dense", 16 * 9), ("stack", 8)):
        values = np.asarray(drawn[name])
        assert values.shape == template[name].shape
        assert values.dtype == np.float32
        unit = values * np.sqrt(fan_in)
        # Uniform in [-1, 1]: variance 1/3, and nothing outside.
        assert np.abs(unit).max() <= 1.0
        assert unit.var() == pytest.approx(1 / 3, rel=0.05)
        assert abs(unit.mean()) < 0.03
    np.testing.assert_array_equal(drawn["one"], np.ones(3))
    assert np.asarray(drawn["stack"]).std(axis=(0, 1)).min() > 0  # not one kernel
    other = layers.draw(jax.random.key(1), template)
    assert (np.asarray(other["dense"]) != np.asarray(drawn["dense"])).mean() > 0.99
