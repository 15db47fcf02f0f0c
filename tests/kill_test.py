"""Kill a real search at random moments, and hold it against one left alone.

    python -m tests.kill_test [--kills=12] [--methods=sd_darts,msg_das,stc_nas]
        [--epochs=30] [--seed=0]

Every process is a ``python -m experiments.search`` and ends by SIGKILL: at any moment
of its life, in the course of a step not far ahead, or while a checkpoint is
half written. Then the same command goes on. What the run leaves (bits of the last
checkpoint, alphas, metrics, genotype) must be what the undisturbed run leaves. One JSON
object a line for each kill, and for each comparison; exit code 1 where anything
differs.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from nasjax.runtime import checkpoint
from tests.launching import Ended, start, wait

#: Of an epoch of the smoke variants.
STEPS = 3
#: What a search has to do with the clock.
_CLOCKS = ("images_per_second",)
#: Fields that make a method use all of its parts within a few epochs.
FIELDS = {
    "sd_darts": ("--config.method.warmup=1",),
    "msg_das": (),
    "stc_nas": (),
}
#: Of each method: SD-DARTS has a memory whose rows are the devices' own.
DEVICES = {"sd_darts": 4, "msg_das": 1, "stc_nas": 1}


class Processes(Protocol):
    """How searches are started: really, or out of a process that has imported all."""

    def begin(self, *flags: str) -> int:
        """Start one; its process id."""

    def has_ended(self) -> bool:
        """Whether it has."""

    def end(self) -> Ended:
        """Wait for it."""


class Typed:
    """Processes as a user starts them."""

    def __init__(self, *, devices: int) -> None:
        self._devices = devices

    def begin(self, *flags: str) -> int:
        self._process = start(*flags, devices=self._devices)
        return self._process.pid

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> Ended:
        return wait(self._process)


class Kill(NamedTuple):
    """One kill.

    Attributes:
      while_: what the process was doing, as far as its files tell.
      step: the last that was logged.
      seconds: after the start.
    """

    while_: str
    step: int
    seconds: float


def arguments(method: str, epochs: int, cache: str = "") -> list[str]:
    """Of a tiny search on the digits that saves after every step."""
    return [
        f"--config=experiments/configs/{method}_nasbench201_digits.py:smoke",
        f"--config.search.epochs={epochs}",
        "--config.search.steps_per_dispatch=1",
        "--checkpoint_minutes=0",
        *([f"--compilation_cache={cache}"] if cache else []),
        *FIELDS.get(method, ()),
    ]


def rows(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Whole lines of the metrics, also of a run under way."""
    file = folder / "metrics.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().split("\n")[:-1] if line]


def _is_saving(folder: pathlib.Path, since: float) -> bool:
    """Whether a save is under way that began after a time."""
    for path in (folder / "checkpoints").glob("*.orbax-checkpoint-tmp*"):
        with contextlib.suppress(FileNotFoundError):  # moved meanwhile
            if path.stat().st_mtime >= since:
                return True
    return False


def _doing(folder: pathlib.Path, since: float) -> str:
    if _is_saving(folder, since):
        return "saving"
    if (folder / "genotype.json").exists():
        return "reporting"
    steps = checkpoint.steps(folder / "checkpoints")
    return "training" if steps else "starting"


class Moment(NamedTuple):
    """When a process is to be killed.

    Attributes:
      step: not before this one is logged.
      seconds: after that.
      in_save: and not before a save is under way.
    """

    step: int
    seconds: float
    in_save: bool


def draw_moment(draw: random.Random, last: int, steps: int, life: float) -> Moment:
    """A moment of a process that goes on after step ``last`` of ``steps``.

    A third each: anywhere in its life; in the course of a step not far ahead, or of
    what follows the last one; in a save.
    """
    kind = draw.choice(("life", "step", "save"))
    if kind == "life":
        return Moment(0, draw.uniform(0, life), False)
    ahead = min(steps, last + draw.randint(1, max(1, steps // 3)))
    return Moment(ahead, draw.uniform(0, 0.2 if ahead < steps else 2.0), kind == "save")


def kill(
    processes: Processes,
    flags_: list[str],
    folder: pathlib.Path,
    moment: Moment,
) -> Kill | None:
    """Start, and kill at a moment; None where the process ended before that."""
    began_at, began = time.time(), time.monotonic()
    reached: float | None = None
    pid = processes.begin(*flags_, f"--workdir={folder}")
    while not processes.has_ended():
        now = time.monotonic()
        if reached is None and last_step(folder) >= moment.step:
            reached = now
        due = reached is not None and now - reached >= moment.seconds
        if due and (not moment.in_save or _is_saving(folder, began_at)):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    seconds = time.monotonic() - began
    ended = processes.end()
    if ended.code == 0:
        return None
    if ended.code != -signal.SIGKILL:
        raise RuntimeError(f"a search ended by itself with {ended.code}: {ended.err}")
    return Kill(_doing(folder, began_at), last_step(folder), round(seconds, 2))


def last_step(folder: pathlib.Path) -> int:
    """The last step that was logged."""
    return max((row["step"] for row in rows(folder)), default=0)


def disturbed(
    processes: Processes,
    flags_: list[str],
    root: pathlib.Path,
    *,
    kills: int,
    steps: int,
    life: float,
    draw: random.Random,
    tell: Callable[[Kill], None] = lambda kill: None,
) -> Iterator[pathlib.Path]:
    """Runs that were killed, in all so often, and then went on to their end."""
    done = 0
    for number in itertools.count():
        folder = root / f"killed{number}"
        while done < kills and not (folder / "report.html").exists():
            moment = draw_moment(draw, last_step(folder), steps, life)
            found = kill(processes, flags_, folder, moment)
            if found is None:
                break
            tell(found)
            done += 1
        processes.begin(*flags_, f"--workdir={folder}")
        ended = processes.end()
        if ended.code:
            raise RuntimeError(f"a search ended with {ended.code}: {ended.err}")
        yield folder
        if done >= kills:
            return


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """What differs between two finished runs, apart from the clock."""
    found = []
    for name in ("config.json", "genotype.json"):
        if (one / name).read_bytes() != (other / name).read_bytes():
            found.append(name)
    if _metrics(one) != _metrics(other):
        found.append("metrics.jsonl")
    arrays = [_alphas(folder) for folder in (one, other)]
    if checkpoint.digest(arrays[0]) != checkpoint.digest(arrays[1]):
        found.append("alphas.npz")
    states = [_last_state(folder) for folder in (one, other)]
    if checkpoint.digest(states[0]) != checkpoint.digest(states[1]):
        found.append("checkpoints")
    for folder in (one, other):
        left = [*folder.glob("*.part"), *folder.glob("checkpoints/*tmp*")]
        found += [f"{path} was left" for path in left]
        if not (folder / "report.html").exists():
            found.append(f"{folder} has no report.html")
    return found


def _metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Every line but what the clock says; of budgets, that there was one."""
    found = rows(folder)
    for row in found:
        if row["phase"] == "budget":
            row["values"] = {}
        for name in _CLOCKS:
            row["values"].pop(name, None)
    return found


def _alphas(folder: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(folder / "alphas.npz", allow_pickle=False) as stored:
        return dict(stored)


def _last_state(folder: pathlib.Path) -> dict[str, np.ndarray]:
    newest = checkpoint.steps(folder / "checkpoints")[0]
    return checkpoint.read(folder / "checkpoints" / str(newest)).arrays


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def main() -> int:
    """Kill searches of each method."""
    parser = argparse.ArgumentParser(description="Kill searches and compare.")
    parser.add_argument("--kills", type=int, default=12, help="of each method")
    parser.add_argument("--methods", default="sd_darts,msg_das,stc_nas")
    parser.add_argument("--epochs", type=int, default=30, help="of 3 steps")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    failed = 0
    for method in given.methods.split(","):
        flags_ = arguments(method, given.epochs)
        doing: Counter[str] = Counter()

        def tell(kill: Kill, method: str = method, doing: Any = doing) -> None:
            doing[kill.while_] += 1
            _say(method=method, **kill._asdict())

        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            alone, processes = root / "alone", Typed(devices=DEVICES[method])
            processes.begin(*flags_, f"--workdir={alone}")
            assert processes.end().code == 0
            began = time.monotonic()  # of a life, everything compiled
            processes.begin(*flags_, f"--workdir={root / 'timed'}")
            assert processes.end().code == 0
            life = time.monotonic() - began
            for folder in disturbed(
                processes,
                flags_,
                root,
                kills=given.kills,
                steps=STEPS * given.epochs,
                life=life,
                draw=random.Random(f"{given.seed} {method}"),
                tell=tell,
            ):
                found = differences(alone, folder)
                failed += bool(found)
                _say(method=method, same=not found, differences=found)
        _say(method=method, kills=sum(doing.values()), **doing)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
