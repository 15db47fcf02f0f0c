"""What a person sees while a run goes on: a bar on a terminal, lines elsewhere."""

from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress(Protocol):
    """Told by the loop of what happened."""

    def start(self, step: int, steps_per_epoch: int, epochs: int) -> None:
        """The loop begins, after ``step`` steps of an earlier process."""

    def advance(self, steps: int, values: Mapping[str, float]) -> None:
        """So many steps are done; ``values`` are means over them."""

    def epoch_done(self, epochs_done: int, values: Mapping[str, float]) -> None:
        """An epoch is done; ``values`` are of the validation half."""

    def close(self) -> None:
        """The loop ended."""


class ConsoleProgress:
    """A progress bar where stdout is a terminal, one line an epoch elsewhere."""

    def __init__(
        self,
        console: Console | None = None,
        *,
        group: str = "weight_",
        valid: str = "supernet valid accuracy",
        name: str = "",
    ):
        """Write to a console; by default to stdout.

        Args:
          console: to write to.
          group: what the names of loss and accuracy begin with.
          valid: what the accuracy of the validation half is called.
          name: what each line begins with, of several runs.
        """
        self._group, self._valid = group, valid
        self._name = f"{name}: " if name else ""
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[values]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._steps_per_epoch = 1
        self._epochs = 1
        self._done = 0
        self._values: Mapping[str, float] = {}

    def beside(self, name: str) -> "ConsoleProgress":
        """Of another run, whose bar stands below this one."""
        other = ConsoleProgress(
            self._console, group=self._group, valid=self._valid, name=name
        )
        other._bar = self._bar
        return other

    def start(self, step: int, steps_per_epoch: int, epochs: int) -> None:
        """Show the bar."""
        self._steps_per_epoch, self._epochs, self._done = steps_per_epoch, epochs, step
        if step:
            self._console.print(f"{self._name}going on after step {step}")
        total = steps_per_epoch * epochs
        self._task = self._bar.add_task(
            self._title(), total=total, completed=step, values=""
        )
        self._bar.start()

    def _title(self) -> str:
        epoch = min(self._done // self._steps_per_epoch + 1, self._epochs)
        return f"{self._name}epoch {epoch}/{self._epochs}"

    def advance(self, steps: int, values: Mapping[str, float]) -> None:
        """Move the bar."""
        self._done += steps
        self._values = values
        text = (
            f"loss {values[f'{self._group}loss']:.3f} · accuracy "
            f"{100 * values[f'{self._group}accuracy']:.1f} % · "
            f"{values['images_per_second']:.0f} images/s"
        )
        if "valid_accuracy" in values:
            text += f" · {self._valid} {100 * values['valid_accuracy']:.1f} %"
        self._bar.update(
            self._task, advance=steps, description=self._title(), values=text
        )

    def epoch_done(self, epochs_done: int, values: Mapping[str, float]) -> None:
        """Print a line where there is no bar."""
        if self._console.is_terminal:
            return
        line = (
            f"{self._name}epoch {epochs_done}/{self._epochs}: train loss "
            f"{self._values[f'{self._group}loss']:.4f}, accuracy "
            f"{100 * self._values[f'{self._group}accuracy']:.2f} %"
        )
        if values:
            line += f"; {self._valid} {100 * values['valid_accuracy']:.2f} %"
        self._console.print(f"{line}; {self._values['images_per_second']:.0f} images/s")

    def close(self) -> None:
        """Remove the bar, with that of the last run."""
        self._bar.stop_task(self._task)
        if all(task.stop_time is not None for task in self._bar.tasks):
            self._bar.stop()
