"""A training from its recipe to a tested network: the host side.

`prepare` compiles and measures, `run` goes on from wherever the workdir stands, in
the loop of `nasjax.runtime.loop`.
"""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from nasjax.base import InputError
from nasjax.interop import trained
from nasjax.interop.images import Images
from nasjax.retrain import recipe as recipes
from nasjax.retrain.feeds import Dispatch, Evaluate, Feed
from nasjax.retrain.recipe import Recipe
from nasjax.retrain.step import Net, TrainState, init_state, make_measure, make_step
from nasjax.runtime import budget as budgets
from nasjax.runtime import loop
from nasjax.runtime.identity import Identity
from nasjax.runtime.loop import Metrics
from nasjax.runtime.progress import Progress
from nasjax.runtime.workdir import Workdir, write_atomically

#: The file that a finished training leaves.
RESULT = "result.json"
WEIGHTS = "weights.safetensors"


class Training(NamedTuple):
    """What is constant in one training.

    Attributes:
      net: what is trained.
      recipe: how.
      feed: on what.
      dispatch: compiled steps of the feed.
      evaluate: the feed's evaluation of a split.
      new_state: makes the state before the first step.
      identity: what decides it.
    """

    net: Net
    recipe: Recipe
    feed: Feed
    dispatch: Dispatch
    evaluate: Evaluate
    new_state: Callable[[], TrainState]
    identity: Identity


class Result(NamedTuple):
    """What a training ended with.

    Attributes:
      test: means over the test split: ``loss``, ``accuracy``, and what else
        `make_measure` tells.
      valid: the same over the examples held out, of the last epoch; empty where
        there are none.
      params: trained numbers, without the auxiliary head, which only trains.
      macs: multiply-accumulates of an image.
      epochs: of the training.
      averaged: whether the moving average of the weights was tested.
    """

    test: dict[str, float]
    valid: dict[str, float]
    params: int
    macs: int
    epochs: int
    averaged: bool

    def to_json(self) -> str:
        """One flat JSON object, ``test_accuracy`` first."""
        splits = {"test": self.test, "valid": self.valid}
        measured = {
            f"{split}_{name}": means[name]
            for split, means in splits.items()
            for name in sorted(means)
        }
        rest = self._asdict()
        figures = {name: rest[name] for name in rest if name not in splits}
        return json.dumps(measured | figures, indent=2)


def prepare(
    net: Net, recipe: Recipe, feed: Feed, *, seed: int = 0
) -> tuple[Training, budgets.Budget]:
    """Compile a training and measure what it will cost.

    Args:
      net: what is trained; with several devices either with their axis name, or each
        normalises its own part of a batch.
      recipe: how; it decides whether the network has an auxiliary head.
      feed: on what, with the devices.
      seed: of the weights and of drop path.

    Raises:
      InputError: a recipe, a network or a batch that cannot be.
    """
    recipe.check()
    devices, steps = feed.devices, feed.steps_per_epoch
    devices.check()
    loop.check_length(recipe.epochs, steps)
    _check_micro_batches(recipe, devices.batch_size, devices.number)
    net = net._replace(auxiliary=recipe.auxiliary_weight > 0)
    axis = devices.axis_name

    @jax.jit
    def new_state() -> TrainState:
        key = jax.random.fold_in(jax.random.key(seed), 0)
        return init_state(key, net, recipe, steps_per_epoch=steps)

    cost = net.cost()
    step = make_step(net, recipe, steps_per_epoch=steps, axis_name=axis)
    state = devices.shard_state(new_state())
    started = time.perf_counter()
    dispatch, compiled = feed.dispatch(step, state)
    compile_seconds = time.perf_counter() - started
    budgets.check_fits("a step", budgets.peak_bytes(compiled))
    evaluate = feed.evaluate(make_measure(net, axis_name=axis))
    seconds = loop.trial_seconds(dispatch, state, steps_per_epoch=steps)
    budget = budgets.Budget(
        weights=cost.params,
        alphas=0,
        macs=cost.macs,
        peak_bytes=budgets.peak_bytes(compiled),
        data_bytes=feed.num_bytes,
        memory_bytes=0,
        compile_seconds=compile_seconds,
        step_seconds=seconds,
        seconds_per_epoch=seconds * steps,
    )
    identity = _identity(net, recipe, feed, seed)
    return Training(net, recipe, feed, dispatch, evaluate, new_state, identity), budget


def _identity(net: Net, recipe: Recipe, feed: Feed, seed: int) -> Identity:
    """What decides a training, all of which can be read."""
    shown = ("image_shape", "auxiliary", "dtype")
    says = {
        "genotype": json.loads(net.genotype._replace(source="").to_json()),
        "network": {**net.sizes, **{name: getattr(net, name) for name in shown}},
        "train": {**recipe._asdict(), "batch_size": feed.devices.batch_size},
        "data": feed.identity,
        "seed": seed,
    }
    return Identity(says, {})


def _check_micro_batches(recipe: Recipe, batch_size: int, devices: int) -> None:
    number = recipe.micro_batches
    if batch_size % (devices * number):
        of = f" on {devices} devices" if devices > 1 else ""
        raise InputError(
            f"micro_batches is {number}; it must divide a batch of {batch_size}{of}"
        )


def _task(training: Training) -> loop.Task:
    """What the loop runs."""
    feed, recipe = training.feed, training.recipe
    steps = feed.steps_per_epoch
    schedules = {"learning_rate": recipes.learning_rate(recipe, steps_per_epoch=steps)}
    if recipe.drop_path_rate:
        rate = recipes.drop_path_rate(recipe, steps_per_epoch=steps)
        schedules["drop_path_rate"] = rate

    def values(metrics: Metrics, last: int) -> dict[str, float]:
        at = jax.numpy.int32(last - 1)
        return means(metrics) | {
            f"schedule/{name}": float(schedule(at))
            for name, schedule in schedules.items()
        }

    return loop.Task(
        training.new_state,
        training.dispatch,
        values,
        lambda state: {
            "params": state.params,
            "batch_stats": state.batch_stats,
            "average": state.average,
        },
        steps,
        recipe.epochs,
        feed.devices.batch_size,
        feed.devices,
    )


def means(sums: Metrics) -> dict[str, float]:
    """Means over examples from sums on the host."""
    count = float(sums["count"])
    return {name: float(sums[name]) / count for name in sums if name != "count"}


def run(
    training: Training,
    workdir: Workdir,
    *,
    progress: Progress,
    steps_per_dispatch: int = 50,
    evaluate_every: int = 1,
    checkpoint_minutes: float = 10.0,
    stop: Callable[[], bool] = lambda: False,
) -> Result | None:
    """Train, from wherever the workdir stands, to a tested network.

    The test split is evaluated once, after the last step, with the weights that are
    then written to ``weights.safetensors`` (`nasjax.interop.trained`).

    Args:
      training: of `prepare`.
      workdir: opened; what it holds of this training is continued.
      progress: told of every dispatch and epoch.
      steps_per_dispatch: steps between two looks at ``stop``.
      evaluate_every: epochs between evaluations of what is held out; the last epoch
        always has one.
      checkpoint_minutes: after which a save need not wait for the epoch's end.
      stop: asked between dispatches.

    Returns:
      The result, or None when stopped before the end, after a checkpoint.

    Raises:
      NotFiniteError: a loss or a weight is NaN or infinite.
    """
    epochs = training.recipe.epochs
    feed = training.feed
    workdir.claim(training.identity)
    with (
        contextlib.closing(feed),
        loop.Run(
            _task(training),
            workdir,
            progress,
            steps_per_dispatch=steps_per_dispatch,
            checkpoint_minutes=checkpoint_minutes,
            stop=stop,
        ) as run_,
    ):
        for done in run_.epochs():
            state = run_.sound_state()  # before anything of this epoch is written
            values: dict[str, float] = {}
            if feed.has_valid and (done % evaluate_every == 0 or done == epochs):
                values = _evaluated(training, run_.state, "valid")
                run_.last_valid = {f"valid_{name}": v for name, v in values.items()}
            run_.end_epoch(state, values)
    return None if run_.stopped else _conclude(training, run_)


def _evaluated(training: Training, state: Any, split: str) -> dict[str, float]:
    return means(jax.device_get(training.evaluate(state, split)))


def _conclude(training: Training, run_: loop.Run) -> Result:
    """Test, and write the result."""
    net, recipe, workdir = training.net, training.recipe, run_.workdir
    test = _evaluated(training, run_.state, "test")
    valid = {}
    if training.feed.has_valid:
        valid = _evaluated(training, run_.state, "valid")
    cost = net._replace(auxiliary=False).cost()
    averaged = recipe.ema_decay > 0
    result = Result(test, valid, cost.params, cost.macs, recipe.epochs, averaged)
    state = training.feed.devices.gather_state(run_.state)
    variables = jax.device_get(state.evaluated)
    statistics = jax.device_get((training.feed.mean, training.feed.std))
    images = Images(net.image_shape, *(tuple(map(float, s)) for s in statistics))
    path = workdir.folder / WEIGHTS
    trained.save(path, variables, net.genotype, **net.sizes, images=images)
    values = {f"test_{name}": value for name, value in test.items()}
    workdir.log("result", step=run_.step, epoch=recipe.epochs - 1, values=values)
    write_atomically(workdir.folder / RESULT, result.to_json() + "\n")
    return result
