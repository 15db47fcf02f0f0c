"""The search that every method shares: the host side.

`prepare` compiles and measures, `run` goes on from wherever the workdir stands, in
the loop of `nasjax.runtime.loop`.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import jax

from nasjax.analysis.probes import Analysis
from nasjax.base import InputError
from nasjax.bilevel import Optimizers as Optimizers
from nasjax.bilevel import summarise
from nasjax.data.augment import Augmentation
from nasjax.data.batches import DeviceData
from nasjax.genotype import Genotype
from nasjax.methods.base import Method
from nasjax.outline import Search as Search
from nasjax.outline import check_fits, compile_dispatch, measure, outline, task
from nasjax.runtime import budget as budgets
from nasjax.runtime import loop
from nasjax.runtime.loop import NotFiniteError as NotFiniteError
from nasjax.runtime.loop import fingerprint as fingerprint
from nasjax.runtime.progress import Progress
from nasjax.runtime.workdir import Workdir
from nasjax.supernet import Supernet


def prepare(
    net: Supernet,
    method: Method,
    data: DeviceData,
    *,
    optimizers: Optimizers,
    epochs: int = 50,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    num_devices: int = 1,
) -> tuple[Search, budgets.Budget]:
    """Compile a search and measure what it will cost.

    Args:
      net: the supernet of the space the method adapted; for several devices, built
        with the axis name of `parallel.Devices`.
      method: the search method.
      data: the data set, laid out for the batch size.
      optimizers: of weights and alpha; schedules count steps.
      epochs: of the search.
      seed: of the weights, the order of the examples and every draw.
      augmentation: of both halves; None for none.
      num_devices: that share a batch.

    Raises:
      InputError: more devices than there are, a batch they cannot share out, or what
        does not fit into their memory.
    """
    search = outline(
        net,
        method,
        data,
        optimizers=optimizers,
        epochs=epochs,
        augmentation=augmentation,
        num_devices=num_devices,
    ).search(data, seed)
    check_fits(search)
    started = time.perf_counter()
    state = search.devices.shard_state(search.new_state())
    compiled = compile_dispatch(search, state)
    compile_seconds = time.perf_counter() - started
    budgets.check_fits("a step", budgets.peak_bytes(compiled))
    search = search._replace(dispatch=compiled)
    step_seconds = loop.trial_seconds(
        task(search).dispatch, state, steps_per_epoch=search.steps_per_epoch
    )
    return search, measure(search, compiled, compile_seconds, step_seconds)


def run(
    search: Search,
    workdir: Workdir,
    *,
    progress: Progress,
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
      progress: told of every dispatch and epoch.
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
    return loop.drive(
        steps(
            search,
            workdir,
            progress=progress,
            steps_per_dispatch=steps_per_dispatch,
            evaluate_every=evaluate_every,
            analyses=analyses,
            source=source,
            checkpoint_minutes=checkpoint_minutes,
            stop=stop,
        ),
        task(search).dispatch,
    )


def steps(
    search: Search,
    workdir: Workdir,
    *,
    progress: Progress,
    steps_per_dispatch: int = 20,
    evaluate_every: int = 1,
    analyses: Sequence[Analysis] = (),
    source: str = "",
    checkpoint_minutes: float = 10.0,
    stop: Callable[[], bool] = lambda: False,
) -> loop.Asking[Genotype | None]:
    """What `run` does, with its arguments; the dispatches are asked for."""
    workdir.claim(search.identity)
    run_ = loop.Run(task(search), workdir, progress)
    if workdir.writes and run_.epoch and not run_.history:
        raise InputError(
            f"{workdir.folder / 'alphas.npz'} is not there, and the run cannot go on "
            f"without; remove {workdir.folder} to start again"
        )
    if not run_.history:
        # Alpha alone: of several processes the others come here without the first.
        run_.history = [jax.device_get(search.devices.gather_state(run_.state.alpha))]
        workdir.write_alphas(run_.history)
    with run_:
        while run_.epoch < search.epochs:
            finished = yield from run_.train(
                steps_per_dispatch, stop=stop, checkpoint_minutes=checkpoint_minutes
            )
            if not finished:
                return None
            done = run_.epoch
            is_last = done == search.epochs
            if is_last and search.choose is not None:
                _choose(search, run_)
            due = [one for one in analyses if is_last or done % one.every == 0]
            _analyse(search, run_, due)
            _end_epoch(search, run_, is_last or done % evaluate_every == 0)
    return _conclude(search, run_, source)


def _choose(search: Search, run_: loop.Run) -> None:
    """Put the best of the method's candidates into alpha."""
    assert search.choose is not None
    alpha = search.choose(run_.state, search.data, search.keys)
    run_.state = run_.state._replace(alpha=search.devices.shard_state(alpha))


def _analyse(search: Search, run_: loop.Run, due: Sequence[Analysis]) -> None:
    """Log the measures that are due, before the checkpoint that they belong to."""
    if due:
        run_.sound_state()
    values: dict[str, float] = {}
    for one in due:
        values |= one.measure(search, run_.state)
    if values:
        epoch = run_.epoch - 1
        run_.workdir.log("analysis", step=run_.step, epoch=epoch, values=values)


def _end_epoch(search: Search, run_: loop.Run, evaluate: bool) -> None:
    """Evaluate, record alpha, save."""
    state = run_.sound_state()  # before anything of this epoch is written
    alpha = jax.device_get(state.alpha)
    run_.history.append(alpha)
    values: dict[str, float] = {}
    if evaluate:
        sums = search.evaluate(run_.state, search.data, search.keys)
        run_.last_valid = summarise(jax.device_get(sums))
        values = {
            name.removeprefix("valid_"): value
            for name, value in run_.last_valid.items()
        }
    skips = search.method.derive(search.net.space, alpha).skip_connects
    values |= {f"skips/{name}": float(n) for name, n in skips.items()}
    run_.workdir.write_alphas(run_.history)
    run_.end_epoch(state, values)


def _conclude(search: Search, run_: loop.Run, source: str) -> Genotype:
    """Derive, and write the result."""
    alpha = search.devices.gather_state(run_.state.alpha)
    genotype = search.method.derive(search.net.space, jax.device_get(alpha))
    genotype = genotype._replace(source=source)
    sums = search.evaluate(run_.state, search.data, search.keys)
    values: Mapping[str, float] = summarise(jax.device_get(sums))
    run_.workdir.log("result", step=run_.step, epoch=search.epochs - 1, values=values)
    run_.workdir.write_genotype(genotype)
    return genotype
