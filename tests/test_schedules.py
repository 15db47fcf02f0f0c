"""Schedules at their ends, between them, and from texts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax import methods, optimizers, schedules
from nasjax.bilevel import Optimizers

#: Text, its value at the start, at half and at the end.
GOOD = [
    ("constant(0.7)", 0.7, 0.7, 0.7),
    ("constant(-2)", -2.0, -2.0, -2.0),
    ("linear(10, 0.1)", 10.0, 5.05, 0.1),
    ("linear(0,2)", 0.0, 1.0, 2.0),
    ("  linear( 0.3 , 0 )  ", 0.3, 0.15, 0.0),
    ("cosine(0.025, 1e-3)", 0.025, 0.013, 0.001),
    ("exponential(100, 1)", 100.0, 10.0, 1.0),
    ("exponential(1, 16)", 1.0, 4.0, 16.0),
    ("steps(0, 0.2, 4)", 0.0, 0.4 / 3, 0.2),
    ("steps(1, 0, 2)", 1.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("text", "start", "half", "end"), GOOD)
def test_a_text_is_its_schedule(text, start, half, end):
    schedule = schedules.parse(text)
    for progress, expected in ((0.0, start), (0.5, half), (1.0, end)):
        value = float(schedule(jnp.float32(progress)))
        assert value == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("text", [entry[0] for entry in GOOD])
def test_schedules_run_compiled_and_stay_between_their_ends(text):
    schedule = schedules.parse(text)
    progress = jnp.linspace(0.0, 1.0, 51)
    values = np.asarray(jax.jit(jax.vmap(schedule))(progress))
    assert values.dtype == np.float32
    low, high = sorted([values[0], values[-1]])
    assert (values >= low - 1e-6).all()
    assert (values <= high + 1e-6).all()
    steps = np.diff(values) * np.sign(values[-1] - values[0])
    assert (steps >= -1e-6).all()


def test_every_schedule_has_a_good_text_here():
    names = {text.strip().split("(")[0] for text, *_ in GOOD}
    assert names == set(schedules.SCHEDULES)


BAD = [
    "",
    "linear",
    "0.5",
    "linear(0, 1",
    "linear()",
    "linear(1)",
    "linear(1, 2, 3)",
    "linear(a, b)",
    "linear(1, 2); import os",
    "linear(linear(0, 1), 2)",
    "linear(start=0, end=1)",
    "Linear(0, 1)",
    "sigmoid(0, 1)",
    "constant(1, 2)",
    "steps(0, 1)",
    "__import__('os')",
]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_text_has_one_line_that_names_what_is_allowed(text):
    with pytest.raises(ValueError, match="is not") as caught:
        schedules.parse(text)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(text) in message
    for name in schedules.SCHEDULES:
        assert f"{name}(" in message
    assert "steps(start, end, number)" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linear(0, nan)", "'linear(0, nan)' has a value that is not finite"),
        ("constant(inf)", "'constant(inf)' has a value that is not finite"),
        ("exponential(1, 0)", "exponential(1.0, 0.0) has an end that is not above 0"),
        ("exponential(-1, 2)", "exponential(-1.0, 2.0) has an end that is not above"),
        ("steps(0, 1, 1)", "steps has 1.0 values; it has at least 2"),
        ("steps(0, 1, 2.5)", "steps has 2.5 values; it has at least 2"),
    ],
)
def test_a_bad_value_has_one_line_that_says_so(text, message):
    with pytest.raises(ValueError, match=r"not finite|above 0|at least 2") as caught:
        schedules.parse(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# --- steps ----------------------------------------------------------------------


def test_four_steps_change_at_each_quarter():
    """DropBlock's: 0 at first, raised in equal steps at 0, 1/4, 1/2, 3/4."""
    schedule = schedules.steps(0.0, 0.2, 4)
    before = np.nextafter(np.float32([0.25, 0.5, 0.75]), np.float32(0))
    at = np.float32([0.0, 0.25, 0.5, 0.75])
    heights = 0.2 * np.arange(4) / 3
    for progress, expected in zip(at, heights, strict=True):
        assert float(schedule(jnp.float32(progress))) == pytest.approx(expected)
    for progress, expected in zip(before, heights[:3], strict=True):
        assert float(schedule(jnp.float32(progress))) == pytest.approx(expected)
    assert float(schedule(jnp.float32(1.0))) == pytest.approx(0.2)


@pytest.mark.parametrize("number", [2, 3, 7])
def test_steps_take_their_number_of_values_for_equal_times(number):
    progress = (jnp.arange(420.0) + 0.5) / 420
    values = jax.vmap(schedules.steps(-1.0, 1.0, number))(progress)
    found, counts = np.unique(values, return_counts=True)
    np.testing.assert_allclose(found, np.linspace(-1, 1, number), atol=1e-6)
    assert set(counts) == {420 // number}


# --- the rest -------------------------------------------------------------------


@pytest.mark.parametrize("text", ["linear(1, 0)", "linear(0, 1)", "cosine(1, -1)"])
def test_a_schedule_that_reaches_zero_is_refused(text):
    with pytest.raises(ValueError, match=r"tau goes down to .*; it must stay above 0"):
        schedules.check_above_zero("tau", schedules.parse(text))


def test_a_schedule_above_zero_is_accepted():
    for text in ("linear(10, 0.1)", "exponential(1, 0.03)", "constant(1e-6)"):
        schedules.check_above_zero("tau", schedules.parse(text))


# --- progress and steps ----------------------------------------------------------


def test_a_schedule_of_optax_is_no_schedule_of_progress():
    of_steps = optax.cosine_decay_schedule(1.0, 100)
    with pytest.raises(ValueError, match="temperature is a plain function; expected"):
        methods.gdas(temperature=of_steps)
    of_progress = schedules.Schedule(lambda progress: 1.0 + progress, "rising")
    methods.gdas(temperature=of_progress)
    assert repr(of_progress) == "rising"


@pytest.mark.parametrize(
    "make", [optimizers.weight_optimizer, optimizers.arch_optimizer]
)
def test_a_rate_by_progress_is_refused_where_nobody_knows_the_steps(make):
    """A function of progress, called with steps, would end at its second."""
    optimizer = make(schedules.linear(0.025, 0.0))
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match=r"is linear\(0.025, 0\), which follows") as no:
        optimizer.update(jnp.ones(2), state, jnp.ones(2))
    assert "\n" not in str(no.value)
    known = optimizers.over(optimizer, steps_per_epoch=2, epochs=5)
    assert jax.tree.structure(known.init(jnp.ones(2))) == jax.tree.structure(state)


@pytest.mark.parametrize("every", ["epoch", "step"])
def test_a_search_turns_progress_into_steps(every):
    """Plain gradient descent of a constant gradient shows the rate of each step."""
    optimizer = optimizers.weight_optimizer(
        schedules.linear(1.0, 0.0),
        momentum=0.0,
        weight_decay=0.0,
        clip_norm=0.0,
        every=every,
    )
    both = Optimizers(optimizer, optimizers.arch_optimizer(0.1))
    known = both.over(steps_per_epoch=3, epochs=2)
    assert known.alpha is both.alpha
    state, found = known.weights.init(jnp.float32(0.0)), []
    for _ in range(6):
        update, state = known.weights.update(jnp.float32(1.0), state, jnp.float32(0.0))
        found.append(-float(update))
    steps = np.arange(6)
    progress = steps // 3 / 2 if every == "epoch" else steps / 6
    np.testing.assert_allclose(found, 1 - progress, rtol=1e-6)


def test_another_word_than_epoch_and_step_is_refused_at_once():
    with pytest.raises(ValueError, match="every='day' is not one of epoch, step"):
        optimizers.weight_optimizer(schedules.constant(0.1), every="day")
