"""The host loop that searches and trainings share.

A `Task` says what is run, a `Run` is one run of it in a workdir: it goes on from the
last checkpoint, dispatches many steps at once, and saves. Between two dispatches the
host only asks whether to stop; the metrics of a dispatch are read while the next one
runs. What is done between epochs is the user's own: see `nasjax.search.Running`.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import InputError, Tree
from nasjax.runtime import processes
from nasjax.runtime.checkpoint import Checkpoints
from nasjax.runtime.finite import STEPS, first_not_finite
from nasjax.runtime.finite import NotFiniteError as NotFiniteError
from nasjax.runtime.parallel import Devices
from nasjax.runtime.progress import ConsoleProgress, Progress
from nasjax.runtime.repeat import Metrics as Metrics
from nasjax.runtime.workdir import Workdir


class Task(NamedTuple):
    """What a loop runs.

    Attributes:
      new_state: makes the state before the first step, whose field ``step`` counts
        the steps done.
      dispatch: ``(state, first, until) -> (state, metrics)``, the steps from
        ``first``, which is ``state.step``, to ``until``, all of one epoch. States are
        as `Devices.shard_state` leaves them and donated. Where the examples come
        from is its own business: data on the device, or a stream that starts at any
        step.
      values: ``(metrics on the host, steps done) -> values`` to log of a dispatch.
      sound: the parts of a state, on one device, that must be numbers, by name.
      steps_per_epoch: steps of an epoch.
      epochs: of the whole run.
      images_per_step: images that pass through the network in a step.
      devices: that run it.
    """

    new_state: Callable[[], Any]
    dispatch: Callable[[Any, int, int], tuple[Any, Metrics]]
    values: Callable[[Metrics, int], dict[str, float]]
    sound: Callable[[Any], dict[str, Tree]]
    steps_per_epoch: int
    epochs: int
    images_per_step: int
    devices: Devices


class Run:
    """One run of a task, from wherever its workdir stands; a context manager.

    Attributes:
      task: what is run.
      workdir: opened; what it holds of this task is continued.
      step: steps done.
      state: as `Devices.shard_state` leaves it.
      history: alphas that the workdir holds of the epochs before, see
        `Workdir.rewind`.
      stopped: whether the run was stopped before its end, after a checkpoint.
      last_valid: values of the last evaluation, shown beside those of training.
    """

    def __init__(
        self,
        task: Task,
        workdir: Workdir,
        progress: Progress | None = None,
        *,
        steps_per_dispatch: int = 20,
        checkpoint_minutes: float = 10.0,
        stop: Callable[[], bool] = lambda: False,
    ):
        """Restore the last checkpoint, and drop what was logged after it.

        Args:
          task: what is run.
          workdir: opened.
          progress: told of every dispatch and epoch; the console by default.
          steps_per_dispatch: steps between two looks at ``stop``.
          checkpoint_minutes: after which a save need not wait for the epoch's end.
          stop: asked between dispatches; of several processes one is enough.
        """
        self.task = task
        self.workdir = workdir
        self.stopped = False
        self.last_valid: dict[str, float] = {}
        self._progress = ConsoleProgress() if progress is None else progress
        self._steps_per_dispatch = steps_per_dispatch
        self._seconds = 60 * checkpoint_minutes
        self._stop = stop
        self._checkpoints = Checkpoints(workdir.checkpoints, workdir.config)
        state = self._restored(task.new_state())
        self.step = int(state.step)
        self.state = task.devices.shard_state(state)
        self.history = workdir.rewind(self.step, self.epoch)
        self._saved_at = time.monotonic()
        self._asked = _Asked(self.step, self.step, 0.0)
        self._pending: _Dispatched | None = None
        self._ended = 0.0  # when the steps that were logged last had ended
        self._end = (self.epoch + 1) * task.steps_per_epoch  # of the epoch

    def _restored(self, state: Any) -> Any:
        """The state of the last checkpoint, which the first process reads for all."""
        if self.workdir.writes:
            self._checkpoints.sweep()
            restored = self._checkpoints.restore(state)
            state = state if restored is None else restored
        return processes.from_first(state)

    def __enter__(self) -> "Run":
        """Show the progress."""
        task = self.task
        self._progress.start(self.step, task.steps_per_epoch, task.epochs)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._checkpoints.__exit__(kind, error, traceback)
        finally:
            self._progress.close()

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.step // self.task.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether the last epoch has ended, by `end_epoch` too."""
        return self._end > self.task.epochs * self.task.steps_per_epoch

    def epochs(self) -> Iterator[int]:
        """Train, and hand over after each epoch; `end_epoch` is to be called there.

        Ends early, after a checkpoint, when told to stop.

        Yields:
          Epochs done.

        Raises:
          NotFiniteError: a loss, a weight or alpha is NaN or infinite.
          RunError: a save has failed.
        """
        while self.epoch < self.task.epochs:
            while (span := self.span()) is not None:
                self.take(*self.task.dispatch(self.state, *span))
            if self.stopped:
                return
            yield self.epoch

    def span(self) -> tuple[int, int] | None:
        """The steps to dispatch next; what comes of them is for `take`.

        None at the end of the epoch, or when told to stop: then a checkpoint is saved.

        Raises:
          NotFiniteError: as of `epochs`.
          RunError: as of `epochs`.
        """
        goes_on = self.step < self._end and not processes.any_of(self._stop())
        if goes_on:
            until = min(self.step + self._steps_per_dispatch, self._end)
            self._asked = _Asked(self.step, until, time.perf_counter())
            return self.step, until
        self._log_pending()
        if self.step < self._end:
            self.stopped = True
            self._save(self.sound_state())
        return None

    def take(self, state: Any, metrics: Metrics) -> None:
        """Go on from what a dispatch has given; logs the one before it."""
        self.state = state
        now = _Dispatched(*self._asked, metrics, _ready_at(metrics))
        self._log_pending(following=now)
        self._pending, self.step = now, now.last
        self._checkpoints.check()
        # The end of an epoch has more to be written before its save.
        due = time.monotonic() - self._saved_at >= self._seconds
        if self.step < self._end and processes.any_of(due):
            self._log_pending()
            self._save(self.sound_state())

    def _save(self, state: Any) -> None:
        if self.workdir.writes:
            self._checkpoints.save(self.step, state)
        self._saved_at = time.monotonic()

    def _log_pending(self, following: "_Dispatched | None" = None) -> None:
        """Log the dispatch that was not logged yet; the next may have been made."""
        one, self._pending = self._pending, None
        if one is None:
            return
        metrics = dict(jax.device_get(one.metrics))
        # At once: what is done below takes the host a while, compilation at first.
        before, self._ended = self._ended, one.ended(self._ended, following)
        done = int(metrics.pop(STEPS, one.steps))
        values = self.task.values(metrics, one.last) if done else {}
        self._check(values, one.first + done, expected=one.last)
        images = one.steps * self.task.images_per_step
        seconds = self._ended - max(one.asked, before)
        values["images_per_second"] = images / max(seconds, 1e-9)
        epoch = one.first // self.task.steps_per_epoch
        self.workdir.log("train", step=one.last, epoch=epoch, values=values)
        self._progress.advance(one.steps, values | self.last_valid)

    def log(self, phase: str, values: Mapping[str, float]) -> None:
        """Log values of the epoch that has ended."""
        self.workdir.log(phase, step=self.step, epoch=self.epoch - 1, values=values)

    def _check(self, values: Mapping[str, float], step: int, *, expected: int) -> None:
        """Refuse values that are none, and a dispatch that ended by itself before."""
        bad = [f"{k} is {v}" for k, v in values.items() if not np.isfinite(v)]
        if not bad and step == expected:
            return
        state = self.task.devices.gather_state(self.state)
        tensor = first_not_finite(self.task.sound(state))
        told = "; ".join(filter(None, [*bad[:1], tensor])) or "a value is not finite"
        raise NotFiniteError(f"at step {step}: {told}")

    def sound_state(self) -> Any:
        """The state of one device.

        Raises:
          NotFiniteError: a part of it is not all numbers.
        """
        state = self.task.devices.gather_state(self.state)
        tensor = first_not_finite(self.task.sound(state))
        if tensor is not None:
            raise NotFiniteError(f"at step {self.step}: {tensor}")
        return state

    def end_epoch(self, state: Any, values: Mapping[str, float]) -> None:
        """Log what an epoch ended with, and save.

        Args:
          state: of `sound_state`.
          values: to log, of the examples that are not trained on.
        """
        if values:
            self.log("valid", values)
        self._end, self._ended = self.step + self.task.steps_per_epoch, 0.0
        self._save(state)
        self._progress.epoch_done(self.epoch, self.last_valid)


def check_length(epochs: int, steps_per_epoch: int) -> None:
    """Refuse a run of more steps than its counter, an int32, can hold.

    Raises:
      InputError: with both numbers.
    """
    if epochs * steps_per_epoch >= 2**31:
        raise InputError(
            f"epochs is {epochs}; at {steps_per_epoch} steps each it must be at most "
            f"{(2**31 - 1) // steps_per_epoch}"
        )


class _Asked(NamedTuple):
    """Steps ``first`` to ``last``, asked for at a time."""

    first: int
    last: int
    asked: float


class _Dispatched(NamedTuple):
    """Steps ``first`` to ``last``, asked for and perhaps still running.

    Attributes:
      first: steps done before them.
      last: and after them.
      asked: when they were asked for.
      metrics: their sums.
      ready: when they had ended, where that was before the answer came (on a CPU).
    """

    first: int
    last: int
    asked: float
    metrics: Metrics
    ready: float | None

    @property
    def steps(self) -> int:
        """How many they are."""
        return self.last - self.first

    def ended(self, before: float, following: "_Dispatched | None") -> float:
        """When they had ended, asked as soon as their metrics have come.

        Where the following ones have ended too by then, nobody saw where between the
        two: they share the time by their numbers.

        Args:
          before: when those before them ended.
          following: those that were dispatched after them.
        """
        if self.ready is not None:
            return self.ready
        if following is None:
            return time.perf_counter()
        both = following.ready or _ready_at(following.metrics)
        if both is None:
            return time.perf_counter()
        begun = max(self.asked, before)
        share = self.steps / (self.steps + following.steps)
        return begun + share * (both - begun)


def _ready_at(metrics: Metrics) -> float | None:
    """The time, where a dispatch ran to its end before it returned (on a CPU)."""
    is_ready = all(value.is_ready() for value in jax.tree.leaves(metrics))
    return time.perf_counter() if is_ready else None


def trial_seconds(
    dispatch: Callable[[Any, int, int], tuple[Any, Metrics]],
    state: Any,
    *,
    steps_per_epoch: int,
) -> float:
    """Seconds of a step, from one or two trials on a state that is given up.

    The second trial leaves out what only a first run pays; where a step takes long
    it would cost more than it tells.
    """
    seconds = 0.0
    for first in range(min(2, steps_per_epoch)):
        started = time.perf_counter()
        state, _ = dispatch(state, first, first + 1)
        jax.block_until_ready(state)
        seconds = time.perf_counter() - started
        if processes.any_of(seconds > 1.0):
            break
    return seconds


def fingerprint(state: Tree) -> str:
    """SHA-256 of every bit of a state, keys included, to compare two runs."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
