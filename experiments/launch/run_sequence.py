r"""Launches one after another as one process: a search, then what it found is trained.

    python -m experiments.launch.run_sequence \
        -m experiments.search … + -m experiments.retrain …

A launch begins once the one before has ended with 0; the exit code is that of the last
one run. SIGTERM and SIGINT are handed on, so that a launch saves and leaves; the same
command again goes on with it.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

#: Stands between two launches.
AND = "+"


def launches(arguments: Sequence[str]) -> list[list[str]]:
    """The arguments of each launch.

    >>> launches(["-m", "a", "+", "-m", "b", "--c"])
    [['-m', 'a'], ['-m', 'b', '--c']]
    """
    found: list[list[str]] = [[]]
    for argument in arguments:
        if argument == AND:
            found.append([])
        else:
            found[-1].append(argument)
    return found


def main(arguments: Sequence[str]) -> int:
    """Run them; the exit code of the last one run."""
    running: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if running is not None:
            running.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    for launch in launches(arguments):
        if asked:
            return 128 + asked[-1]
        running = subprocess.Popen([sys.executable, *launch])
        if asked:  # before there was a process to tell
            running.send_signal(asked[-1])
        code = running.wait()
        if code:
            return code if code > 0 else 128 - code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
