"""``python -m experiments.retrain`` as its users meet it, and its configurations."""

import hashlib
import json
import os
import pathlib
import re
import shlex
import signal
import time
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from experiments.configs import catalogue
from nasjax import genotypes, network, retrain
from nasjax.genotype import Genotype
from nasjax.interop import files, pytorch
from tests.launching import STARTED, Ended, Launcher

NAMES = [name for name in catalogue.entries() if name.startswith("retrain_")]
#: The quickest training that has every part.
QUICK = "--config=experiments/configs/retrain_nasbench201_digits.py:smoke"
CELL = "|nor_conv_1x1~0|+|skip_connect~0|none~1|"


def load(name: str, variant: str | None = None):
    return catalogue.load(f"{name}:{variant or ''}")


def contents(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def launch(launcher: Launcher, compilation_cache: str):
    def launch(*flags: str) -> Ended:
        cache = f"--compilation_cache={compilation_cache}"
        return launcher(*flags, cache, module="experiments.retrain")

    return launch


@pytest.fixture(scope="module")
def finished(launch, tmp_path_factory: pytest.TempPathFactory):
    """Folder and end of a training of a cell in a file."""
    place = tmp_path_factory.mktemp("finished")
    (place / "cell.txt").write_text(CELL + "\n")
    folder = place / "run"
    done = launch(f"--genotype={place / 'cell.txt'}", QUICK, f"--workdir={folder}")
    return folder, done


# --- to the end ------------------------------------------------------------------


def test_a_training_leaves_everything_it_promises(finished):
    folder, done = finished
    assert (done.code, done.err) == (0, "")
    read = (
        "data digits: 400 images · 10 classes · 8x8 pixels, 1 channel · "
        "train 180, valid 20 (drawn from train), test 200 · 0 files passed over\n"
    )
    assert re.match(rf"device .*\nconfig .*\nfolder .*\n{re.escape(read)}", done.out)
    result = json.loads((folder / "result.json").read_text())
    assert 0 <= result["test_accuracy"] <= 1
    assert {"test_loss", "valid_accuracy", "params", "macs"} <= set(result)
    assert f"test accuracy {100 * result['test_accuracy']:.2f} %" in done.out
    for name in ("result.json", "weights.safetensors", "report.html"):
        assert str(folder / name) in done.out
    config = json.loads((folder / "config.json").read_text())
    assert config["genotype"]["arch_str"] == CELL
    genotype = Genotype.from_json((folder / "genotype.json").read_text())
    assert genotype.arch_str == CELL
    sizes = {
        name: config["network"][name] for name in ("dataset", "channels", "num_cells")
    }
    variables = pytorch.from_state_dict(
        files.read(folder / "weights.safetensors"), genotype, num_classes=10, **sizes
    )
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(variables["params"]))
    cost = network.cost(genotype, num_classes=10, image_shape=(8, 8, 1), **sizes)
    assert result["params"] == cost.params == count
    assert result["macs"] == cost.macs
    phases = [json.loads(line)["phase"] for line in (folder / "metrics.jsonl").open()]
    assert phases[0] == "budget"
    assert phases[-1] == "result"
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert (folder / "checkpoints").is_dir()
    report = (folder / "report.html").read_text()
    accuracy = 100 * result["test_accuracy"]
    assert "Training on digits" in report
    assert f"{accuracy:.3g} % on the test split" in report or (
        f"{accuracy:.2f} % on the test split" in report
    )
    assert "finished after 2 of 2 epochs" in report
    assert CELL in report.replace("&#x27;", "'")


def test_a_finished_training_is_left_alone(finished, launch):
    folder, _ = finished
    before = contents(folder)
    done = launch(f"--genotype={CELL}", QUICK, f"--workdir={folder}")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{folder} holds the finished run; nothing to do\n"
    assert contents(folder) == before


def test_another_genotype_is_another_run(finished, launch):
    folder, _ = finished
    other = CELL.replace("nor_conv_1x1", "nor_conv_3x3")
    done = launch(f"--genotype={other}", QUICK, f"--workdir={folder}")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "genotype.arch_str is" in done.err


def test_sigterm_stops_a_training_and_the_same_command_goes_on_to_the_same_bits(
    launch, launcher: Launcher, compilation_cache: str, tmp_path: pathlib.Path
):
    def flags(name: str) -> tuple[str, ...]:
        return (
            f"--genotype={CELL}",
            QUICK,
            "--config.train.epochs=20",
            "--config.train.steps_per_dispatch=1",
            f"--workdir={tmp_path / name}",
        )

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    undisturbed = launch(*flags("whole"))
    assert (undisturbed.code, undisturbed.err) == (0, "")
    cache = f"--compilation_cache={compilation_cache}"
    process = launcher.begin(*flags("parts"), cache, module="experiments.retrain")
    while not launcher.has_ended():
        metrics = parts / "metrics.jsonl"
        if metrics.exists() and '"train"' in metrics.read_text():
            os.kill(process, signal.SIGTERM)
            break
        time.sleep(0.01)
    stopped = launcher.end()
    assert (stopped.code, stopped.err) == (143, "")
    assert "the same command goes on" in stopped.out
    assert not (parts / "result.json").exists()
    assert (parts / "report.html").exists()

    done = launch(*flags("parts"))
    assert (done.code, done.err) == (0, "")
    assert "going on after step" in done.out
    for name in ("weights.safetensors", "result.json"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_the_budget_is_told_before_the_first_step(finished):
    _, done = finished
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["device", "config", "folder"]
    budget = next(i for i, line in enumerate(lines) if line.startswith("weights "))
    assert any(line.startswith("step: ") for line in lines[:budget])
    assert "alpha" not in lines[budget]
    assert all("train loss" not in line for line in lines[:budget])


# --- mistakes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([QUICK], "flag --genotype is missing: a search's folder, a file, or one of"),
        (["--genotype=DARTS_V9"], "flag --genotype: genotype 'DARTS_V9' is neither"),
        (["--genotype=tests"], "tests has no genotype.json"),
        (["--genotype=tests@9"], "tests/config.json cannot be read (No such file"),
        (
            ["--genotype=DARTS_V2@end"],
            "flag --genotype: DARTS_V2@end: 'end' is no epoch",
        ),
        (["--genotype=DARTS_V2", QUICK], "network.space is nasbench201; take a"),
        (
            [f"--genotype={CELL}"],
            "such as experiments/configs/retrain_nasbench201_digits.py",
        ),
        (
            ["--genotype=DARTS_V2", "--config.train.decay=steps"],
            "train: decay is 'steps'; it must be one of cosine",
        ),
        (
            ["--genotype=DARTS_V2", "--config.train.drop_path_rate=1.0"],
            "train: drop_path_rate is 1.0; it must be at least 0 and below 1",
        ),
        (
            ["--genotype=DARTS_V2", "--config.train.micro_batches=5"],
            "train.micro_batches is 5; it must divide train.batch_size, 32",
        ),
        (
            ["--genotype=DARTS_V2", "--config.data.valid_fraction=1.0"],
            "data.valid_fraction is 1.0; it must be at least 0 and below 1",
        ),
        (
            ["--genotype=DARTS_V2", "--config.network.dtype=float16"],
            "dtype 'float16' is not one of float32, bfloat16",
        ),
        (
            ["--genotype=DARTS_V2", "--config.network.dataset=mnist"],
            "dataset 'mnist' is not one of",
        ),
        (
            [f"--genotype={CELL}", QUICK, "--config.train.auxiliary_weight=0.4"],
            "a network of the space nasbench201 has no auxiliary head",
        ),
        (
            ["--genotype=DARTS_V2", "--config.train.auxiliary_weight=0.4"],
            "32×32 for it; train.auxiliary_weight=0 trains without it",
        ),
        (["--genotype=DARTS_V2", "--config.train.epoch=3"], "no field 'epoch'"),
        (["--genotype=DARTS_V2", "--num_devices=99"], "num_devices is 99"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(flags, message, launch, tmp_path):
    done = launch(*flags, f"--workdir={tmp_path / 'run'}")
    assert done.code == 2
    assert re.fullmatch(STARTED, done.out), done.out
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert message in done.err
    assert not (tmp_path / "run").exists()


# --- configurations --------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_is_told_of_a_configuration_has_its_command(name: str):
    text = catalogue.entries()[name].about
    commands = [
        shlex.split(line)
        for line in text.replace("\\\n", " ").split("\n")
        if "python -m" in line
    ]
    own = f"--config={name}"
    head = ["python", "-m", "experiments.retrain"]
    assert any(c[:3] == head and own in c for c in commands), commands


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_is_lockable_and_its_recipe_can_be(name: str):
    for variant in (None, "smoke"):
        config = load(name, variant)
        config.lock()
        fields = {k: v for k, v in config.train.items() if k in retrain.Recipe._fields}
        retrain.Recipe(**fields).check()
        rest = set(config.train) - set(fields)
        assert rest == {"batch_size", "evaluate_every", "steps_per_dispatch"}
    assert config.train.epochs <= 2
    assert config.data.max_examples <= 200


#: Spec: epochs, batch, learning rate, weight decay, clipping, drop path, cutout.
PUBLISHED = {
    ("retrain_cifar10", "darts"): (600, 96, 0.025, 3e-4, 5, 0.2, 16),
    ("retrain_cifar10", "sd_darts"): (600, 96, 0.025, 3e-4, 5, 0.3, 16),
    ("retrain_cifar10", "msg_das"): (600, 64, 0.025, 3e-4, 5, 0.2, 16),
    ("retrain_cifar100", "stc_nas"): (600, 96, 0.025, 3e-4, 5, 0.2, 16),
    ("retrain_nasbench201_cifar10", "all"): (200, 256, 0.1, 5e-4, 0, 0, 0),
}


@pytest.mark.parametrize(("name", "variant"), PUBLISHED)
def test_the_papers_settings_are_the_papers(name: str, variant: str):
    config = load(name, variant)
    train = config.train
    assert (
        train.epochs,
        train.batch_size,
        train.learning_rate,
        train.weight_decay,
        train.clip_norm,
        train.drop_path_rate,
        config.data.cutout,
    ) == PUBLISHED[name, variant]
    assert config.data.valid_fraction == 0
    assert train.decay == "cosine"
    assert train.learning_rate_end == 0
    of_benchmark = config.network.space == "nasbench201"
    assert train.nesterov == of_benchmark
    sizes = (config.network.channels, config.network.num_cells)
    assert sizes == ((16, 5) if of_benchmark else (36, 20))
    assert train.auxiliary_weight == (0 if of_benchmark else 0.4)
    assert load(name).data.valid_fraction == 0.1


def test_the_published_network_has_the_published_size():
    config = load("retrain_cifar10")
    cost = network.cost(
        genotypes.DARTS_V2,
        dataset=config.network.dataset,
        channels=config.network.channels,
        num_cells=config.network.num_cells,
    )
    assert cost.params == 3_349_342
