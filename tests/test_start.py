"""The start of a launch: the devices, where it goes, and what is waited for."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from experiments.launch import folders, runs
from tests.launching import ROOT, Ended, Launcher, environment, wait

CONFIGS = ROOT / "experiments/configs"
QUICK = f"--config={CONFIGS}/stc_nas_nasbench201_digits.py:smoke"


def begin(module: str, *flags: str, cwd=ROOT, **variables: str):
    return subprocess.Popen(
        [sys.executable, "-m", module, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(**variables),
    )


@pytest.fixture(scope="module")
def launcher():
    launcher = Launcher()
    yield launcher
    launcher.close()


# --- devices ---------------------------------------------------------------------

ASKED = ["cuda", "gpu", "tpu", "rocm", "nonsense", "cdua", "cuda,cpu", "cpu,nonsense"]


@pytest.mark.skipif(
    pathlib.Path("/dev/nvidia0").exists(), reason="there is a GPU on this machine"
)
def test_a_backend_that_does_not_start_is_one_line(tmp_path):
    asked = {
        name: begin("experiments.launch.hardware", JAX_PLATFORMS=name) for name in ASKED
    } | {"tpu of a search": begin(
        "experiments.search", f"--workdir={tmp_path / 'run'}", JAX_PLATFORMS="tpu"
    )}  # fmt: skip
    for name, process in asked.items():
        ended = wait(process)
        name = name.split()[0]
        assert (ended.code, ended.out) == (2, ""), (name, ended)
        assert re.fullmatch(r"error: [^\n]*\n", ended.err), ended.err
        missing = re.sub("cpu,|,cpu", "", name)
        told = f"error: JAX_PLATFORMS={name}: no {missing} starts here"
        assert ended.err.startswith(told), ended.err
        assert "there is cpu (1 × cpu)" in ended.err
        assert ("is cdua cuda?" in ended.err) == (name == "cdua")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("asked", ["", "cpu"])
def test_a_gpu_that_this_jaxlib_cannot_use_is_told(tmp_path, asked):
    seen = tmp_path / "nvidia-smi"
    seen.write_text("#!/bin/sh\n")
    seen.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    ended = wait(begin("experiments.launch.hardware", JAX_PLATFORMS=asked, PATH=path))
    assert ended.code == 0
    assert re.match(r"device   cpu: 1 × cpu, \d+ cores; the NVIDIA GPU", ended.out)
    assert 'pip install -e ".[cuda12]"' in ended.out


# --- folders ---------------------------------------------------------------------

NAMES = {
    (): "a-seed0",
    (("search.epochs", 10),): "a-search.epochs=10-seed0",
    (("data.flip", False), ("search.clip_norm", 2.5)): (
        "a-data.flip=False-search.clip_norm=2.5-seed0"
    ),
    (("seed", 0), ("search.num_seeds", 3)): "a-seed0",
    (("data.path", "../../etc/my data"),): r"a-data\.path=[\w.]+-[0-9a-f]{8}-seed0",
    (("data.path", "/" + 300 * "long"),): r"a-data\.path=_(long)+\w*-[0-9a-f]{8}-seed0",
    (("method.noise_range", "linear(0.3, 0)"),): (
        r"a-method\.noise_range=linear_0\.3_0-[0-9a-f]{8}-seed0"
    ),
}


@pytest.mark.parametrize("fields", NAMES)
def test_a_folder_is_named_by_what_was_overridden(fields):
    found = runs.default_workdir("x/a.py", seed=0, fields=dict(fields))
    assert found.parent == pathlib.Path("runs")
    assert re.fullmatch(NAMES[fields], found.name)
    assert re.fullmatch(r"[\w.=+-]{1,140}", found.name, re.ASCII)


def test_what_a_name_cannot_hold_still_tells_folders_apart():
    paths = ["/a/b", "/a_b", "/a b", *("/" + 200 * "x" + end for end in "12")]
    names = {folders.name_of("a.py", fields={"data.path": path}) for path in paths}
    assert len(names) == len(paths)


def folder_of(ended: Ended) -> str:
    return re.search(r"^folder   (\S+)$", ended.out, re.M)[1]


def test_a_search_of_other_fields_goes_beside_the_first(
    tmp_path, launcher, compilation_cache
):
    flags = (QUICK, f"--compilation_cache={compilation_cache}")
    other = "--config.search.steps_per_dispatch=1"
    first, second = (launcher(*flags, *more, cwd=tmp_path) for more in ((), (other,)))
    assert (first.code, second.code) == (0, 0), (first, second)
    name = "runs/stc_nas_nasbench201_digits-smoke"
    assert folder_of(first) == f"{name}-seed0"
    assert folder_of(second) == f"{name}-search.steps_per_dispatch=1-seed0"
    assert re.match(r"device   cpu: 1 × cpu, \d+ cores\nconfig   ", first.out)
    assert f"{QUICK[9:]} search.steps_per_dispatch=1\n" in second.out
    again = launcher(*flags, other, cwd=tmp_path)
    assert again.out == f"{folder_of(second)} holds the finished run; nothing to do\n"


def test_trainings_seeds_and_studies_are_named_likewise(tmp_path, launcher):
    retrain = launcher(
        f"--config={CONFIGS}/retrain_digits.py:smoke",
        "--genotype=DARTS_V2",
        "--config.train.momentum=2.0",  # refused, once the folder is named
        module="experiments.retrain",
        cwd=tmp_path,
    )
    assert retrain.code == 2
    named = "runs/retrain_digits-smoke-DARTS_V2-train.momentum=2.0-seed0"
    assert folder_of(retrain) == named
    seeds = launcher(
        QUICK,
        "--config.search.num_seeds=2",
        "--config.search.momentum=2.0",
        cwd=tmp_path,
    )
    assert seeds.code == 2
    named = "runs/stc_nas_nasbench201_digits-smoke-search.momentum=2.0-seeds"
    assert folder_of(seeds) == named
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")  # of its searches
    study = launcher(
        f"--config={CONFIGS}/papers/stc_nas_table7_js.py:proxy",
        "--config.seeds=(7,)",  # of the same study
        '--config.overrides=("data.pad=2",)',
        "--gather",
        module="experiments.study",
        cwd=tmp_path,
    )
    (made,) = (tmp_path / "runs/studies").iterdir()
    named = r"stc_nas_table7_js-proxy-overrides=_data\.pad=2-[0-9a-f]{8}"
    assert re.fullmatch(named, made.name), study


# --- what is waited for ----------------------------------------------------------

TWICE = """
import pathlib, sys, time
from experiments.launch import compilation_cache
from experiments.launch.stages import Stages
import jax, jax.numpy as jnp
if sys.argv[1:]:
    compilation_cache.use_cache(pathlib.Path(sys.argv[1]))

def dispatch(x):
    time.sleep(0.6)
    return x * 3

for time_ in range(2):
    with Stages(print) as stages:
        jax.jit(dispatch)(jnp.float32(2))
    assert stages.doing == "preparing"
    jax.clear_caches()
jax.jit(dispatch)(jnp.float32(2))
"""


@pytest.mark.parametrize("cached", [True, False])
def test_tracing_compiling_and_loading_are_told_apart(tmp_path, cached):
    arguments = [str(tmp_path)] if cached else []
    done = subprocess.run(
        [sys.executable, "-c", TWICE, *arguments],
        cwd=ROOT,
        env=environment(JAX_ENABLE_COMPILATION_CACHE=str(cached).lower()),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == lines[3] == "step: tracing it"
    for traced in (lines[1], lines[4]):
        found = re.match(r"step: traced in (\d+\.\d) s; compiling it, or load", traced)
        assert float(found[1]) >= 0.6
    how = "loaded from the cache" if cached else "compiled"
    assert re.fullmatch(r"step: compiled in \d+\.\d s", lines[2])
    assert re.fullmatch(rf"step: {how} in \d+\.\d s", lines[5])
    assert len(lines) == 6  # nothing of the third time, nobody listens


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_a_compilation_at_once(tmp_path, number, code):
    cache = tmp_path / "cache"
    process = begin(
        "experiments.search",
        QUICK,
        f"--workdir={tmp_path / 'run'}",
        JAX_COMPILATION_CACHE_DIR=str(cache),  # empty: the compilation takes long
    )
    assert process.stdout is not None
    for line in process.stdout:
        assert not line.startswith("init: ")  # the weights, by the name people know
        if line.startswith("step: traced"):
            break
    process.send_signal(number)
    ended = wait(process, timeout=60)
    assert ended.code == code
    assert ended.out == ""  # not compiled
    told = r"stopped while (compiling or loading|preparing).*, before the first step; "
    assert re.match(told, ended.err)
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
    programs = {path.name.split("-")[0] for path in cache.glob("*-cache")}
    assert "jit_dispatch" not in programs
    assert "jit_init" in programs  # JAX's variable says where they are kept
