"""Searches that are killed at random moments end at the same bits; `kill_test` long."""

import json
import pathlib
import random
import shutil
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests import kill_test
from tests.launching import Launcher

EPOCHS, KILLS = 4, 2


@pytest.fixture
def launcher(method: str) -> Iterator[Launcher]:
    launcher = Launcher(devices=kill_test.DEVICES[method])
    yield launcher
    launcher.close()


@pytest.mark.parametrize("method", kill_test.FIELDS)
def test_a_killed_search_ends_at_the_same_bits(
    tmp_path: pathlib.Path, launcher: Launcher, compilation_cache: str, method: str
):
    flags = kill_test.arguments(method, EPOCHS, compilation_cache)
    alone = tmp_path / "alone"
    began = time.monotonic()
    ended = launcher(*flags, f"--workdir={alone}")
    assert ended.code == 0, ended.err
    life = time.monotonic() - began
    killed: list[kill_test.Kill] = []
    for folder in kill_test.disturbed(
        launcher,
        flags,
        tmp_path,
        kills=KILLS,
        steps=kill_test.STEPS * EPOCHS,
        life=life,
        draw=random.Random(method),
        tell=killed.append,
    ):
        assert kill_test.differences(alone, folder) == []
    assert len(killed) == KILLS
    check_that_differences_are_seen(alone)


def check_that_differences_are_seen(alone: pathlib.Path) -> None:
    """The comparison can fail: a bit of alpha, a line twice or missing, more."""
    for name, change in CHANGES.items():
        other = alone.with_name("other")
        shutil.copytree(alone, other)
        change(other)
        (found, *more) = kill_test.differences(alone, other)
        assert (name in found, more) == (True, [])
        shutil.rmtree(other)


def change_alpha(folder: pathlib.Path) -> None:
    with np.load(folder / "alphas.npz") as stored:
        alphas = dict(stored)
    alphas["cell"].view(np.int32)[-1, 0, 0] ^= 1
    np.savez(folder / "alphas.npz", **alphas)


def change_lines(folder: pathlib.Path, *, twice: bool) -> None:
    file = folder / "metrics.jsonl"
    *lines, last = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, *[last] * 2 * twice]))


def change_value(folder: pathlib.Path) -> None:
    file = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in file.open()]
    rows[3]["step"] += 1
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def take_older_state(folder: pathlib.Path) -> None:
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(newest)


CHANGES = {
    "alphas.npz": change_alpha,
    "metrics.jsonl": lambda folder: change_lines(folder, twice=True),
    "metrics": lambda folder: change_lines(folder, twice=False),
    "metrics.json": change_value,
    "checkpoints": take_older_state,
    "x.part was left": lambda folder: (folder / "x.part").touch(),
    "config.json": lambda folder: (folder / "config.json").write_text("{}"),
    "genotype.json": lambda folder: (folder / "genotype.json").write_text("{}"),
    "has no report": lambda folder: (folder / "report.html").unlink(),
}
