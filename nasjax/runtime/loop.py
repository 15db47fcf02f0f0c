"""The host loop that searches and trainings share.

A `Task` says what is run, a `Run` is one run of it in a workdir: it goes on from the
last checkpoint, dispatches many steps at once, and saves. Between two dispatches the
host only asks whether to stop; the metrics of a dispatch are read while the next one
runs. What is done between epochs is the user's own: see `nasjax.search.run`.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, InputError, Tree
from nasjax.runtime import processes
from nasjax.runtime.checkpoint import Checkpoints
from nasjax.runtime.finite import STEPS, first_not_finite
from nasjax.runtime.finite import NotFiniteError as NotFiniteError
from nasjax.runtime.parallel import Devices
from nasjax.runtime.progress import Progress
from nasjax.runtime.workdir import Workdir

#: Sums over examples, by name.
Metrics = dict[str, Array]

Result = TypeVar("Result")
#: A run that asks for its dispatches: it yields the arguments of `Task.dispatch`, is
#: sent the answer, and returns its result. Whoever drives several runs may make their
#: dispatches together.
Asking = Generator[tuple[Any, int, int], tuple[Any, Metrics], Result]


def drive(
    run: Asking[Result], dispatch: Callable[[Any, int, int], tuple[Any, Metrics]]
) -> Result:
    """Make every dispatch that a run asks for; returns its result."""
    with contextlib.closing(run):
        try:
            asked = next(run)
            while True:
                asked = run.send(dispatch(*asked))
        except StopIteration as end:
            result: Result = end.value
            return result


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

    def __init__(self, task: Task, workdir: Workdir, progress: Progress):
        """Restore the last checkpoint, and drop what was logged after it."""
        self.task = task
        self.workdir = workdir
        self.stopped = False
        self.last_valid: dict[str, float] = {}
        self._progress = progress
        self._checkpoints = Checkpoints(workdir.checkpoints, workdir.config)
        state = self._restored(task.new_state())
        self.step = int(state.step)
        self.state = task.devices.shard_state(state)
        self.history = workdir.rewind(self.step, self.epoch)
        self._saved_at = time.monotonic()

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

    def epochs(
        self,
        steps_per_dispatch: int,
        *,
        stop: Callable[[], bool] = lambda: False,
        checkpoint_minutes: float = 10.0,
    ) -> Iterator[int]:
        """Train, and hand over after each epoch; `end_epoch` is to be called there.

        Ends early, after a checkpoint, when told to stop.

        Args:
          steps_per_dispatch: steps between two looks at ``stop``.
          stop: asked between dispatches; of several processes one is enough.
          checkpoint_minutes: after which a save need not wait for the epoch's end.

        Yields:
          Epochs done.

        Raises:
          NotFiniteError: a loss, a weight or alpha is NaN or infinite.
          RunError: a save has failed.
        """
        while self.epoch < self.task.epochs:
            asking = self.train(
                steps_per_dispatch, stop=stop, checkpoint_minutes=checkpoint_minutes
            )
            if not drive(asking, self.task.dispatch):
                return
            yield self.epoch

    def train(
        self,
        steps_per_dispatch: int,
        *,
        stop: Callable[[], bool],
        checkpoint_minutes: float,
    ) -> Asking[bool]:
        """The rest of an epoch, its dispatches asked for; see `epochs`.

        Returns:
          Whether the epoch was finished; if not, a checkpoint is saved.
        """
        finished = yield from self._train(
            steps_per_dispatch, stop, 60 * checkpoint_minutes
        )
        if not finished:
            self.stopped = True
            self._save(self.sound_state())
        return finished

    def _train(
        self, steps_per_dispatch: int, stop: Callable[[], bool], seconds: float
    ) -> Asking[bool]:
        """The rest of the current epoch, saved in between; whether it was finished."""
        end = (self.epoch + 1) * self.task.steps_per_epoch
        epoch, ended = self.epoch, 0.0
        pending: _Dispatched | None = None
        while self.step < end and not processes.any_of(stop()):
            until = min(self.step + steps_per_dispatch, end)
            asked = time.perf_counter()
            self.state, metrics = yield self.state, self.step, until
            now = _Dispatched(self.step, until, metrics, asked, _ready_at(metrics))
            if pending is not None:
                ended = self._log_train(epoch, pending, ended, following=now)
            pending, self.step = now, until
            self._checkpoints.check()
            # The end of an epoch has more to be written before its save.
            due = time.monotonic() - self._saved_at >= seconds
            if self.step < end and processes.any_of(due):
                ended, pending = self._log_train(epoch, pending, ended), None
                self._save(self.sound_state())
        if pending is not None:
            self._log_train(epoch, pending, ended)
        return self.step == end

    def _save(self, state: Any) -> None:
        if self.workdir.writes:
            self._checkpoints.save(self.step, state)
        self._saved_at = time.monotonic()

    def _log_train(
        self,
        epoch: int,
        one: "_Dispatched",
        before: float,
        following: "_Dispatched | None" = None,
    ) -> float:
        """Log a dispatch of an epoch; returns when its steps ended.

        Args:
          epoch: that it is of.
          one: the dispatch.
          before: when the steps of the one before it ended.
          following: the next one, where it has been made already.
        """
        metrics = dict(jax.device_get(one.metrics))
        # At once: what is done below takes the host a while, compilation at first.
        ended = one.ended(before, following)
        done = int(metrics.pop(STEPS, one.steps))
        values = self.task.values(metrics, one.last) if done else {}
        self._check(values, one.first + done, expected=one.last)
        images = one.steps * self.task.images_per_step
        seconds = ended - max(one.asked, before)
        values["images_per_second"] = images / max(seconds, 1e-9)
        self.workdir.log("train", step=one.last, epoch=epoch, values=values)
        self._progress.advance(one.steps, values | self.last_valid)
        return ended

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
            epoch = self.epoch - 1
            self.workdir.log("valid", step=self.step, epoch=epoch, values=values)
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


class _Dispatched(NamedTuple):
    """Steps ``first`` to ``last``, asked for and perhaps still running.

    Attributes:
      first: steps done before them.
      last: and after them.
      metrics: their sums.
      asked: when they were asked for.
      ready: when they had ended, where that was before the answer came (on a CPU).
    """

    first: int
    last: int
    metrics: Metrics
    asked: float
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
