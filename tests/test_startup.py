"""What ``import nasjax`` costs."""

import subprocess
import sys

from tests.launching import ROOT, environment

#: Seconds of import that only some commands need.
HEAVY = (
    "orbax",
    "scipy.stats",
    "sklearn",
    "tensorboardX",
    "tensorflow_datasets",
    "torch",
)
PROBE = """
import sys, time
import jax
before = time.process_time()
import nasjax
print(time.process_time() - before)
print(*sys.modules)
"""


def test_importing_the_library_is_quick():
    """Beside JAX's own second, half of one; twice that for a busy machine."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, modules = done.stdout.splitlines()
    assert not {*HEAVY} & {*modules.split()}
    assert float(seconds) < 1.0
