"""Train a genotype from scratch, and test it.

    python -m experiments.retrain --genotype=FILE|NAME|RUN|RUN@EPOCH
        [--config=NAME[:variant]] [--workdir=DIR]
        [--config.any.field=value]

The genotype is a published name (DARTS_V2), the folder of a search, its
``genotype.json``, a file with another form of it (FILE:NAME is one of several that it
assigns to names), or a genotype's text itself: a NAS-Bench-201 string, JSON, or what
the DARTS code prints. ``RUN@25`` is what the search in the folder RUN had found after
25 epochs; it need not be finished. Without ``--config``: scikit-learn's handwritten
digits, offline.
A tenth of the training images is held out (``--config.data.valid_fraction``); the test
split is evaluated once, at the end. The workdir then holds ``result.json``, the weights
under PyTorch's names in ``weights.safetensors``, and ``report.html``.

The same command again goes on where it was stopped; a finished run says so and changes
nothing. Exit codes: 0 done, 1 the loss is no number any more, 2 bad input, 143 or 130
stopped by SIGTERM or SIGINT after a checkpoint.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import hashlib
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.launch import app, build_training, epochs, processes, runs
from experiments.launch.signals import StopRequest
from nasjax import genotypes, retrain
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.genotype_text import clean
from nasjax.retrain.training import RESULT, WEIGHTS
from nasjax.runtime.progress import ConsoleProgress
from nasjax.runtime.workdir import Workdir

flags.adopt_module_key_flags(runs)  # --help tells of them too
_DEFAULT = "retrain_digits"

_GENOTYPE = flags.DEFINE_string(
    "genotype",
    None,
    "What to train: a published name, a search's folder, FOLDER@EPOCH for what it had "
    "found after an epoch, a file, or a string.",
    allow_override=True,
)


def read_genotype(text: str | None) -> tuple[Genotype, str]:
    """The genotype that a flag names, and a name for folders.

    Raises:
      InputError: none given, or one that cannot be read.
    """
    if not text:
        known = ", ".join(genotypes.GENOTYPES)
        raise InputError(
            f"flag --genotype is missing: a search's folder, a file, or one of {known}"
        )
    try:
        earlier = epochs.named(text)
        if earlier is not None:
            folder, epoch = earlier
            return epochs.genotype_at(*earlier), _word(f"{folder.name}-epoch{epoch}")
        file, chosen = genotypes.find(clean(text))
        if file is None and not genotypes.is_text(text) and Path(text).is_dir():
            raise InputError(
                f"{text} has no genotype.json; its search is not finished, or it is no "
                "search's folder"
            )
        genotype = genotypes.get(text)
    except InputError as error:
        raise InputError(f"flag --genotype: {error}") from None
    return genotype, _folder_name(text, genotype, file, chosen)


def _folder_name(
    text: str, genotype: Genotype, file: Path | None, chosen: str | None
) -> str:
    """What a run of a genotype is called after."""
    if file is not None:
        own = file.resolve().parent.name if file.stem == "genotype" else file.stem
        text = chosen or own
    elif genotypes.is_text(text) and not genotype.arch_str:
        digest = hashlib.sha256(genotype.to_json().encode()).hexdigest()
        text = f"genotype_{digest[:8]}"
    return _word(text)


def _word(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_")[:60]


def main(argv: Sequence[str]) -> int:
    """Run the training the flags describe."""
    del argv
    processes.refuse("experiments.retrain")
    started = time.perf_counter()
    genotype, name = read_genotype(_GENOTYPE.value)
    # The genotype is part of what the run is: another one is another run.
    own = {"genotype": json.loads(genotype.to_json())}
    config: dict[str, Any] = own | runs.CONFIG.value.to_dict()
    default = runs.default_workdir(
        runs.config_file(), name, seed=config["seed"], fields=runs.overridden()
    )
    workdir = Workdir(runs.WORKDIR.value or default, result=RESULT)
    if runs.is_finished(workdir, config):
        return 0
    with runs.preparing(workdir.folder):
        parts = build_training.all_parts(
            config,
            genotype,
            num_devices=runs.DEVICES.value,
            tell=runs.tell_read,
        )
        training, budget = retrain.prepare(*parts, seed=config["seed"])
    runs.begin(workdir, config, budget, started=started)
    workdir.write_genotype(genotype)
    return runs.finish(
        workdir,
        config,
        "train",
        _runs(training, workdir, config),
        _teller(workdir),
        needed=budget.peak_bytes,
    )


def _runs(training: retrain.Training, workdir: Workdir, config: dict[str, Any]) -> Any:
    """The training as `runs.finish` calls it."""
    block = config["train"]

    def run(stop: StopRequest) -> retrain.Result | None:
        return retrain.run(
            training,
            workdir,
            progress=ConsoleProgress(group="", valid="valid accuracy"),
            steps_per_dispatch=block["steps_per_dispatch"],
            evaluate_every=block["evaluate_every"],
            checkpoint_minutes=runs.MINUTES.value,
            stop=stop,
        )

    return run


def _teller(workdir: Workdir) -> Any:
    """What is printed of a result."""

    def tell(result: retrain.Result) -> None:
        print(
            f"test accuracy {100 * result.test['accuracy']:.2f} %, loss "
            f"{result.test['loss']:.4f}"
            + (", of the averaged weights" if result.averaged else "")
        )
        print(f"result   {workdir.folder / RESULT}")
        print(f"weights  {workdir.folder / WEIGHTS}")

    return tell


if __name__ == "__main__":
    app.run(main, defaults={"config": _DEFAULT})
