"""The loop of a search on the host, from wherever its folder stands to a genotype."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax

from nasjax import supernet
from nasjax.base import InputError
from nasjax.bilevel import Metrics, Optimizers, SearchState, summarise
from nasjax.data.augment import Augmentation
from nasjax.data.batches import to_device
from nasjax.data.dataset import Dataset
from nasjax.genotype import Genotype
from nasjax.methods.base import Method
from nasjax.runtime import loop
from nasjax.runtime.progress import Progress
from nasjax.runtime.workdir import Workdir
from nasjax.search.program import Search, compile_search, plan, task
from nasjax.spaces.base import SearchSpace

#: ``(search, state) -> values``; the state is as `Devices.shard_state` leaves it.
Measure = Callable[[Search, SearchState], Mapping[str, float]]


class Analysis(NamedTuple):
    """A measure taken in the course of a search.

    Attributes:
      every: epochs between two; the last epoch always has one.
      measure: what is logged, by name.
    """

    every: int
    measure: Measure


def fit(
    space: SearchSpace,
    method: Method,
    data: Dataset,
    *,
    epochs: int = 50,
    batch_size: int = 64,
    channels: int = 16,
    num_cells: int | None = None,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    optimizers: Optimizers | None = None,
    folder: Path | str | None = None,
    progress: Progress | None = None,
    analyses: Sequence[Analysis] = (),
) -> Genotype:
    """Search a space with a method on a data set, to a genotype.

    The same call again goes on in its folder, or gives what it has found.

    Args:
      space: what to search.
      method: the search method.
      data: images and labels; half of them train the weights, half alpha.
      epochs: of the search.
      batch_size: B of either half.
      channels: C of the first cells.
      num_cells: L or N, see `supernet.build`.
      seed: of the weights, the halves, the order of the examples and every draw.
      augmentation: of both halves; None for none.
      optimizers: of weights and alpha; `paper_optimizers` by default.
      folder: what the run keeps; ``runs/METHOD_SPACE_DATA-seedN`` by default.
      progress: told of every dispatch and epoch; the console by default.
      analyses: measures taken after epochs, see `nasjax.analysis.probes`.

    Raises:
      InputError: what does not go together, or a folder of another run.
      RunError: it cannot go on, see `run`.
    """
    net = supernet.build(
        method.adapt(space),
        channels=channels,
        num_cells=num_cells,
        num_classes=data.num_classes,
        image_shape=data.image_shape,
    )
    planned = plan(  # before the folder is made, for what does not go together
        net,
        method,
        to_device(data, batch_size=batch_size, seed=seed),
        optimizers=optimizers,
        epochs=epochs,
        seed=seed,
        augmentation=augmentation,
    )
    name = f"{method.name}_{space.name}_{data.name}-seed{seed}"
    return _in_folder(planned, Path(folder or Path("runs") / name), progress, analyses)


def _in_folder(
    planned: Search,
    folder: Path,
    progress: Progress | None,
    analyses: Sequence[Analysis],
) -> Genotype:
    """What a folder holds of a finished search, else what it finds."""
    with contextlib.closing(Workdir(folder)) as workdir:
        workdir.open()
        if workdir.finished:
            workdir.claim(planned.identity)
            return Genotype.from_json(workdir.genotype.read_text())
        compiled, _ = compile_search(planned)
        found = run(compiled, workdir, progress=progress, analyses=analyses)
    assert found is not None  # nothing stops it
    return found


def run(
    search: Search,
    workdir: Workdir,
    *,
    progress: Progress | None = None,
    steps_per_dispatch: int = 20,
    evaluate_every: int = 1,
    analyses: Sequence[Analysis] = (),
    source: str = "",
    checkpoint_minutes: float = 10.0,
    stop: Callable[[], bool] = lambda: False,
) -> Genotype | None:
    """Search, from wherever the workdir stands, to a genotype.

    Args:
      search: of `prepare`.
      workdir: opened; what it holds of this search is continued.
      progress: told of every dispatch and epoch; the console by default.
      steps_per_dispatch: steps between two looks at ``stop``.
      evaluate_every: epochs between evaluations; the last epoch always has one.
      analyses: measures taken after epochs, see `nasjax.analysis.probes`.
      source: where the genotype comes from, for its readers.
      checkpoint_minutes: after which a save need not wait for the epoch's end.
      stop: asked between dispatches.

    Returns:
      The genotype, or None when stopped before the end, after a checkpoint.

    Raises:
      NotFiniteError: a loss, a weight or alpha is NaN or infinite.
      RunError: a file cannot be written.
      InputError: what the workdir holds is of another run, or damaged.
    """
    running = Running(
        search,
        workdir,
        progress=progress,
        steps_per_dispatch=steps_per_dispatch,
        evaluate_every=evaluate_every,
        analyses=analyses,
        source=source,
        checkpoint_minutes=checkpoint_minutes,
        stop=stop,
    )
    dispatch = task(search).dispatch
    with running:
        while (due := running.due()) is not None:
            running.take(*dispatch(*due))
    return running.genotype


class Running:
    """A search in its folder, whose dispatches somebody else makes.

    ``due`` says which one comes next, ``take`` is given what came of it. So several
    searches may make theirs together (`nasjax.search.seeds`). A context manager.

    Attributes:
      search: what is run.
      genotype: what it found, once it has ended.
    """

    def __init__(
        self,
        search: Search,
        workdir: Workdir,
        *,
        progress: Progress | None = None,
        steps_per_dispatch: int = 20,
        evaluate_every: int = 1,
        analyses: Sequence[Analysis] = (),
        source: str = "",
        checkpoint_minutes: float = 10.0,
        stop: Callable[[], bool] = lambda: False,
    ):
        """Restore what the folder holds; the arguments are those of `run`."""
        self.search = search
        self.genotype: Genotype | None = None
        self._evaluate_every, self._analyses = evaluate_every, analyses
        self._source = source
        workdir.claim(search.identity)
        self._run = loop.Run(
            task(search),
            workdir,
            progress,
            steps_per_dispatch=steps_per_dispatch,
            checkpoint_minutes=checkpoint_minutes,
            stop=stop,
        )
        if workdir.writes and self._run.epoch and not self._run.history:
            raise InputError(
                f"{workdir.folder / 'alphas.npz'} is not there, and the run cannot go "
                f"on without; remove {workdir.folder} to start again"
            )
        if not self._run.history:
            # Alpha alone: of several processes the others come here without the first.
            self._run.history = [jax.device_get(self._alpha())]
            workdir.write_alphas(self._run.history)
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> "Running":
        """Show the progress."""
        self._opened.enter_context(self._run)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.__exit__(kind, error, traceback)

    def due(self) -> tuple[SearchState, int, int] | None:
        """The arguments of the next dispatch; None at the end, or when stopped."""
        while not self._run.finished:
            span = self._run.span()
            if span is not None:
                return self._run.state, *span
            if self._run.stopped:
                return None
            self._end_epoch()
        self._opened.close()  # all is saved before the result is written
        self.genotype = self._conclude()
        return None

    def take(self, state: SearchState, metrics: Metrics) -> None:
        """What the dispatch that was due has given."""
        self._run.take(state, metrics)

    def _alpha(self) -> Any:
        """Alpha on one device."""
        return self.search.devices.gather_state(self._run.state.alpha)

    def _end_epoch(self) -> None:
        """Choose, measure, evaluate, record alpha, save."""
        done, search = self._run.step // self.search.steps_per_epoch, self.search
        is_last = done == search.epochs
        if is_last and search.choose is not None:  # the best of the candidates
            alpha = search.choose(self._run.state, search.data, search.keys)
            alpha = search.devices.shard_state(alpha)
            self._run.state = self._run.state._replace(alpha=alpha)
        self._analyse([a for a in self._analyses if is_last or done % a.every == 0])
        state = self._run.sound_state()  # before anything of this epoch is written
        alpha = jax.device_get(state.alpha)
        self._run.history.append(alpha)
        values: dict[str, float] = {}
        if is_last or done % self._evaluate_every == 0:
            self._run.last_valid = self._evaluated()
            values = {
                name.removeprefix("valid_"): value
                for name, value in self._run.last_valid.items()
            }
        skips = search.method.derive(search.net.space, alpha).skip_connects
        values |= {f"skips/{name}": float(n) for name, n in skips.items()}
        self._run.workdir.write_alphas(self._run.history)
        self._run.end_epoch(state, values)

    def _analyse(self, due: Sequence[Analysis]) -> None:
        """Log the measures that are due, before the checkpoint that they belong to."""
        if due:
            self._run.sound_state()
        values: dict[str, float] = {}
        for one in due:
            values |= one.measure(self.search, self._run.state)
        if values:
            self._run.log("analysis", values)

    def _evaluated(self) -> dict[str, float]:
        search = self.search
        sums = search.evaluate(self._run.state, search.data, search.keys)
        return summarise(jax.device_get(sums))

    def _conclude(self) -> Genotype:
        """Derive, and write the result."""
        alpha = jax.device_get(self._alpha())
        genotype = self.search.method.derive(self.search.net.space, alpha)
        genotype = genotype._replace(source=self._source)
        self._run.log("result", self._evaluated())
        self._run.workdir.write_genotype(genotype)
        return genotype
