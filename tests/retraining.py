"""Small trainings on scikit-learn's digits, for the tests."""

import functools
import pathlib
from typing import Any

from nasjax import retrain
from nasjax.data import Augmentation, load
from nasjax.genotype import Genotype
from nasjax.retrain.training import RESULT
from nasjax.runtime.checkpoint import Checkpoints
from nasjax.runtime.parallel import Devices
from nasjax.runtime.workdir import Workdir
from tests.searching import Silence

CLASSES = 7
#: One edge with weights, and one without: quick to compile.
GENOTYPE = Genotype("nasbench201", arch_str="|nor_conv_1x1~0|+|skip_connect~0|none~1|")
#: Of the DARTS family, for the auxiliary head.
WITH_HEAD = Genotype(
    normal=(("sep_conv_3x3", 0), ("skip_connect", 1)),
    normal_concat=(2,),
    reduce=(("max_pool_3x3", 0), ("skip_connect", 1)),
    reduce_concat=(2,),
)
#: 60 of 90 examples are trained on: three batches of 16 and a ragged one of 12.
EXAMPLES, BATCH, STEPS, EPOCHS = 90, 16, 4, 2
CONFIG = {"seed": 0, "train": {"epochs": EPOCHS}}
RECIPE = retrain.Recipe(
    epochs=EPOCHS,
    learning_rate=0.05,
    auxiliary_weight=0.0,
    drop_path_rate=0.3,
    label_smoothing=0.1,
    ema_decay=0.8,
)


def net(genotype: Genotype, **fields: Any) -> retrain.Net:
    sizes = {"channels": 4, "num_cells": 1 if genotype.arch_str else 3}
    fields = {"image_shape": (8, 8, 3)} | sizes | fields
    return retrain.Net(genotype, CLASSES, **fields)


def feed(*, number: int = 1, valid_fraction: float = 1 / 3) -> retrain.Feed:
    return retrain.resident(
        load("digits", max_examples=EXAMPLES),
        load("digits", split="test", max_examples=50),
        devices=Devices(number, BATCH),
        valid_fraction=valid_fraction,
        augmentation=Augmentation(pad=1, flip=False),
    )


def prepare(
    data: retrain.Feed, *, recipe: retrain.Recipe = RECIPE, seed: int = 0
) -> retrain.Training:
    own = net(GENOTYPE, image_shape=(8, 8, 1), axis_name=data.devices.axis_name)
    own = own._replace(num_classes=10)
    training, _ = retrain.prepare(own, recipe, data, seed=seed)
    return training


@functools.cache
def training() -> retrain.Training:
    return prepare(feed())


def run(trained: retrain.Training, folder: pathlib.Path, **settings: Any) -> Any:
    """Go on in a folder as a launch does; the result, or None when stopped."""
    workdir = Workdir(folder, result=RESULT)
    workdir.check(CONFIG)
    workdir.open(CONFIG)
    try:
        settings = {"progress": Silence(), "steps_per_dispatch": 3} | settings
        return retrain.run(trained, workdir, **settings)
    finally:
        workdir.close()


def final_state(trained: retrain.Training, folder: pathlib.Path) -> retrain.TrainState:
    checkpoints = Checkpoints(folder / "checkpoints")
    state = checkpoints.restore(trained.new_state())
    checkpoints.close()
    assert state is not None
    return state
