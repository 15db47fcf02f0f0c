"""The benchmark: that both sides do the same step, and what a user sees of it."""

import json
import re
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import machine, memory, suite, table, timing
from nasjax import bilevel, methods, optimizers, schedules, spaces, supernet
from nasjax.architecture import Path
from nasjax.base import InputError
from nasjax.data.batches import Batch
from tests.launching import ROOT, Ended, environment
from tests.test_supernet import assert_near, compiled, pairs, torch_network

SIZE = {"channels": 4, "num_cells": 1, "num_classes": 5}


@pytest.fixture(scope="module")
def torch_side():
    pytest.importorskip("torch")
    from tests.oracles import torch_side

    return torch_side


# --- both sides do the same -----------------------------------------------------


def batch(seed):
    rng = np.random.default_rng(seed)
    return Batch(
        jnp.asarray(rng.normal(size=(6, 8, 8, 3)), "f4"),
        jnp.asarray(rng.integers(0, 5, 6), "i4"),
        ids=jnp.arange(6),
        rows=jnp.arange(6),
        weights=jnp.ones(6),
    )


def to_torch(torch, one):
    images = np.asarray(one.images, np.float64).transpose(0, 3, 1, 2)
    labels = np.asarray(one.labels, np.int64)
    return torch.tensor(images), torch.tensor(labels)


def test_a_timed_step_of_pytorch_is_ours(torch_side):
    """Both losses, alpha and all weights after two bilevel steps."""
    space, method = spaces.nasbench201(), methods.darts()
    net = supernet.build(space, image_shape=(8, 8, 3), **SIZE)
    both = bilevel.Optimizers(
        optimizers.weight_optimizer(schedules.constant(0.025)),
        optimizers.arch_optimizer(),
    )
    state = bilevel.init_state(jax.random.key(0), net, method, optimizers=both)
    torch, module = torch_network(space, state.weights, **SIZE)
    alpha = {
        name: torch.tensor(np.asarray(a), dtype=torch.float64, requires_grad=True)
        for name, a in state.alpha.items()
    }
    before = {name: np.array(a) for name, a in state.alpha.items()}
    there = torch_side.Search(module, alpha, torch_side.mixture)
    step = compiled(
        bilevel.make_step(net, method, optimizers=both, steps_per_epoch=2, epochs=1)
    )
    for seed in (0, 2):
        train, valid = batch(seed), batch(seed + 1)
        with jax.numpy_dtype_promotion("standard"):
            state, metrics = step(state, train, valid)
        ours = bilevel.summarise(metrics)
        losses = there.step(to_torch(torch, train), to_torch(torch, valid))
        assert ours["arch_loss"] == pytest.approx(losses[0].item(), rel=1e-4)
        assert ours["weight_loss"] == pytest.approx(losses[1].item(), rel=1e-4)
    for name, a in state.alpha.items():
        moved = alpha[name].detach().numpy() - before[name]
        assert np.abs(moved).max() > 1e-4
        assert_near(np.asarray(a) - before[name], moved, 0.05, name)
    for got, parameter in pairs(space, state.weights, module):
        np.testing.assert_allclose(got, parameter.detach().numpy(), atol=2e-4)


@pytest.mark.parametrize("name", spaces.SPACES)
def test_a_path_of_pytorch_is_ours(torch_side, name):
    space = spaces.SPACES[name]()
    net = supernet.build(space, image_shape=(8, 8, 3), **SIZE)
    weights = compiled(net.init)(jax.random.key(0))
    torch, module = torch_network(space, weights, **SIZE)
    torch_side._start()
    alpha = {
        cell: torch.rand(space.num_edges, space.num_ops, dtype=torch.float64)
        for cell in space.cell_types
    }
    runs, other = torch_side.paths(alpha, k=2)
    drawn = [
        [edge.operation for edge in run[space.cell_types[0]]] for run in (runs, other)
    ]
    assert drawn[0] != drawn[1]
    path = {
        cell: Path(
            jnp.asarray([edge.operation for edge in edges], "i4"),
            jnp.asarray([edge.weight.item() for edge in edges], "f4"),
            jnp.ones(len(edges), bool),
        )
        for cell, edges in runs.items()
    }
    one = batch(0)
    expected = module(to_torch(torch, one)[0], runs).detach().numpy()
    got = compiled(net.apply)(weights, path, one.images)
    assert_near(got, expected, 1e-4, name)


# --- timing ---------------------------------------------------------------------


def test_a_repeated_step_is_timed_each_time():
    found = timing.repeat(lambda: time.sleep(0.02), 5)
    seconds = found["step_seconds"]
    assert len(seconds) == len(found["step_cpu_seconds"]) == 5
    assert min(seconds) >= 0.02
    assert found["step_seconds_min"] <= found["step_seconds_median"]
    assert found["step_seconds_max"] == max(seconds)
    assert max(found["step_cpu_seconds"]) < 0.02  # asleep


def test_steps_in_turn_are_run_one_of_each_after_the_other():
    order = []
    steps = [lambda: order.append("a"), lambda: (order.append("b"), time.sleep(0.02))]
    short, long = timing.in_turn(steps, 5)
    assert order == ["a", "b"] * 5
    assert short["step_seconds_max"] < 0.02 <= long["step_seconds_min"]


@pytest.mark.skipif(sys.platform != "linux", reason="of the system's own account")
def test_the_peak_of_a_process_is_seen_and_forgotten():
    before = timing.process_peak_bytes()
    held = np.ones(25_000_000)
    assert timing.process_peak_bytes() >= before + 0.9 * held.nbytes - 1e8
    del held
    peak = timing.process_peak_bytes()
    timing.forget_peak()
    assert timing.process_peak_bytes() <= peak - 1e8


def test_the_machine_is_told():
    facts = machine.facts()
    assert re.fullmatch(r"\d+ cores of .+", facts["machine"])
    assert facts["versions"]["jax"] == jax.__version__
    assert len(facts["load_average"]) == 3


# --- the command ----------------------------------------------------------------


def benchmark(*flags: str) -> Ended:
    command = [sys.executable, "-m", "experiments.benchmark", *flags]
    # Threads that spin while others compile would take minutes.
    variables = environment(OMP_WAIT_POLICY="PASSIVE")
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_the_command_prints_one_line(tmp_path):
    file = tmp_path / "table.md"
    done = benchmark(
        "--what=search_step",
        "--method=random",
        "--space=nasbench201",
        "--channels=2",
        "--num_cells=1",
        "--batch_size=2",
        f"--markdown={file}",
    )
    assert done.code == 0, done.err
    (line,) = map(json.loads, done.out.splitlines())
    assert line["what"] == "search_step"
    assert line["channels"] == 2
    assert len(line["step_seconds"]) == 5
    parts = line["trace_seconds"] + line["compile_seconds"]
    assert 0 < parts < line["seconds_to_first_step"]
    assert line["peak_bytes"] < line["process_peak_bytes"]
    speed = 4 / line["step_seconds_median"]
    assert line["images_per_second"] == pytest.approx(speed)
    assert line["versions"]["jax"] == jax.__version__
    assert {"machine", "date", "load_average"} <= line.keys()
    assert file.read_text().count("\n| random, nasbench201 | 2, 1, 2 |") == 1


def test_a_share_is_of_steps_run_in_turn():
    done = benchmark(
        "--what=share",
        "--method=random",
        "--space=nasbench201",
        "--channels=2",
        "--num_cells=1",
        "--batch_size=2",
    )
    assert done.code == 0, done.err
    (line,) = map(json.loads, done.out.splitlines())
    own, mixture = line["step_seconds"], line["mixture_step_seconds"]
    ratios = sorted(a / b for a, b in zip(own, mixture, strict=True))
    assert len(ratios) == 5
    assert line["share_of_mixture"] == pytest.approx(ratios[2])
    assert line["share_of_mixture_min"] == pytest.approx(ratios[0])
    assert line["share_of_mixture_max"] == pytest.approx(ratios[4])
    assert line["cpu_share_of_mixture"] > 0


def test_pytorchs_figures_are_those_of_its_faster_format():
    compiles = shutil.which("g++") is not None  # which torch.compile needs
    options = suite.Options(torch=True, compile_torch=compiles, space="nasbench201")
    settings = {
        **options._replace(channels=2, num_cells=1, batch_size=2).search_sizes(),
        "subgraphs": 1,
    }
    pytest.importorskip("torch")
    line = suite._torch(options, "search_step", settings)
    each = [
        line[f"torch_{order}_step_seconds_median"]
        for order in ("nchw", "channels_last")
    ]
    assert line["torch_step_seconds_median"] == min(each)
    assert min(each) > 0
    assert len(line["torch_nchw_step_seconds"]) == 5
    assert ("torch_compile_step_seconds" in line) == compiles
    # A step that compiles what was drawn takes seconds.
    assert not compiles or line["torch_compile_step_seconds_max"] < 1


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--method=enas", "flag --method is 'enas'; it must be one of a2m, beta_darts"),
        ("--channels=0", "flag --channels=0"),
        ("--compile_torch", "flag --compile_torch needs --against=torch"),
        ("--what=share", "flag --method is 'darts', the mixture itself"),
    ],
)
def test_bad_flags_are_one_line(flag, message):
    done = benchmark(flag)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}")
    assert done.err.count("\n") == 1


def test_what_pytorch_cannot_do_is_told(monkeypatch):
    with pytest.raises(InputError, match="--what=share has none of it"):
        next(suite.share(suite.Options(method="gdas", torch=True)))
    with pytest.raises(InputError, match="no counterpart of pc_darts, only of darts"):
        next(suite.search_step(suite.Options(method="pc_darts", torch=True)))
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    with pytest.raises(InputError, match="not installed; pip install"):
        suite.Options(torch=True).check()
    suite.Options().check()


def test_the_table_has_a_row_for_every_kind_of_line():
    step = {
        "channels": 16,
        "num_cells": 8,
        "batch_size": 64,
        "seconds_to_first_step": 50.0,
        "step_seconds_median": 2.0,
        "step_seconds_min": 1.5,
        "step_seconds_max": 2.5,
        "images_per_second": 64.0,
        "peak_bytes": 10**9,
        "steps_process_peak_bytes": 2 * 10**9,
        "load_average": [0.5, 0, 0],
    }
    there = {
        "torch_nchw_step_seconds_median": 5.0,
        "torch_channels_last_step_seconds_median": 4.0,
        "torch_step_seconds_median": 4.0,
    }
    lines = [
        step | there | {"what": "search_step", "method": "darts", "space": "darts"},
        step | {"what": "retrain_step", "genotype": "DARTS_V2"},
        step
        | {"what": "share", "method": "gdas", "space": "darts"}
        | {"share_of_mixture": 0.2},
        step | {"what": "ring", "ring_share_of_step": 0.001},
        step | {"what": "devices", "num_devices": 4, "step_of_one_device": 1.1},
        {"what": "depthwise", "kernel_size": 5, "dilation": 1, "side": "nasjax"}
        | {"form": "shift", "step_seconds_median": 0.012, "load_average": [0, 0, 0]},
    ]
    text = table.markdown(lines)
    assert "| darts, darts | 16, 8, 64 | 50.0 s | 2 s (1.5 s to 2.5 s) |" in text
    assert "| 5 s | 4 s | 0.50 × |" in text
    assert "| gdas, darts: 0.20 × of the mixture |" in text
    assert "| ring: 0.10 % of an SD-DARTS step |" in text
    assert "| 4 devices: 1.10 × of one |" in text
    assert "| 5×5 | 1 | nasjax shift | 12.00 ms | 0.0 |" in text
    first, second = text.split("\n\n")
    for part, separators in ((first, 12), (second, 6)):
        assert {row.count("|") for row in part.splitlines()} == {separators}


def test_memory_is_that_of_a_program_that_is_not_run():
    sizes = ("--space=nasbench201", "--channels=2", "--num_cells=1", "--batch_size=2")
    done = benchmark("--what=memory", "--methods=gdas", *sizes)
    assert done.code == 0, done.err
    mixture, path = map(json.loads, done.out.splitlines())
    assert (mixture["method"], mixture["of_mixture"]) == ("darts", 1)
    part = path["peak_bytes"] / mixture["peak_bytes"]
    assert path["of_mixture"] == pytest.approx(part, abs=1e-3)
    assert "step_seconds" not in path


def test_teachers_keep_what_is_computed_by_hand():
    kept = {
        kind: memory._kept_bytes(methods.sd_darts(window=2, teacher=kind), "darts")
        for kind in ("outputs", "weights")
    }
    # Probabilities of ten classes and an epoch per row and slot; docs/memory.md.
    assert kept["outputs"] == 2 * 25_000 * (10 * 4 + 4)
    # Copies of weights and alphas, and their epochs.
    assert kept["weights"] == pytest.approx(2 * 4 * (1_930_618 + 224), abs=16)
    assert memory._kept_bytes(methods.darts(), "darts") == 0
