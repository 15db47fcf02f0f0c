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
    "torch": "experiments.benchmark.torch_side",
}


def measure(
    side: str, job: str, *, environment: Mapping[str, str] = {}, **settings: Any
) -> dict[str, Any]:
    """Run a job in a fresh process, without a cache of compiled programs.

    Args:
      side: "nasjax" or "torch".
      job: name of a function of the side's module.
      environment: variables of the process, beside those of this one.
      **settings: keyword arguments of the job, as JSON can hold them.

    Returns:
      What the job measured, with the ``process_peak_bytes`` of its whole process.

    Raises:
      RuntimeError: the process failed; its own words are on stderr.
    """
    variables = {
        **os.environ,
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmark.worker"],
        input=json.dumps({"side": side, "job": job, "settings": settings}),
        stdout=subprocess.PIPE,
        text=True,
        env=variables,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"the process of {side}'s {job} ended with code {done.returncode}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Do the job on standard input."""
    order = json.load(sys.stdin)
    module = importlib.import_module(_SIDES[order["side"]])
    found = getattr(module, order["job"])(**order["settings"])
    print(json.dumps({"process_peak_bytes": process_peak_bytes()} | found))


if __name__ == "__main__":
    main()
