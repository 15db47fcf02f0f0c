"""Measure the engine, by itself or beside PyTorch; one JSON object a line.

    python -m experiments.benchmark --what=search_step [--method=darts] [--space=darts]
        [--channels=16] [--num_cells=8] [--batch_size=64] [--dtype=float32]
        [--against=torch] [--compile_torch]
    python -m experiments.benchmark --what=share --method=msg_das [--num_steps=20]
    python -m experiments.benchmark --what=retrain_step [--genotype=DARTS_V2]
    python -m experiments.benchmark --what=depthwise|ring|devices
    python -m experiments.benchmark --what=compile [--target=h200|a100|v5e] [--hlo=FILE]
        [--engine=auto|batched|scan]
    python -m experiments.benchmark --what=memory [--methods=stc_nas,gdas]
    python -m experiments.benchmark --what=teachers [--window=2]
    python -m experiments.benchmark --what=streaming [--num_workers=0,2,4]
        [--data_dir=DIR] [--nocolor_jitter]
    python -m experiments.benchmark --what=table --against=torch [--markdown=FILE]

Each side of each measurement runs in a process of its own, one after the other, that
starts with nothing compiled. ``seconds_to_first_step`` is tracing, compilation and the
first step; then come ``--num_steps`` that are timed. ``peak_bytes`` is the compiler's
memory analysis of the step, ``process_peak_bytes`` what the process held at most.
A search step counts the images of both its batches. ``memory`` compiles and runs
nothing, ``teachers`` takes a narrow supernet, ``streaming`` computes nothing.
``--against=torch`` needs the extra ``bench``, ``--what=compile`` the packages of
``compile-gpu`` or ``compile-tpu`` and no device: nothing runs, its figures are the
compiler's and a model's.
docs/performance.md says what is measured and why.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.benchmark import suite, table
from experiments.launch import app, devices

_WHAT = flags.DEFINE_enum(
    "what", "search_step", [*suite.MEASUREMENTS, "table"], "What is measured."
)
_AGAINST = flags.DEFINE_enum(
    "against", "none", ["torch", "none"], "Measure PyTorch's counterpart too."
)
_COMPILE = flags.DEFINE_boolean(
    "compile_torch", False, "And torch.compile's, which may take many minutes."
)
_MARKDOWN = flags.DEFINE_string(
    "markdown", None, "File for the table as Markdown, written line by line."
)
# Other launchers have these flags too; tests import several of them together.
_NAMES = {
    "method": flags.DEFINE_string(
        "method", "darts", "Search method.", allow_override=True
    ),
    "space": flags.DEFINE_string(
        "space", "darts", "Search space: darts, nasbench201.", allow_override=True
    ),
    "genotype": flags.DEFINE_string(
        "genotype", "DARTS_V2", "Name or file, of a retraining.", allow_override=True
    ),
    "dtype": flags.DEFINE_enum(
        "dtype",
        "float32",
        ["float32", "bfloat16"],
        "Of the activations.",
        allow_override=True,
    ),
    "target": flags.DEFINE_string(
        "target", "h200", "Device that --what=compile compiles for: h200, a100, v5e."
    ),
    "engine": flags.DEFINE_string(
        "engine", "auto", "Of --what=compile: batched, scan."
    ),
    "hlo": flags.DEFINE_string(
        "hlo", None, "File for the optimised program, with --what=compile."
    ),
    "depthwise": flags.DEFINE_string(
        "depthwise",
        "auto",
        "Form of the depthwise convolution.",
        allow_override=True,
    ),
}
_NUMBERS = {
    name: flags.DEFINE_integer(
        name, default, text, lower_bound=low, allow_override=True
    )
    for name, default, low, text in (
        ("channels", None, 1, "C; by default the papers'."),
        ("num_cells", None, 1, "L; of a stage in nasbench201."),
        ("batch_size", None, 1, "B."),
        ("num_steps", 5, 5, "Steps that are timed, after the first."),
        ("num_devices", 4, 1, "That share a batch, with --what=devices."),
        ("window", 2, 1, "K, with --what=teachers."),
    )
}
_METHODS = flags.DEFINE_list(
    "methods",
    ["stc_nas", "gdas", "msg_das", "msg_das_unguided"],
    "Set beside darts, with --what=memory.",
)
#: With --what=streaming.
_STREAM = {
    "num_workers": flags.DEFINE_list(
        "num_workers", ["0", "2"], "Processes that decode."
    ),
    "num_threads": flags.DEFINE_integer(
        "num_threads", 2, "Threads that decode, of each worker, or of the process."
    ),
    "image_size": flags.DEFINE_integer(
        "image_size", 224, "Side of the crops in pixels.", allow_override=True
    ),
    "color_jitter": flags.DEFINE_bool(
        "color_jitter", True, "Jitter colours, as DARTS does."
    ),
    "seconds": flags.DEFINE_float("seconds", 10.0, "How long to measure each."),
    "data_dir": flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of the TFDS data sets; synthetic images without it.",
        allow_override=True,
    ),
}


def main(argv: Sequence[str]) -> int:
    """Print a line a measurement."""
    del argv
    named: dict[str, Any] = {
        name: flag.value for name, flag in (_NAMES | _NUMBERS).items()
    }
    options = suite.Options(
        **named,
        methods=_METHODS.value,
        stream={name: flag.value for name, flag in _STREAM.items()},
        torch=_AGAINST.value == "torch",
        compile_torch=_COMPILE.value,
    )
    options.check()
    device = {"device": devices.line_of_children().removeprefix("device").strip()}
    measurements = suite.MEASUREMENTS | {"table": table.measure}
    lines = []
    try:
        for line in measurements[_WHAT.value](options):
            print(json.dumps(device | line), flush=True)
            lines.append(line)
            if _MARKDOWN.value:
                Path(_MARKDOWN.value).write_text(table.markdown(lines))
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    app.run(main)
