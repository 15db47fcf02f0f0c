"""Shares of every class, decoded once, and a search on them."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.configs import catalogue
from experiments.launch import build
from nasjax.base import InputError
from nasjax.data import load_halves, open_tfds, prepare_imagenet
from nasjax.data.crops import central_crop
from nasjax.data.subset import class_halves
from tests import imagenet
from tests.launching import launch

LABELS = np.array([5] * 40 + [2] * 30 + [7] * 11 + [0] * 2)


@given(seed=st.integers(0, 2**31), fraction=st.floats(0.01, 0.5))
def test_either_half_has_its_share_of_every_class(seed: int, fraction: float):
    halves = class_halves(seed, LABELS, fraction=fraction)
    for part in halves:
        assert part.dtype == np.int32
        assert (np.diff(part) > 0).all()
        for label, size in zip(*np.unique(LABELS, return_counts=True), strict=True):
            wanted = max(1, int(size * fraction + 1e-6))
            assert (LABELS[part] == label).sum() == wanted
    assert not set(halves[0]) & set(halves[1])


def test_the_seed_decides_and_every_example_has_its_chance():
    first, again, other = (class_halves(s, LABELS, fraction=0.1) for s in (0, 0, 1))
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert set(first[0]) != set(other[0])
    drawn = [class_halves(seed, LABELS, fraction=0.1)[0] for seed in range(200)]
    # 4 of 40 in each of 200 draws: every example is drawn some 20 times.
    counts = np.bincount(np.concatenate(drawn), minlength=40)[:40]
    assert counts.sum() == 800
    assert 5 <= counts.min() <= counts.max() <= 40


@pytest.mark.parametrize("fraction", [0, 0.51, -1, float("nan")])
def test_a_share_that_cannot_be(fraction: float):
    with pytest.raises(InputError, match=r"class_fraction is .* at most 0.5"):
        class_halves(0, LABELS, fraction=fraction)


def test_a_class_of_one_is_named():
    with pytest.raises(InputError, match="class 3 has 1 example"):
        class_halves(0, np.array([1, 1, 3]), fraction=0.1)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("imagenet")
    imagenet.write_archives(folder)
    prepare_imagenet(archive_dir=folder, data_dir=folder)
    return folder


def test_images_are_decoded_to_one_size(data_dir: pathlib.Path):
    images = open_tfds("imagenet2012", data_dir=data_dir)
    train, valid = load_halves(images, image_size=24, fraction=0.3, seed=1)
    ids = class_halves(1, images.labels(), fraction=0.3)
    for half, rows in zip((train, valid), ids, strict=True):
        assert half.images.shape == (len(rows), 24, 24, 3)
        assert half.num_classes == 1000
        for pixels, label, row in zip(half.images, half.labels, rows, strict=True):
            example = images[row]
            assert label == example.label
            wanted = central_crop(example.decode(), size=24, shorter=24)
            np.testing.assert_array_equal(pixels, wanted)
    few = load_halves(images, image_size=8, fraction=0.5, max_examples=7)
    assert [len(half.labels) for half in few] == [3, 3]
    with pytest.raises(InputError, match="image_size is 0"):
        load_halves(images, image_size=0)
    with pytest.raises(InputError, match="max_examples is 1"):
        load_halves(images, image_size=8, max_examples=1)


def test_mistakes_in_the_configuration_are_one_line(data_dir: pathlib.Path):
    def complaint(**fields) -> str:
        config = catalogue.load("stc_nas_darts_imagenet:smoke").to_dict()
        config["data"] |= {"data_dir": str(data_dir)} | fields
        with pytest.raises(InputError) as error:
            build.data(config)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "search.batch_size is 32; it must be at most 12" in complaint()
    assert "data.train_fraction is 0.4" in complaint(train_fraction=0.4)
    assert "data.path is for npz and folder" in complaint(path="x")
    assert "data: class_fraction is 0.7" in complaint(class_fraction=0.7)
    assert "data: imagenet2012 is not prepared" in complaint(data_dir="/nowhere")
    assert "class_fraction is for imagenet2012" in complaint(name="digits")


def test_a_search_ends_at_a_genotype(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, compilation_cache: str
):
    done = launch(
        "--config=experiments/configs/stc_nas_darts_imagenet.py:smoke",
        f"--config.data.data_dir={data_dir}",
        "--config.search.batch_size=4",
        "--config.supernet.channels=2",
        "--config.supernet.num_cells=1",
        "--config.search.epochs=1",
        "--config.method.arch_start=0",
        f"--workdir={tmp_path / 'run'}",
        f"--compilation_cache={compilation_cache}",
    )
    assert done.code == 0, done.err
    genotype = json.loads((tmp_path / "run" / "genotype.json").read_text())
    assert len(genotype["reduce"]) == 8
