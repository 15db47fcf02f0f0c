"""Where a training's examples come from: what the device and streams have in common.

A feed turns the pure functions of `nasjax.retrain.step` into what the loop calls: many
steps at once, and the evaluation of a whole split. The test split is read for the
one evaluation that asks for it, and not before.
"""

from collections.abc import Callable
from typing import Any, Protocol

from nasjax.retrain.step import Measure, Step, TrainState
from nasjax.runtime.loop import Metrics
from nasjax.runtime.parallel import Devices

#: ``(state, first, until) -> (state, sums)``, see `loop.Task`.
Dispatch = Callable[[TrainState, int, int], tuple[TrainState, Metrics]]
#: ``(state, split) -> sums``, the split "valid" or "test".
Evaluate = Callable[[TrainState, str], Metrics]


class Feed(Protocol):
    """What a training takes its examples from.

    States are as `Devices.shard_state` leaves them, `devices` those it was made for.
    """

    @property
    def devices(self) -> Devices:
        """That share a batch."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every training example once."""

    @property
    def has_valid(self) -> bool:
        """Whether examples are held out."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the examples and their order, for `nasjax.runtime.identity`."""

    @property
    def num_bytes(self) -> int:
        """Of the training examples on the devices."""

    @property
    def mean(self) -> Any:
        """What images are normalised by: ``[Ch]`` in units of [0, 1]."""

    @property
    def std(self) -> Any:
        """Likewise."""

    def dispatch(self, step: Step, state: TrainState) -> tuple[Dispatch, Any]:
        """Compile the training; also the program, for its memory.

        Args:
          step: of `make_step`.
          state: of which only the shapes matter.
        """

    def evaluate(self, measure: Measure) -> Evaluate:
        """The evaluation of a split; it compiles when first called."""

    def close(self) -> None:
        """End what is open."""
