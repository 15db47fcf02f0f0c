"""Launches of the search for the tests, in processes of their own."""

import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.launch.xla_flags import with_shared_calls

ROOT = pathlib.Path(__file__).parents[1]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


#: What a computing launch may have said when it refuses its configuration or its data.
STARTED = r"(device .*\nconfig .*\nfolder .*\n(data .*\n)?)?"


def environment(*, devices: int = 1, **more: str) -> dict[str, str]:
    """That of the tests; launches find the checkout wherever they stand.

    The tests' own process has four devices. A launch has one if it is not about them:
    a CPU's programs of several are compiled at every launch.
    """
    flags = f"--xla_force_host_platform_device_count={devices}"
    ours = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "XLA_FLAGS": flags}
    return with_shared_calls(os.environ | ours | more)


def start(
    *flags: str, cwd: pathlib.Path = ROOT, devices: int = 1
) -> subprocess.Popen[str]:
    """``python -m experiments.search`` as a user types it."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.search", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(devices=devices),
    )


def wait(process: subprocess.Popen[str], timeout: float = 300) -> Ended:
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return Ended(process.returncode, out, err)


def launch(*flags: str, **settings: Any) -> Ended:
    return wait(start(*flags, **settings))


#: Imports what a launch imports, then forks for each: seconds of imports are spent
#: once. JAX has no threads yet, so that a fork of it is whole.
_SERVER = """
import json, os, runpy, signal, sys, traceback
import experiments.launch.build, nasjax.report, nasjax.search, sklearn.datasets
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid:
        print(pid, flush=True)
    else:
        for number, file in ((1, order["out"]), (2, order["err"])):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        signal.alarm(300)
        os.chdir(order["cwd"])
        os.environ.update(order["environment"])
        sys.argv[1:] = order["flags"]
        code = "the launcher returned"  # which none does
        try:
            runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)  # exit handlers take a second
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Launcher:
    """Launches, of ``experiments.search`` by default, that begin within a tenth of a
    second. One at a time: `begin` and `end`, or a call for both.
    """

    def __init__(self, *, devices: int = 1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(devices=devices),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def begin(
        self,
        *flags: str,
        module: str = "experiments.search",
        cwd: pathlib.Path = ROOT,
        environment: Mapping[str, str] = {},
    ) -> int:
        """Start; the process id."""
        self._folder = tempfile.TemporaryDirectory()
        order = {
            "module": module,
            "flags": flags,
            "cwd": str(cwd),
            "environment": dict(environment),
            **{name: str(self._file(name)) for name in ("out", "err")},
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def _file(self, name: str) -> pathlib.Path:
        return pathlib.Path(self._folder.name) / name

    def has_ended(self) -> bool:
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def end(self) -> Ended:
        """Wait for what was begun."""
        code = int(self._process.stdout.readline())
        texts = [
            self._file(name).read_text() if self._file(name).exists() else ""
            for name in ("out", "err")
        ]
        self._folder.cleanup()
        return Ended(code, *texts)

    def __call__(self, *flags: str, **settings: Any) -> Ended:
        self.begin(*flags, **settings)
        return self.end()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=30)
