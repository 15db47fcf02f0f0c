"""Write the report of a search run, also of one that runs still or has crashed.

    python -m experiments.report --workdir=DIR

writes ``DIR/report.html``, one file that needs nothing else, and prints its path.
Exit code 2: bad input, told in one line.
"""

from collections.abc import Sequence

from absl import flags

from experiments.launch import app
from nasjax.base import InputError
from nasjax.report import write_report

# Other launchers have this flag too; tests import several of them together.
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the search run.", allow_override=True
)


def main(argv: Sequence[str]) -> None:
    """Write the report of the run in ``--workdir``."""
    del argv
    if not _WORKDIR.value:
        raise InputError("flag --workdir=DIR is missing: the folder of a search run")
    print(write_report(_WORKDIR.value))


if __name__ == "__main__":
    app.run(main)
