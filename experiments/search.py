"""Search for an architecture.

    python -m experiments.search [--config=experiments/configs/NAME.py[:variant]]
        [--workdir=DIR] [--config.any.field=value]

Without flags: STC-NAS on scikit-learn's handwritten digits, offline. The same
command again goes on where it was stopped; a finished run says so and changes
nothing. Exit codes: 0 done, 1 the loss is no number any more, 2 bad input, 143 or 130
stopped by SIGTERM or SIGINT after a checkpoint.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from experiments import app, build
from experiments.signals import StopRequest
from nasjax import search
from nasjax.genotype import Genotype
from nasjax.progress import ConsoleProgress
from nasjax.report import write_report
from nasjax.workdir import Workdir

_DEFAULT = "experiments/configs/stc_nas_darts_digits.py"

_CONFIG = config_flags.DEFINE_config_file("config", None, lock_config=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/CONFIG[-VARIANT]-seedSEED by default."
)
_CACHE = flags.DEFINE_string(
    "compilation_cache",
    str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "nasjax" / "xla"),
    "Folder of compiled programs, kept between runs; empty for none.",
)


def default_workdir(config_file: str, seed: int) -> Path:
    """Where a run goes when no folder is given.

    >>> str(default_workdir("experiments/configs/a_b.py:smoke", 3))
    'runs/a_b-smoke-seed3'
    """
    file, _, variant = config_file.partition(":")
    return Path("runs") / "-".join(
        filter(None, (Path(file).stem, variant, f"seed{seed}"))
    )


def main(argv: Sequence[str]) -> int:
    """Run the search the flags describe."""
    del argv
    started = time.perf_counter()
    config: dict[str, Any] = _CONFIG.value.to_dict()
    config_file = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = Workdir(_WORKDIR.value or default_workdir(config_file, config["seed"]))
    workdir.check(config)
    if workdir.finished:
        print(f"{workdir.folder} holds the finished run; nothing to do")
        return 0
    if _CACHE.value:
        build.use_compilation_cache(os.path.expanduser(_CACHE.value))
    net, method, data = build.all_parts(config)
    task, budget = search.prepare(
        net,
        method,
        data,
        optimizers=build.both_optimizers(config, data),
        epochs=config["search"]["epochs"],
        batch_size=config["search"]["batch_size"],
        seed=config["seed"],
        augmentation=build.augmentation(config),
    )
    is_new = workdir.open(config)
    print(budget)
    if is_new:
        workdir.describe(config_file=config_file, primitives=list(net.space.primitives))
        ready = time.perf_counter() - started
        values = budget._asdict() | {"ready_seconds": ready}
        workdir.log("budget", step=0, epoch=0, values=values)
    return _search(task, workdir, config)


def _search(task: search.Search, workdir: Workdir, config: dict[str, Any]) -> int:
    block = config["search"]
    try:
        with StopRequest() as stop:
            genotype = search.run(
                task,
                workdir,
                progress=ConsoleProgress(),
                steps_per_dispatch=block["steps_per_dispatch"],
                evaluate_every=block["evaluate_every"],
                source=f"{config['method']['name']}, {config['data']['name']}, "
                f"seed {config['seed']}",
                stop=stop,
            )
    except search.NotFiniteError as error:
        print(
            f"error: {error}; lower search.learning_rate ({block['learning_rate']}) or "
            f"search.clip_norm ({block['clip_norm']}); the last checkpoint is sound",
            file=sys.stderr,
        )
        return 1
    finally:
        workdir.close()
    report = write_report(workdir.folder)
    if genotype is None:
        print(
            f"stopped after a checkpoint in {workdir.folder}; the same command goes on"
        )
        return stop.exit_code
    _print_result(genotype, workdir, report)
    return 0


def _print_result(genotype: Genotype, workdir: Workdir, report: Path) -> None:
    for name, cell in genotype.cells.items():
        edges = ", ".join(f"{operation}←{source}" for operation, source in cell)
        print(f"{name}: {edges}")
    if genotype.arch_str:
        print(genotype.arch_str)
    print(f"genotype {workdir.genotype}\nreport   {report}")


if __name__ == "__main__":
    app.run(main, defaults={"config": _DEFAULT})
