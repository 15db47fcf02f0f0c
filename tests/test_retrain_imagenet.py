"""Retraining from the stream of a small ImageNet, end to end."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from experiments.configs import catalogue
from experiments.launch import build_training
from nasjax import retrain
from nasjax.base import InputError
from nasjax.data import prepare_imagenet
from nasjax.retrain.training import RESULT, WEIGHTS
from nasjax.runtime.loop import fingerprint
from tests import imagenet, retraining
from tests.launching import ROOT, environment

GENOTYPE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=[2])"
)
#: Of 27 training images 22 are trained on: five batches of four and one of two.
SIZE: dict[str, dict[str, Any]] = {
    "data": {"image_size": 32, "max_examples": 27},
    "network": {"channels": 2, "num_cells": 3},
    "train": {"batch_size": 4, "auxiliary_weight": 0.0},
}
STEPS = 6


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("imagenet")
    imagenet.write_archives(folder)
    prepare_imagenet(archive_dir=folder, data_dir=folder)
    return folder


def config(data_dir: pathlib.Path, **data: Any) -> dict[str, Any]:
    made: dict[str, Any] = catalogue.load("retrain_imagenet:smoke").to_dict()
    for block, fields in SIZE.items():
        made[block] |= fields
    made["data"] |= {"data_dir": str(data_dir)} | data
    return made


@pytest.fixture(scope="module")
def training(data_dir: pathlib.Path):
    parts = build_training.all_parts(
        config(data_dir), retraining.WITH_HEAD, num_devices=1
    )
    trained, budget = retrain.prepare(*parts)
    assert budget.data_bytes == 0  # nothing stays on the device
    yield trained
    trained.feed.close()


def test_a_stream_is_stopped_and_resumed_to_the_same_bits(
    training: retrain.Training, tmp_path: pathlib.Path
):
    assert training.feed.steps_per_epoch == STEPS
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = retraining.run(training, whole)
    assert result is not None
    asked = iter([False, True])  # one dispatch: in the middle of the first epoch
    assert retraining.run(training, parts, stop=lambda: next(asked)) is None
    assert retraining.final_state(training, parts).step == 3
    assert retraining.run(training, parts) == result
    states = [retraining.final_state(training, folder) for folder in (whole, parts)]
    assert states[0].step == 2 * STEPS
    assert fingerprint(states[0]) == fingerprint(states[1])
    assert (parts / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    # Of all held-out and test images, each once.
    assert 0 <= result.test["accuracy"] <= 1
    assert result.test["accuracy"] * imagenet.NUM_VALIDATION == pytest.approx(
        round(result.test["accuracy"] * imagenet.NUM_VALIDATION)
    )
    assert result.valid["accuracy"] * 5 == pytest.approx(
        round(result.valid["accuracy"] * 5)
    )


def test_the_command_trains_with_workers(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, compilation_cache: str
):
    flags = [
        f"--config.{block}.{field}={value}"
        for block, fields in SIZE.items()
        for field, value in fields.items()
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.retrain",
            f"--genotype={GENOTYPE}",
            "--config=experiments/configs/retrain_imagenet.py:smoke",
            f"--config.data.data_dir={data_dir}",
            "--config.data.num_workers=1",
            "--config.train.epochs=1",
            "--config.train.warmup_epochs=0",
            "--num_devices=1",
            f"--workdir={tmp_path / 'run'}",
            f"--compilation_cache={compilation_cache}",
            *flags,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    result = json.loads((tmp_path / "run" / RESULT).read_text())
    assert 0 <= result["test_accuracy"] <= 1


def test_mistakes_in_the_configuration_are_one_line(
    data_dir: pathlib.Path, tmp_path: pathlib.Path
):
    def complaint(made: dict[str, Any]) -> str:
        with pytest.raises(InputError) as error:
            build_training.all_parts(made, retraining.WITH_HEAD)
        assert "\n" not in str(error.value)
        return str(error.value)

    table = retraining.GENOTYPE
    with pytest.raises(InputError, match=r"configs/retrain_nasbench201_cifar10\.py"):
        build_training.all_parts(config(data_dir), table)
    cifar = catalogue.load("retrain_cifar10:smoke").to_dict()
    cifar["data"]["name"] = "imagenet2012"
    assert "--config=experiments/configs/retrain_imagenet.py" in complaint(cifar)
    other = config(data_dir, name="cifar10")
    assert "'cifar10', which is no stream; take" in complaint(other)
    assert "data: imagenet2012 is not prepared" in complaint(config(tmp_path))
    assert "data: num_workers is -1" in complaint(config(data_dir, num_workers=-1))
    assert "data: min_area is 2" in complaint(config(data_dir, min_area=2.0))
    assert "data: max_examples is 0" in complaint(config(data_dir, max_examples=0))


@pytest.mark.parametrize(
    ("variant", "settings"),
    [
        (None, (250, 1024, 0.5, "cosine", 5, 3e-5)),
        ("msg_das", (250, 256, 0.1, "exponential", 0, 3e-4)),
    ],
)
def test_the_papers_settings_are_the_papers(variant: str | None, settings: tuple):
    made = catalogue.load(f"retrain_imagenet:{variant or ''}")
    train, network = made.train, made.network
    names = (
        "epochs",
        "batch_size",
        "learning_rate",
        "decay",
        "warmup_epochs",
        "weight_decay",
    )
    assert tuple(train[name] for name in names) == settings
    assert (train.momentum, train.nesterov, train.clip_norm) == (0.9, False, 5)
    assert (train.label_smoothing, train.auxiliary_weight) == (0.1, 0.4)
    assert train.drop_path_rate == 0
    assert (train.decay_rate, train.decay_every) == (0.97, "epoch")
    assert (network.dataset, network.channels, network.num_cells) == (
        "imagenet",
        48,
        14,
    )
    assert (made.data.name, made.data.image_size) == ("imagenet2012", 224)
