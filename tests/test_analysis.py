"""Measures of alpha against closed forms, `jax.hessian` and brute force."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import analysis, genotypes, layers, spaces, supernet, teachers
from nasjax.architecture import Mixture
from nasjax.genotype import Genotype
from nasjax.spaces import derive


def _symmetric(eigenvalues, seed=0):
    size = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return jnp.asarray(q @ np.diag(eigenvalues) @ q.T, jnp.float32)


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [3.0, -1.0, 0.5],
        [2.0, -7.0, 1.0, 0.0],  # the largest magnitude is negative
        [5.0, 5.0, 1.0],  # twice
        [*np.linspace(-2.0, 2.5, 63), 6.0],  # too many for the full matrix
        [*np.linspace(-2.0, 2.5, 63), -6.0],
    ],
    ids=["full", "negative", "double", "lanczos", "lanczos_negative"],
)
def test_eigenvalue_of_a_quadratic(key, eigenvalues):
    matrix = _symmetric(eigenvalues)
    alpha = jax.random.normal(key, (len(eigenvalues),))
    value, residual = analysis.dominant_eigenvalue(
        lambda a: 0.5 * a @ matrix @ a + a.sum(), alpha, key=key
    )
    expected = max(eigenvalues, key=abs)
    assert value == pytest.approx(expected, rel=1e-3)
    assert 0 <= residual < 1e-2 * abs(expected)


def _loss(alpha):
    """Not quadratic, over a tree as alpha is one."""
    mixed = jax.nn.softmax(alpha["normal"]) @ jnp.arange(4.0)
    return jnp.sin(mixed).sum() * jnp.exp(0.3 * alpha["reduce"]).mean()


@pytest.mark.parametrize("full_up_to", [0, 99])
def test_eigenvalue_is_that_of_jax_hessian(key, full_up_to):
    keys = jax.random.split(key)
    alpha = {
        "normal": jax.random.normal(keys[0], (6, 4)),
        "reduce": jax.random.normal(keys[1], (2, 4)),
    }
    flat, unravel = jax.flatten_util.ravel_pytree(alpha)
    hessian = jax.jit(jax.hessian(lambda f: _loss(unravel(f))))(flat)
    values = np.linalg.eigvalsh(np.asarray(hessian, np.float64))
    value, residual = analysis.dominant_eigenvalue(
        _loss, alpha, key=key, full_up_to=full_up_to
    )
    assert value == pytest.approx(values[np.abs(values).argmax()], rel=1e-3)
    assert residual < 1e-2 * abs(value)


@pytest.mark.parametrize("size", [3, 40])
def test_no_curvature_at_all(key, size):
    value, residual = analysis.dominant_eigenvalue(jnp.sum, jnp.ones(size), key=key)
    assert (value, residual) == (0.0, 0.0)


def test_a_curvature_that_is_no_number_is_refused(key):
    with pytest.raises(ValueError, match="not finite"):
        analysis.dominant_eigenvalue(lambda a: jnp.log(a).sum(), jnp.zeros(2), key=key)


def test_products_pass_through_our_own_derivatives(key):
    """Pooling and depthwise convolutions refuse forward mode; this needs none."""
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (2, 6, 6, 3))
    weights = jax.random.normal(keys[1], (2, 3, 3))

    def loss(alpha):
        y = alpha[0] * layers.max_pool_3x3(jnp.tanh(alpha[1] * x))
        y += alpha[2] * layers.depthwise(jnp.tanh(y), alpha[0] * weights, form="shift")
        return jnp.square(y).mean()

    alpha = jnp.array([0.7, 0.4, -0.3])
    vector = jax.random.normal(keys[2], (3,))

    @jax.jit
    def product(alpha):
        return analysis.hessian_vector_product(loss, alpha, vector)

    found = product(alpha)
    step, gradient = 1e-2, jax.jit(jax.grad(loss))
    ahead, behind = (gradient(alpha + s * step * vector) for s in (1, -1))
    np.testing.assert_allclose(found, (ahead - behind) / (2 * step), rtol=2e-2)


def test_entropy_and_margins():
    alpha = np.array([[1.0, 1.0, 1.0, 1.0], [4.0, 0.0, 1.0, 0.0]])
    entropy = analysis.edge_entropy(alpha)
    assert entropy[0] == pytest.approx(math.log(4))
    assert entropy[1] == pytest.approx(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert analysis.edge_entropy(np.zeros((1, 3))).tolist() == [0.0]
    assert analysis.edge_margins(alpha).tolist() == [0.0, 3.0]
    assert math.isnan(analysis.edge_margins([[1.0]])[0])


def test_skip_connects_over_time():
    space = spaces.nasbench201()
    skip = space.primitives.index("skip_connect")
    plain = np.zeros((6, 5))
    plain[:, 3] = 1.0
    some = plain.copy()
    some[[0, 4], skip] = 2.0
    found = analysis.skip_connects(space, [{"cell": plain}, {"cell": some}])
    assert found == {"cell": [0, 2]}


def _tau_b(first, second):
    """By its definition, over all pairs."""
    concordance, ties_first, ties_second, pairs = 0, 0, 0, 0
    for (a, b), (c, d) in itertools.combinations(zip(first, second, strict=True), 2):
        concordance += np.sign(a - c) * np.sign(b - d)
        ties_first += a == c
        ties_second += b == d
        pairs += 1
    return concordance / math.sqrt((pairs - ties_first) * (pairs - ties_second))


def test_kendall_tau_counts_pairs():
    random = np.random.default_rng(0)
    searched = random.integers(0, 6, 25) / 10  # with ties
    retrained = searched + random.normal(0, 0.3, 25)
    tau, p_value = analysis.kendall_tau(searched, retrained)
    assert tau == pytest.approx(_tau_b(searched, retrained))
    assert 0 < p_value < 1
    assert analysis.kendall_tau([1, 2, 3], [3, 2, 1])[0] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("first", "second"), [([1.0], [1.0]), ([1, 2], [1, 2, 3]), ([1, math.nan], [1, 2])]
)
def test_kendall_tau_refuses(first, second):
    with pytest.raises(ValueError, match=r"architectures|finite"):
        analysis.kendall_tau(first, second)


def test_teachers_that_agree_and_do_not():
    ring = teachers.init_ring(window=2, num_examples=4, num_classes=2)
    said = {
        3: ([0, 1, 2], [[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]),
        4: ([0, 1], [[0.8, 0.2], [0.3, 0.7]]),
    }
    for epoch, (ids, probs) in said.items():
        ring = teachers.record(ring, jnp.array(ids), jnp.array(probs), epoch=epoch)
    labels = jnp.array([0, 1, 1, 0])
    found = analysis.teacher_agreement(ring, labels, epoch=5)
    # Example 3 is never covered, 2 has one teacher, 1 has two that differ, whose vote
    # [0.6, 0.4] is wrong.
    assert float(found.coverage) == pytest.approx(3 / 4)
    assert float(found.agreement) == pytest.approx(2 / 3)
    assert float(found.accuracy) == pytest.approx(2 / 3)

    def kl(p, q):
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    apart = [
        (kl([0.9, 0.1], [0.85, 0.15]) + kl([0.8, 0.2], [0.85, 0.15])) / 2,
        (kl([0.9, 0.1], [0.6, 0.4]) + kl([0.3, 0.7], [0.6, 0.4])) / 2,
        0.0,
    ]
    assert float(found.divergence) == pytest.approx(np.mean(apart), rel=1e-4)
    weights = jnp.array([1.0, 0.0, 1.0, 1.0])
    counted = analysis.teacher_agreement(ring, labels, epoch=5, weights=weights)
    assert float(counted.coverage) == pytest.approx(2 / 3)
    assert float(counted.accuracy) == 1.0
    later = analysis.teacher_agreement(ring, labels, epoch=9)
    assert [float(x) for x in later] == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("space", [spaces.darts(), spaces.nasbench201()])
def test_derived_architecture_is_the_genotype(space):
    random = np.random.default_rng(3)
    shape = space.num_edges, space.num_ops
    genotype = derive(space, {n: random.normal(size=shape) for n in space.cell_types})
    found = analysis.derived_architecture(space, genotype)
    for name in space.cell_types:
        path = found[name]
        kept = {
            (space.primitives[path.operation[edge]], space.edges[edge])
            for edge in np.flatnonzero(path.active)
        }
        assert kept == set(analysis.kept_edges(genotype, name))
        assert path.weight.tolist() == [1.0] * space.num_edges


def test_derived_architecture_refuses_another_space():
    genotype = Genotype("nasbench201", arch_str="|max_pool_3x3~0|")
    with pytest.raises(ValueError, match="max_pool_3x3 on edge 1←0 is not of nas"):
        analysis.derived_architecture(spaces.nasbench201(), genotype)


def test_derived_architecture_runs_as_its_one_hot_mixture(key):
    space = spaces.nasbench201()
    net = supernet.build(space, channels=2, num_cells=1, image_shape=(8, 8, 1))
    genotype = Genotype(
        "nasbench201",
        arch_str="|nor_conv_3x3~0|+|none~0|skip_connect~1|"
        "+|avg_pool_3x3~0|nor_conv_1x1~1|skip_connect~2|",
    )
    path = analysis.derived_architecture(space, genotype)
    one_hot = jax.nn.one_hot(path["cell"].operation, space.num_ops)
    images = jax.random.normal(key, (4, 8, 8, 1))
    weights = net.init(key)
    np.testing.assert_allclose(
        jax.jit(net.apply)(weights, path, images),
        jax.jit(net.apply)(weights, {"cell": Mixture(one_hot)}, images),
        atol=1e-4,
    )


def _cell(*operations, sources=(0, 1, 0, 1, 0, 1, 0, 1)):
    return tuple(zip(operations, sources, strict=True))


def _darts(normal):
    plain = _cell(*["sep_conv_3x3"] * 8)
    return Genotype("darts", normal, (2, 3, 4, 5), plain, (2, 3, 4, 5))


@pytest.mark.parametrize(
    ("genotype", "reasons"),
    [
        (_darts(_cell(*["sep_conv_3x3"] * 6, "skip_connect", "skip_connect")), []),
        (
            _darts(_cell(*["sep_conv_3x3"] * 5, *["skip_connect"] * 3)),
            ["3 of 8 edges of the normal cell are skip connections (more than 2)."],
        ),
        (
            _darts(_cell(*["skip_connect"] * 4, *["max_pool_3x3"] * 4)),
            [
                "4 of 8 edges of the normal cell are skip connections (more than 2).",
                "The normal cell has no operation with weights.",
            ],
        ),
        (
            Genotype(
                "nasbench201",
                arch_str="|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|"
                "nor_conv_3x3~2|",
            ),
            ["Nothing reaches the output of the cell."],
        ),
    ],
)
def test_collapse_is_told_with_its_reason(genotype, reasons):
    assert analysis.collapse_reasons(genotype) == reasons


@pytest.mark.parametrize(
    "name", ["DARTS_V2", "P_DARTS", "PC_DARTS", "DRNAS_CIFAR", "SGAS_CRI_1", "MDENAS"]
)
def test_published_cells_that_train_well_are_no_collapse(name):
    assert analysis.collapse_reasons(getattr(genotypes, name)) == []


def test_a_rising_eigenvalue_is_a_reason():
    steady = [(epoch, 0.1) for epoch in range(1, 31)]
    assert analysis.eigenvalue_rise(steady) is None
    assert analysis.eigenvalue_rise([]) is None
    assert analysis.eigenvalue_rise([(1, 0.1), (2, 9.0)]) is None  # too early to say
    doubled = [(epoch, 0.1 if epoch <= 15 else 0.2) for epoch in range(1, 31)]
    # Means over 5 epochs: 0.1 against 0.1 + k/50; the quotient passes 0.75 at k = 2.
    epoch, ratio = analysis.eigenvalue_rise(doubled)
    assert (epoch, ratio) == (17, pytest.approx(1.4))
    every_second = doubled[1::2]
    assert analysis.eigenvalue_rise(every_second)[0] in (17, 18, 20)
    good = _darts(_cell(*["sep_conv_3x3"] * 8))
    (reason,) = analysis.collapse_reasons(good, eigenvalues=doubled)
    assert "1.4 times" in reason
    assert "epoch 17" in reason
