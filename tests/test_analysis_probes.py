"""Measures in the course of a search: when they are taken, and of what."""

import functools
import json
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from experiments.configs import base, searches
from experiments.launch import build
from nasjax import losses
from nasjax.analysis import derived_architecture, probes
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.methods import darts, sd_darts
from nasjax.runtime.parallel import AXIS
from nasjax.search import epoch
from tests import searching

BATCHES = 2
#: Measures that a configuration asks for.
PROBES = (
    *("decidedness", "teachers"),
    *("eigenvalue", "sharpness", "discretization", "draws", "ranking"),
)


def _logged(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["phase"] == "analysis"]


@pytest.fixture(scope="module")
def linear():
    """A task whose net has every derivative, with a state that knows something."""
    task = searching.task("linear")
    state = task.new_state()
    alpha = {"cell": jax.random.normal(jax.random.key(1), (6, 5))}
    return task, state._replace(alpha=alpha)


def _loss(task, state):
    """The validation loss of the first batches, written out in one go."""
    order = epoch.valid_order(task.data, task.keys, axis_name=None)[:BATCHES]
    batches = [epoch.take_valid(task.data, task.keys, row) for row in order]
    images, labels, weights = (
        jnp.concatenate([getattr(batch, name) for batch in batches])
        for name in ("images", "labels", "weights")
    )

    def loss(alpha):
        flat = images.reshape(len(images), -1)
        shares = jax.nn.softmax(alpha)
        kernel = jnp.einsum("eo,eopy->py", shares, state.weights["kernel"])
        return losses.cross_entropy(flat @ kernel, labels, weights)

    return loss


def test_eigenvalue_is_that_of_the_hessian_of_the_validation_loss(linear):
    task, state = linear
    values = probes.eigenvalue(batches=BATCHES).measure(task, state)
    flat = state.alpha["cell"].ravel()
    loss = _loss(task, state)
    hessian = jax.jit(jax.hessian(lambda f: loss(f.reshape(6, 5))))(flat)
    every = np.linalg.eigvalsh(np.asarray(hessian, np.float64))
    expected = every[np.abs(every).argmax()]
    assert values["eigenvalue"] == pytest.approx(expected, rel=1e-3)
    assert values["eigenvalue_residual"] < 1e-3 * abs(expected)


@functools.cache
def _on_two_devices():
    net = searching.linear_net()
    context = net.settings.context._replace(axis_name=AXIS)
    net = net._replace(settings=net.settings._replace(context=context))
    return searching.prepare(net, darts(), num_devices=2)


def test_devices_change_no_eigenvalue(linear):
    task, state = linear
    shared = _on_two_devices()
    # Of the same data: devices and their number decide nothing of it.
    one = probes.eigenvalue(batches=BATCHES).measure(task, state)
    two = probes.eigenvalue(batches=BATCHES).measure(
        shared, shared.devices.shard_state(state)
    )
    assert two["eigenvalue"] == pytest.approx(one["eigenvalue"], rel=1e-4)


def _written_out(task):
    """``(alpha, weights) -> (loss, gradients)`` of the first batches, in one go."""

    def loss(point):
        state = SimpleNamespace(weights=point["weights"])
        return _loss(task, state)(point["alpha"]["cell"])

    run = jax.jit(jax.value_and_grad(loss))
    return lambda **point: run(point)


def test_sharpness_and_drop_are_those_of_the_validation_loss(linear):
    """By the loss written out: SAM's point, Eq. 4's point, and Taylor's first terms."""
    task, state = linear
    radius, rate = 0.1, 0.05
    probe = probes.sharpness(radius=radius, batches=BATCHES, learning_rate=rate)
    values = probe.measure(task, state)
    loss = _written_out(task)
    point = {"alpha": state.alpha, "weights": state.weights}
    before, slopes = loss(**point)
    for name, slope in slopes.items():
        flat, unravel = ravel_pytree(point[name])
        gradient = np.float64(ravel_pytree(slope)[0])
        norm = np.linalg.norm(gradient)

        def change(away, name=name, flat=flat, unravel=unravel):
            there = unravel(jnp.asarray(flat + away, jnp.float32))
            return float(loss(**point | {name: there})[0] - before)

        rise = change(radius * gradient / norm)
        assert values[f"sharpness/{name}"] == pytest.approx(rise, rel=1e-3)
        assert rise == pytest.approx(radius * norm, rel=0.2)
        drop = -change(-rate * gradient)
        assert values[f"loss_drop/{name}"] == pytest.approx(drop, rel=1e-2, abs=1e-6)
        assert drop == pytest.approx(rate * norm**2, rel=0.2, abs=1e-6)


def test_devices_change_no_sharpness(linear):
    task, state = linear
    shared = _on_two_devices()
    probe = {"radius": 0.1, "batches": BATCHES}
    one = probes.sharpness(**probe).measure(task, state)
    two = probes.sharpness(**probe).measure(shared, shared.devices.shard_state(state))
    assert two == pytest.approx(one, rel=1e-3, abs=1e-6)
    assert one["sharpness/weights"] > 1e-3


def test_measures_are_logged_when_due_and_at_the_end(tmp_path):
    task = searching.task("linear")
    seen = []

    def measure(search, state):
        assert search is task
        seen.append(int(state.step))
        return {"mine": float(state.step)}

    analyses = [
        probes.decidedness(every=1),
        probes.eigenvalue(every=2, batches=1),
        probes.Analysis(99, measure),
    ]
    searching.run(task, tmp_path, analyses=analyses)
    first, last = _logged(tmp_path)
    assert set(first["values"]) == {"entropy/cell", "margin/cell"}
    assert {"eigenvalue", "eigenvalue_residual", "mine"} < set(last["values"])
    assert seen == [searching.STEPS * searching.EPOCHS]
    assert last["step"] == seen[0]
    entropy = first["values"]["entropy/cell"]
    assert 0 < entropy <= np.log(5) + 1e-6


def test_nothing_is_logged_that_was_not_asked_for(tmp_path):
    searching.run(searching.task("linear"), tmp_path)
    assert _logged(tmp_path) == []


def test_measures_change_nothing_of_the_search(tmp_path):
    task = searching.task("linear")
    plain = searching.run(task, tmp_path / "a")
    measured = searching.run(
        task, tmp_path / "b", analyses=[probes.decidedness(), probes.eigenvalue()]
    )
    assert plain == measured
    a, b = (searching.alphas(tmp_path / name) for name in "ab")
    np.testing.assert_array_equal(a["cell"], b["cell"])


@pytest.fixture(scope="module")
def cells():
    task = searching.task("cells")
    return task, task.new_state()


@pytest.fixture(scope="module")
def evaluate_cells(cells):
    task, state = cells

    @jax.jit
    def evaluate(architecture):
        return epoch.evaluate(
            task.net, state.weights, architecture, task.data, task.keys
        )

    return evaluate


def test_discretization_is_measured_on_the_same_weights(cells, evaluate_cells):
    task, state = cells
    values = probes.discretization().measure(task, state)
    before, after, gap = (
        values[f"discretization/{name}"] for name in ("before", "after", "gap")
    )
    assert gap == pytest.approx(before - after)
    genotype = task.method.derive(task.net.space, state.alpha)
    derived = derived_architecture(task.net.space, genotype)
    sums = evaluate_cells(derived)
    assert after == pytest.approx(float(sums["valid_accuracy"] / sums["valid_count"]))


def test_ranking_against_what_the_supernet_says_itself_is_perfect(
    cells, evaluate_cells
):
    task, state = cells
    said = {}

    def truth(genotype: Genotype) -> float:
        derived = derived_architecture(task.net.space, genotype)
        sums = evaluate_cells(derived)
        said[genotype.arch_str] = float(sums["valid_accuracy"])
        return said[genotype.arch_str]

    ranking = probes.ranking(truth, architectures=5, batches=None)
    values = ranking.measure(task, state)
    assert len(said) == 5
    assert values["ranking/kendall_tau"] == pytest.approx(1.0)
    flipped = probes.ranking(lambda g: -truth(g), architectures=5, batches=None)
    tau = flipped.measure(task, state)["ranking/kendall_tau"]
    assert tau == pytest.approx(-1.0)


def test_teachers_are_told_once_they_speak(tmp_path):
    method = sd_darts(warmup=1, window=1)
    task = searching.prepare(searching.linear_net(), method)
    searching.run(task, tmp_path, analyses=[probes.teachers()])
    rows = _logged(tmp_path)
    assert rows[0]["values"]["teachers/coverage"] == 1.0
    assert rows[0]["values"]["teachers/agreement"] == 1.0  # one teacher
    # The ring's rows and the labels belong together: the vote is the supernet's
    # output of the last epoch, of which training logged the accuracy.
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    trained = [json.loads(line) for line in lines]
    hits = [r["values"]["weight_accuracy"] for r in trained if r["phase"] == "train"]
    assert len(rows) == searching.EPOCHS
    last = rows[-1]["values"]["teachers/accuracy"]
    assert min(hits) - 1e-6 <= last <= max(hits) + 1e-6
    assert probes.teachers().measure(searching.task("linear"), _state()) == {}


def _state():
    return searching.task("linear").new_state()


def test_configuration_asks_for_measures():
    config = searches.search("darts")
    config.analysis.decidedness = 0
    config.analysis.teachers = 0
    assert build.analyses(config.to_dict(), None) == []
    config.analysis.eigenvalue = 5
    config.analysis.discretization = 10
    found = build.analyses(config.to_dict(), None)
    assert [one.every for one in found] == [5, 10]
    config.analysis.ranking = 1
    with pytest.raises(InputError, match=r"analysis\.ranking is 1; it needs a table"):
        build.analyses(config.to_dict(), None)
    config.analysis.ranking = 0
    config.analysis.sharpness = 2
    assert [one.every for one in build.analyses(config.to_dict(), None)] == [5, 2, 10]
    for field, value in (("radius", 0.0), ("steps", 0), ("learning_rate", -0.1)):
        other = searches.search("darts")
        other.analysis[f"sharpness_{field}"] = value
        with pytest.raises(
            InputError, match=rf"analysis\.sharpness_{field} is {value}"
        ):
            build.check(other.to_dict())
    config.analysis.eigenvalue_batches = 0
    with pytest.raises(InputError, match=r"analysis\.eigenvalue_batches is 0"):
        build.check(config.to_dict())


def recorded(monkeypatch) -> dict[str, dict[str, Any]]:
    """The arguments that each measure is made with from now on."""
    asked = {}

    def one(probe):
        @functools.wraps(probe.make)
        def make(*first, **given):
            asked[probe.name] = given
            return probes.Analysis(given["every"], lambda search, state: {})

        return probe._replace(make=make)

    monkeypatch.setattr(probes, "PROBES", [*map(one, probes.PROBES)])
    return asked


def test_ranking_takes_the_whole_half_unless_told_otherwise(monkeypatch):
    asked = recorded(monkeypatch)
    config = searches.search("darts")
    config.analysis.ranking = 1
    for batches, expected in ((0, None), (7, 7)):
        config.analysis.ranking_batches = batches
        build.check(config.to_dict())
        build.analyses(config.to_dict(), object())
        assert asked["ranking"]["batches"] == expected
    assert base.default().analysis.ranking_batches == 0


def test_every_field_of_the_block_arrives(monkeypatch):
    """Each makes its measure with its own numbers, and no field is left over."""
    asked = recorded(monkeypatch)
    block = {name: number for number, name in enumerate(base.default().analysis, 3)}
    build.analyses({"analysis": block}, object())
    assert set(asked) == set(PROBES)
    arrived = {
        name if setting == "every" else f"{name}_{setting}": value
        for name, settings in asked.items()
        for setting, value in settings.items()
    }
    assert arrived == block


def test_what_compiles_a_program_is_off_by_default():
    block = searches.search("sd_darts").to_dict()["analysis"]
    on = {name for name in ("decidedness", "teachers") if block[name]}
    off = {n for n in PROBES[2:] if not block[n]}
    assert len(on) + len(off) == len(PROBES)
