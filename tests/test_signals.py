"""SIGTERM and SIGINT, real ones, to a real process that is busy outside of Python."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.launching import ROOT, environment

#: Matrix products of many seconds hold the main thread, as a dispatch does: Python's
#: own handlers have to wait for their end.
_BUSY = """
import sys, time
import numpy as np
from experiments.launch.signals import StopRequest

size = int(sys.argv[1])
a = np.ones((size, size))
with StopRequest() as stop:
    print("ready", flush=True)
    while True:  # busy at least once, however early the signal comes
        a @ a if size > 1 else time.sleep(0.01)
        if stop():
            break
print("saved", flush=True)
sys.exit(stop.exit_code)
"""


def busy(size: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _BUSY, str(size)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(OPENBLAS_NUM_THREADS="1"),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def quick() -> Iterator[subprocess.Popen[str]]:
    process = busy(1)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        (signal.SIGTERM, 143, ""),
        (
            signal.SIGINT,
            130,
            "stopping after this dispatch and a save; again to stop at once\n",
        ),
    ],
)
def test_a_signal_is_heard(quick, number: int, code: int, told: str):
    quick.send_signal(number)
    out, err = quick.communicate(timeout=30)
    assert (quick.returncode, out, err) == (code, "saved\n", told)


def test_a_second_interrupt_ends_a_process_that_is_busy():
    process = busy(6000)  # a product takes 10 s or more on one core
    try:
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert "again to stop at once" in process.stderr.readline()
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - started < 5
        assert (process.returncode, out) == (130, "")
        assert err == "stopped at once, without a save\n"
    finally:
        process.kill()


def test_a_second_sigterm_changes_nothing(quick):
    quick.send_signal(signal.SIGTERM)
    quick.send_signal(signal.SIGTERM)
    out, _ = quick.communicate(timeout=30)
    assert (quick.returncode, out) == (143, "saved\n")


def test_afterwards_the_handlers_are_those_of_before():
    from experiments.launch.signals import StopRequest

    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with StopRequest() as stop:
        assert not stop()
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before
