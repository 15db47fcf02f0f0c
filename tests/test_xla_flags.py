"""Shared calls: asked for by launches, and no operation takes a pass more for them."""

import json
import math
import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxlib
import pytest

from experiments.launch import xla_flags
from nasjax import layers, spaces

_SPACES = ("darts", "nasbench201")
_SHAPE = (8, 16, 16, 4)
#: What takes no pass over an array.
_FREE = ("parameter", "bitcast", "get-tuple-element", "tuple", "constant")


def passes(program: str) -> int:
    """How often a compiled program writes an array of a quarter image or more."""
    # What is within a fusion is not written.
    parts = re.split(r"\n(?=%|ENTRY)", program)
    whole = [part for part in parts if not part.startswith(("%fused", "%wrapped"))]
    found = re.findall(r"= f32\[([\d,]+)\]\S* ([a-z-]+)\(", "\n".join(whole))
    sizes = (
        math.prod(map(int, shape.split(",")))
        for shape, name in found
        if name not in _FREE
    )
    return sum(size >= 8 * 8 * 8 * 4 for size in sizes)


def all_passes() -> dict[str, int]:
    """Passes of every operation with its gradients, and of a cell's inputs."""
    x = jax.ShapeDtypeStruct(_SHAPE, jnp.float32)
    found = {}
    for name in _SPACES:
        for op in spaces.SPACES[name]().operations:
            for stride in (1, 2):
                shapes = op.shapes(_SHAPE[0], stride)
                weights = {
                    key: jax.ShapeDtypeStruct(shape, jnp.float32)
                    for key, shape in shapes.items()
                }

                def run(weights, x, op=op, stride=stride):
                    y, pull = jax.vjp(
                        lambda w, x: op.apply(w, x, stride, layers.PLAIN), weights, x
                    )
                    return y, pull(jnp.sin(y))

                found[f"{name} {op.name} {stride}"] = _passes_of(run, weights, x)
    found["relu"] = _passes_of(lambda x: jnp.sin(layers.relu(jnp.cos(x))), x)
    return found


def _passes_of(run, *arguments):
    return passes(jax.jit(run).lower(*arguments).compile().as_text())


def _counted(flags: str) -> dict[str, int]:
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", "from tests import test_xla_flags as t; t.main()"],
        cwd=root,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    print(json.dumps(all_passes()))


def test_no_operation_takes_a_pass_more_for_shared_calls():
    plain = _counted("--xla_backend_extra_options=xla_none")
    shared = _counted(xla_flags.with_shared_calls({})["XLA_FLAGS"])
    assert plain["darts sep_conv_3x3 1"] > plain["darts avg_pool_3x3 1"] > 3
    more = {k: (n, plain[k]) for k, n in shared.items() if n > plain[k]}
    assert not more


#: What a launch's main does, and what an import of its command does.
READY = "from experiments.launch import environment; environment.ready()"
IMPORTED = "import experiments.search"


@pytest.mark.parametrize("code", [READY, IMPORTED])
def test_a_launch_asks_for_them_and_an_import_changes_nothing(code):
    shown = "import json, os; before = dict(os.environ); "
    shown += code + "; print(json.dumps([before, dict(os.environ)]))"
    flags = "--xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", shown],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = json.loads(done.stdout)
    if code == READY:  # not started anew: the command line is none of a launch
        before = xla_flags.with_shared_calls(before)
        before = xla_flags.without_triton(before, jaxlib.__version__)
    assert {k: v for k, v in after.items() if before.get(k) != v} == {}
    assert flags in after["XLA_FLAGS"].split()


@pytest.mark.parametrize(
    "command", ["search", "retrain", "study", "convert", "benchmark.worker"]
)
def test_a_commands_main_readies_its_environment_first(command):
    root = pathlib.Path(__file__).parents[1]
    file = root / "experiments" / (command.replace(".", "/") + ".py")
    found = re.search(r"^if __name__ == .__main__.:\n    (.*)$", file.read_text(), re.M)
    assert found[1] == "environment.ready()"
