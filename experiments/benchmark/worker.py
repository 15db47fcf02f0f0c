"""One side of one measurement, in a process that has done nothing before.

`measure` starts it; the process takes a job as JSON on its standard input and answers
with a JSON object on its standard output.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from experiments.benchmark.timing import process_peak_bytes

_SIDES = {
    "nasjax": "experiments.benchmark.nasjax_side",
    "memory": "experiments.benchmark.memory",
    "torch": "tests.oracles.torch_side",
    "torch_kernels": "tests.oracles.torch_kernels",
    "compiler": "experiments.benchmark.compile_side",
}


def measure(
    side: str, job: str, *, environment: Mapping[str, str] = {}, **settings: Any
) -> dict[str, Any]:
    """Run a job in a fresh process, without a cache of compiled programs.

    Args:
      side: a key of `_SIDES`.
      job: name of a function of the side's module.
      environment: variables of the process, beside those of this one.
      **settings: keyword arguments of the job, as JSON can hold them.

    Returns:
      What the job measured, with the ``process_peak_bytes`` of its whole process.

    Raises:
      RuntimeError: the process failed; its own words are on stderr.
    """
    done = _run(side, job, settings, environment)
    if done.returncode:
        raise RuntimeError(
            f"the process of {side}'s {job} ended with code {done.returncode}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def attempt(
    side: str, job: str, *, environment: Mapping[str, str] = {}, **settings: Any
) -> tuple[dict[str, Any] | None, str]:
    """`measure` of a job that may abort its process: what it measured, or why not.

    Returns:
      What the job measured and "", or None and the line of its words that says why.
    """
    done = _run(side, job, settings, environment, stderr=subprocess.PIPE)
    if not done.returncode:
        return json.loads(done.stdout.splitlines()[-1]), ""
    return None, _reason(done.stderr, done.returncode)


def _reason(words: str, code: int) -> str:
    r"""The line that says why a process ended: a failed check's, an error's, the last.

    >>> _reason("F0000 tiling.cc:7] Check failed: a == b\n*** stack\n", -6)
    'F0000 tiling.cc:7] Check failed: a == b'
    """
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    for mark in ("Check failed", "Error: "):
        found = [line for line in lines if mark in line]
        if found:
            return found[-1]
    return lines[-1] if lines else f"the process ended with code {code}"


def _run(
    side: str,
    job: str,
    settings: Mapping[str, Any],
    environment: Mapping[str, str],
    **pipes: Any,
) -> subprocess.CompletedProcess[str]:
    variables = {
        **os.environ,
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-m", "experiments.benchmark.worker"],
        input=json.dumps({"side": side, "job": job, "settings": settings}),
        stdout=subprocess.PIPE,
        text=True,
        env=variables,
        check=False,
        **pipes,
    )


def main() -> None:
    """Do the job on standard input."""
    order = json.load(sys.stdin)
    module = importlib.import_module(_SIDES[order["side"]])
    found = getattr(module, order["job"])(**order["settings"])
    print(json.dumps({"process_peak_bytes": process_peak_bytes()} | found))


if __name__ == "__main__":
    main()
