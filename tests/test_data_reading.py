"""What a launch takes of its data, and the line that tells it."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from experiments.configs import catalogue
from experiments.launch import build, build_data, build_training
from nasjax.base import InputError
from nasjax.data import Dataset, take
from nasjax.data.batches import Split
from nasjax.genotypes import get
from nasjax.retrain.resident import Resident

CELL = "|skip_connect~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
SIZES = {"": 24, "valid_": 10, "test_": 6}


@pytest.fixture(scope="module")
def parts() -> dict[str, Dataset]:
    random = np.random.default_rng(0)
    return {
        prefix: Dataset(
            "own",
            random.integers(0, 256, (size, 8, 8, 3), np.uint8),
            np.arange(size, dtype=np.int32) % 2,
            ("0", "1"),
        )
        for prefix, size in SIZES.items()
    }


def config(name: str, path: pathlib.Path, **data: Any) -> dict[str, Any]:
    made: dict[str, Any] = catalogue.load(f"{name}:smoke").to_dict()
    made["data"] |= {"name": "npz", "path": str(path), "max_examples": None} | data
    block = "search" if "search" in made else "train"
    made[block]["batch_size"] = 4
    return made


@pytest.fixture
def file(tmp_path: pathlib.Path, parts: dict[str, Dataset]) -> pathlib.Path:
    arrays: dict[str, np.ndarray] = {"notes": np.arange(3)}
    for prefix, part in parts.items():
        arrays |= {f"{prefix}images": part.images, f"{prefix}labels": part.labels}
    np.savez(tmp_path / "own.npz", **arrays)
    return tmp_path / "own.npz"


def pictures(half: Split) -> list[tuple[bytes, int]]:
    """The examples of weight 1, by their pixels."""
    keep = np.asarray(half.weights) == 1
    ids = np.asarray(half.ids)[keep]
    images = np.asarray(half.images)
    images = images[ids] if images.ndim == 4 else images[keep]
    return sorted(
        (image.tobytes(), int(label))
        for image, label in zip(images, np.asarray(half.labels)[keep], strict=True)
    )


def examples(part: Dataset) -> list[tuple[bytes, int]]:
    return sorted(
        (image.tobytes(), int(label))
        for image, label in zip(part.images, part.labels, strict=True)
    )


@pytest.mark.parametrize("seeds", [(), (3, 4)])
def test_a_search_trains_alpha_on_the_validation_split(file, parts, seeds):
    read = build_data.read(config("darts_nasbench201_digits", file), seeds)
    assert str(read.reading) == (
        f"data npz {file}: 34 images · 2 classes (0, 1) · 8x8 pixels, 3 channels · "
        "train 24, valid 10 (a split of its own), test not read · "
        "1 file passed over: 1 notes.npy of no known key"
    )
    assert len(read.by_seed) == max(1, len(seeds))
    for data in read.by_seed:
        assert pictures(data.train) == examples(parts[""])
        assert pictures(data.valid) == examples(parts["valid_"])
        np.testing.assert_allclose(
            data.mean, parts[""].images.mean((0, 1, 2)) / 255, atol=1e-6
        )
        # Ids of the two are apart: a memory of either keeps its own.
        ids = [np.asarray(half.ids).ravel() for half in (data.train, data.valid)]
        assert not set(ids[0]) & set(ids[1])


def test_the_seeds_of_a_search_take_the_same_batches_as_one_alone(file):
    settings = config("darts_nasbench201_digits", file)
    alone = build_data.read(settings).by_seed[0]
    shared = build_data.read(settings, (0,)).by_seed[0]
    for name in ("train", "valid"):
        order = np.zeros(4, np.int32)
        batches = [
            take(
                data,
                getattr(data, name),
                order,
                jax.random.key(0),
                epoch=0,
                augmentation=None,
            )
            for data in (alone, shared)
        ]
        for one, other in zip(*batches, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_training_is_validated_on_the_validation_split(file, parts):
    told: list[Any] = []
    settings = config("retrain_nasbench201_digits", file)
    built = build_training.all_parts(
        settings, get(CELL), num_devices=1, tell=told.append
    )
    feed = built.feed
    assert isinstance(feed, Resident)
    assert feed.valid is not None
    assert pictures(feed.train.half) == examples(parts[""])
    assert pictures(feed.valid.half) == examples(parts["valid_"])
    assert feed.steps_per_epoch == 6
    assert [str(reading) for reading in told] == [
        f"data npz {file}: 40 images · 2 classes (0, 1) · 8x8 pixels, 3 channels · "
        "train 24, valid 10 (a split of its own), test 6 · "
        "1 file passed over: 1 notes.npy of no known key"
    ]


def test_another_share_of_what_is_not_halved_is_refused(file):
    settings = config("darts_nasbench201_digits", file, train_fraction=0.7)
    with pytest.raises(InputError, match=r"train_fraction is 0\.7; .*split of its own"):
        build.data(settings)


def test_without_a_validation_split_a_share_is_drawn(tmp_path, parts):
    train, test = parts[""], parts["test_"]
    np.savez(
        tmp_path / "x.npz",
        images=train.images,
        labels=train.labels,
        test_images=test.images,
        test_labels=test.labels,
    )
    read = build_data.read(config("darts_nasbench201_digits", tmp_path / "x.npz"))
    assert "train 12, valid 12 (drawn from train), test not read" in str(read.reading)
    told: list[Any] = []
    settings = config("retrain_nasbench201_digits", tmp_path / "x.npz")
    for fraction, counts in (
        (0.25, "train 18, valid 6 (drawn from train), test 6"),
        (0.0, "train 24, valid 0, test 6"),
    ):
        settings["data"]["valid_fraction"] = fraction
        build_training.all_parts(settings, get(CELL), num_devices=1, tell=told.append)
        assert counts in str(told[-1])
