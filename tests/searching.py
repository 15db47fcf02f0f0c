"""Small searches on scikit-learn's digits, for the tests of the loop."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import layers, optimizers, schedules, search, spaces, supernet
from nasjax.architecture import Path
from nasjax.bilevel import Optimizers, SearchState
from nasjax.data import Augmentation, DeviceData, load, to_device
from nasjax.data.batches import Split
from nasjax.methods import Method, darts, stc_nas
from nasjax.runtime.checkpoint import Checkpoints
from nasjax.runtime.workdir import Workdir
from nasjax.supernet import Supernet

#: 39 of 78 examples a half: two batches of 16 and a ragged one of 7.
EXAMPLES, BATCH, STEPS, EPOCHS = 78, 16, 3, 2
AUGMENTATION = Augmentation(pad=1, flip=False)
CONFIG = {"seed": 0, "search": {"epochs": EPOCHS}}


@functools.cache
def digits() -> DeviceData:
    dataset = load("digits", max_examples=EXAMPLES)
    return to_device(dataset, batch_size=BATCH, seed=0)


def num_examples(half: Split) -> int:
    """Those that do not only fill the last batch up."""
    return int(half.weights.sum())


def linear_net() -> Supernet:
    """A supernet without cells: the loop cannot tell, and it compiles in a second.

    Every operation of every edge is a linear classifier; a mixture weighs them, a path
    takes one of each edge.
    """
    space = spaces.nasbench201()
    shape = space.num_edges, space.num_ops
    template = {"kernel": layers.Kernel((*shape, 8 * 8, 10), 8 * 8)}

    def cells(weights: Any, architecture: Any, images: jax.Array) -> jax.Array:
        flat = images.reshape(len(images), -1)
        cell = architecture["cell"]
        if isinstance(cell, Path):
            chosen = jax.nn.one_hot(cell.operation, shape[1])
            mixture = chosen * jnp.where(cell.active, cell.weight, 0)[:, None]
        else:
            mixture = cell.weights
        return jnp.einsum("eo,eopy,bp->by", mixture, weights["kernel"], flat)

    return Supernet(
        space,
        supernet.Settings(1, 1, 10, (8, 8, 1), jnp.float32, layers.Context()),
        init=lambda key: layers.draw(key, template),
        stem=lambda weights, images: images,
        cells=cells,
        macs=lambda cost: round(cost([[640] * shape[1]] * shape[0])),
    )


def cell_net(method: Method) -> Supernet:
    return supernet.build(
        method.adapt(spaces.nasbench201()),
        channels=4,
        num_cells=1,
        image_shape=(8, 8, 1),
    )


def both_optimizers(learning_rate: float = 0.025) -> Optimizers:
    rate = schedules.cosine(learning_rate, 0.001)
    return Optimizers(
        optimizers.weight_optimizer(rate), optimizers.arch_optimizer(3e-2)
    )


def prepare(
    net: Supernet,
    method: Method,
    *,
    learning_rate: float = 0.025,
    seed: int = 0,
    num_devices: int = 1,
) -> search.Search:
    # Adam of optax promotes an integer.
    with jax.numpy_dtype_promotion("standard"):
        task, _ = search.prepare(
            net,
            method,
            digits(),
            optimizers=both_optimizers(learning_rate),
            epochs=EPOCHS,
            seed=seed,
            augmentation=AUGMENTATION,
            num_devices=num_devices,
        )
    return task


#: Tasks by name: the loop at no cost, and real cells.
TASKS = ("linear", "cells")


@functools.cache
def task(name: str, seed: int = 0) -> search.Search:
    if name == "linear":
        return prepare(linear_net(), darts(), seed=seed)
    method = stc_nas()
    return prepare(cell_net(method), method, seed=seed)


class Silence:
    """Progress that nobody watches."""

    def start(self, step, steps_per_epoch, epochs):
        pass

    def advance(self, steps, values):
        pass

    def epoch_done(self, epochs_done, values):
        pass

    def close(self):
        pass


def run(searched: search.Search, folder: pathlib.Path, **settings: Any) -> Any:
    """Go on in a folder as a launch does; the genotype, or None when stopped."""
    workdir = Workdir(folder)
    workdir.check(CONFIG)
    workdir.open(CONFIG)
    try:
        settings = {"progress": Silence(), "steps_per_dispatch": 2} | settings
        return search.run(searched, workdir, **settings)
    finally:
        workdir.close()


def final_state(searched: search.Search, folder: pathlib.Path) -> SearchState:
    checkpoints = Checkpoints(folder / "checkpoints")
    state = checkpoints.restore(searched.new_state())
    checkpoints.close()
    assert state is not None
    return state


def alphas(folder: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(folder / "alphas.npz") as stored:
        return dict(stored)
