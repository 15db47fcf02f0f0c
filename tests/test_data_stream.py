"""The stream: what a batch holds, whoever decodes it and wherever it begins."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from absl import flags
from PIL import Image

from experiments.benchmark import streaming
from nasjax.base import InputError
from nasjax.data.crops import (
    central_crop,
    evaluation_crop,
    random_box,
    training_crop,
)
from nasjax.data.files.encoded import Encoded, EncodedImages, open_tfds
from nasjax.data.files.imagenet import prepare_imagenet
from nasjax.data.imagenet_streams import imagenet_streams
from nasjax.data.jitter import IMAGENET_JITTER, ColorJitter
from nasjax.data.stream import ImageBatch, Shard, Stream
from tests import imagenet
from tests.launching import ROOT, environment

NUM = sum(imagenet.CLASSES.values())
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("imagenet")
    imagenet.write_archives(folder)
    return prepare_imagenet(archive_dir=folder, data_dir=folder).folder.parents[1]


@pytest.fixture(scope="module")
def images(data_dir: pathlib.Path) -> EncodedImages:
    return open_tfds("imagenet2012", data_dir=data_dir)


def make(images: EncodedImages, **settings) -> Stream:
    usual = {"batch_size": 8, "image_size": 16, "color_jitter": IMAGENET_JITTER}
    return Stream(images, **(usual | settings))


def same(left: list[ImageBatch], right: list[ImageBatch]) -> None:
    assert len(left) == len(right)
    for ours, theirs in zip(left, right, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


# --- examples --------------------------------------------------------------------


def test_examples_are_those_of_the_archives(images: EncodedImages):
    given = {
        name: (data, imagenet.label(synset))
        for synset, own in imagenet.train_images().items()
        for name, data in own.items()
    }
    assert len(images) == len(given)
    assert sorted(example.name for example in images) == sorted(given)
    for example in images:
        assert example.label == given[example.name][1]
        assert example.decode().mode == "RGB"
    labels = images.labels()
    assert labels.dtype == np.int32
    assert labels.tolist() == [example.label for example in images]
    assert len(images.class_names) == 1000


def test_missing_data_is_one_line(data_dir: pathlib.Path, tmp_path: pathlib.Path):
    with pytest.raises(
        InputError, match=r"not prepared in .*--dataset=imagenet2012 --"
    ):
        open_tfds("imagenet2012", data_dir=tmp_path)
    with pytest.raises(InputError, match=r"no split 'test', has train, validation"):
        open_tfds("imagenet2012", split="test", data_dir=data_dir)
    broken = tmp_path / "imagenet2012" / "5.1.0"
    broken.mkdir(parents=True)
    (broken / "dataset_info.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"cannot be read .* prepare it again"
    ) as error:
        open_tfds("imagenet2012", data_dir=tmp_path)
    assert "\n" not in str(error.value)


# --- order -----------------------------------------------------------------------


def test_every_example_comes_once_an_epoch(images: EncodedImages):
    stream = make(images)
    assert stream.steps_per_epoch == 4
    batches = list(stream.batches(stop=12))
    epochs = [batches[first : first + 4] for first in (0, 4, 8)]
    orders = []
    for epoch in epochs:
        ids = np.concatenate([batch.ids for batch in epoch])
        weights = np.concatenate([batch.weights for batch in epoch])
        assert weights.sum() == NUM
        assert (weights[:NUM] == 1).all()  # only the last batch is filled up
        assert sorted(ids[:NUM]) == list(range(NUM))
        assert ids[NUM:].tolist() == ids[: len(ids) - NUM].tolist()
        orders.append(tuple(ids[:NUM]))
        labels = np.concatenate([batch.labels for batch in epoch])
        np.testing.assert_array_equal(labels, images.labels()[ids])
    assert len(set(orders)) == 3
    other = next(make(images, seed=1).batches())
    assert other.ids.tolist() != epochs[0][0].ids.tolist()


def test_an_epochs_crops_are_its_own_and_do_not_depend_on_the_batch(
    images: EncodedImages,
):
    def of_example(row: int, epoch: int, **settings) -> np.ndarray:
        stream = make(images, **settings)
        start = epoch * stream.steps_per_epoch
        for batch in stream.batches(start=start, stop=start + stream.steps_per_epoch):
            if row in batch.ids:
                return batch.images[batch.ids.tolist().index(row)]
        raise AssertionError(row)

    first = of_example(5, 0)
    np.testing.assert_array_equal(of_example(5, 0, batch_size=3), first)
    assert (of_example(5, 1) != first).any()
    assert (of_example(5, 0, seed=1) != first).any()


@pytest.mark.parametrize("start", [1, 3, 4, 6])
def test_it_resumes_at_any_batch(images: EncodedImages, start: int):
    stream = make(images)
    whole = list(stream.batches(stop=8))
    same(list(stream.batches(start=start, stop=8)), whole[start:])


def test_shards_are_the_rows_of_one_batch(images: EncodedImages):
    whole = list(make(images).batches(stop=5))
    parts = [list(make(images, shard=Shard(n, 4)).batches(stop=5)) for n in range(4)]
    joined = [
        ImageBatch(*map(np.concatenate, zip(*batches, strict=True)))
        for batches in zip(*parts, strict=True)
    ]
    same(joined, whole)


def test_evaluation_goes_in_order_and_takes_the_centre(images: EncodedImages):
    batches = list(make(images, train=False).batches(stop=4))
    ids = np.concatenate([batch.ids for batch in batches])
    assert ids[:NUM].tolist() == list(range(NUM))
    for batch in batches[:2]:
        for pixels, row in zip(batch.images, batch.ids, strict=True):
            wanted = evaluation_crop(images[row].decode(), size=16)
            np.testing.assert_array_equal(pixels, wanted)


def test_an_epoch_smaller_than_a_batch(images: EncodedImages):
    batch = next(make(images, batch_size=64).batches())
    assert batch.images.shape == (64, 16, 16, 3)
    assert batch.weights.sum() == NUM
    assert sorted(set(batch.ids)) == list(range(NUM))


SCRIPT = """
import multiprocessing, os, signal, sys
import numpy as np
import jax, jax.numpy as jnp
from nasjax.data.files.encoded import open_tfds
from nasjax.data.jitter import IMAGENET_JITTER
from nasjax.data.stream import Stream

def main(data_dir):
    jnp.ones(3).block_until_ready()  # JAX has its threads before grain its workers
    images = open_tfds("imagenet2012", data_dir=data_dir)
    here = Stream(images, batch_size=8, image_size=16, color_jitter=IMAGENET_JITTER)
    there = here._replace(num_workers=2)
    theirs = there.batches(start=2)
    for a in here.batches(start=2, stop=7):
        for x, y in zip(a, next(theirs), strict=True):
            np.testing.assert_array_equal(x, y, strict=True)
    theirs.close()  # ends the workers, at work on what nobody will ask for
    assert not multiprocessing.active_children()
    broken = Stream([*images][:3], batch_size=2, num_workers=1)
    broken.images[1] = broken.images[1]._replace(image=b"no image", name="x.JPEG")
    try:
        list(broken.batches(stop=2))
    except ValueError as error:
        print(type(error).__name__, error)
    orphaned = there._replace(num_workers=1).batches()
    next(orphaned)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    main(sys.argv[1])
"""


def test_workers_of_a_process_with_jax_make_the_same_batches(
    data_dir: pathlib.Path, tmp_path: pathlib.Path
):
    script = tmp_path / "main.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(data_dir)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=environment(),
        cwd=ROOT,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    complaint, worker = done.stdout.splitlines()
    assert complaint.startswith("InputError image x.JPEG cannot be decoded")
    # What was killed cannot end its workers: they end by themselves.
    for _ in range(100):
        try:
            os.kill(int(worker), 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"worker {worker} is still there")


# --- ImageNet's splits -----------------------------------------------------------


def test_held_out_images_are_not_trained_on(data_dir: pathlib.Path):
    streams = imagenet_streams(
        batch_size=4, data_dir=data_dir, image_size=16, valid_fraction=0.3, seed=2
    )
    assert streams.valid is not None
    names = []
    for stream in (streams.train, streams.valid):
        ids = np.concatenate(
            [batch.ids for batch in stream.batches(stop=stream.steps_per_epoch)]
        )
        names.append({stream.images[row].name for row in ids})
    assert len(names[0]) == 19  # of 27, rounded up
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == NUM
    assert (streams.train.train, streams.valid.train) == (True, False)
    assert streams.num_classes == 1000
    assert streams.train.color_jitter == (0.4, 0.4, 0.4, 0.2)  # DARTS's
    test = {example.name for example in streams.test.images}
    assert test == set(imagenet.validation_images())


def test_nothing_held_out_and_few_examples(data_dir: pathlib.Path):
    streams = imagenet_streams(batch_size=4, data_dir=data_dir, max_examples=5)
    assert streams.valid is None
    assert len(streams.train.images) == len(streams.test.images) == 5
    for settings, message in (
        ({"valid_fraction": 1.0}, "valid_fraction is 1.0"),
        ({"max_examples": 0}, "max_examples is 0"),
        ({"num_workers": -2}, "num_workers is -2"),
        (
            {"color_jitter": (0.4, 0.4)},
            r"color_jitter is \(0.4, 0.4\); it must be four",
        ),
        ({"color_jitter": 0.4}, "color_jitter is 0.4; it must be four numbers"),
    ):
        with pytest.raises(InputError, match=message):
            imagenet_streams(batch_size=4, data_dir=data_dir, **settings)


# --- mistakes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"image_size": 0}, "image_size is 0"),
        ({"num_workers": -1}, "num_workers is -1; it must be at least 0"),
        ({"seed": -1}, "seed is -1"),
        ({"min_area": 0.0}, "min_area is 0.0; it must be above 0 and at most 1"),
        (
            {"color_jitter": ColorJitter(brightness=-0.1)},
            "color_jitter has brightness -0.1; it must be a number of 0 or more",
        ),
        ({"color_jitter": ColorJitter(hue=0.6)}, "hue 0.6; .* of 0 to 0.5"),
        ({"color_jitter": ColorJitter(contrast="x")}, "contrast 'x'"),
        ({"shard": Shard(2, 2)}, "shard 2 of 2 is none"),
        ({"shard": Shard(0, 3)}, "batch_size is 8; 3 processes must share it"),
        ({"images": []}, "holds no example"),
    ],
)
def test_fields_that_cannot_be(images: EncodedImages, settings, message: str):
    with pytest.raises(InputError, match=message):
        next(make(images)._replace(**settings).batches())


def test_no_batch_before_the_first(images: EncodedImages):
    with pytest.raises(InputError, match="batches 3 to 2 are none"):
        next(make(images).batches(start=3, stop=2))


def test_a_broken_image_is_named(images: EncodedImages):
    examples = [Encoded(b"\xff\xd8\xff broken", 0, "n0_1.JPEG")] * 2
    with pytest.raises(InputError, match=r"image n0_1.JPEG cannot be decoded \("):
        list(make(images)._replace(images=examples).batches(stop=1))


# --- crops -----------------------------------------------------------------------


def photograph(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize("size", [(500, 375), (300, 640), (257, 256), (90, 60)])
def test_evaluation_is_a_central_crop_of_the_resized_image(size):
    image = photograph(*size)
    width, height = size
    # By hand: shorter side to 256, then the central 224 pixels.
    scale = 256 / min(size)
    resized = image.resize(
        (int(width * scale + 1e-6), int(height * scale + 1e-6)), Image.BILINEAR
    )
    pixels = np.asarray(resized)
    top, left = ((side - 224) / 2 for side in pixels.shape[:2])
    expected = pixels[round(top) :, round(left) :][:224, :224]
    np.testing.assert_array_equal(evaluation_crop(image), expected)
    assert central_crop(image, size=40, shorter=40).shape == (40, 40, 3)


def test_a_training_crop_is_the_box_it_drew():
    image = photograph(120, 90)
    mirrored = 0
    for seed in range(20):
        box = random_box(np.random.default_rng(seed), 120, 90)
        pixels = np.asarray(image)[box[1] : box[3], box[0] : box[2]]
        expected = np.asarray(
            Image.fromarray(pixels).resize((24, 24), Image.BILINEAR), int
        )
        crop = training_crop(image, np.random.default_rng(seed), size=24)
        assert crop.shape == (24, 24, 3)
        if (crop == expected[:, ::-1]).all():
            mirrored += 1
        else:
            np.testing.assert_array_equal(crop, expected)
    assert 4 <= mirrored <= 16  # 20 fair coins: all but 0.3 %


def test_boxes_are_spread_as_stated():
    rng = np.random.default_rng(0)
    boxes = np.array([random_box(rng, 400, 400) for _ in range(4000)])
    left, upper, right, lower = boxes.T
    assert boxes.min() >= 0
    assert boxes.max() <= 400
    width, height = right - left, lower - upper
    area, ratio = width * height / 400**2, np.log(width / height)
    assert 0.079 < area.min() < 0.085
    assert area.max() <= 1
    assert abs(ratio).max() <= np.log(4 / 3) + 0.02
    assert abs(ratio.mean()) < 0.02
    # Uniform where every ratio fits in: below 3/4 of the image.
    low = area[area < 0.75]
    counts, _ = np.histogram(low, bins=5, range=(0.08, 0.75))
    assert (abs(counts - len(low) / 5) < 5 * np.sqrt(len(low) / 5)).all()
    # The place is uniform too: as much room on the left as on the right.
    free = (400 - width) > 40
    assert abs((left / np.maximum(400 - width, 1))[free].mean() - 0.5) < 0.03


@pytest.mark.parametrize(
    ("size", "box"), [((1000, 10), (493, 0, 506, 10)), ((10, 1000), (0, 493, 10, 506))]
)
def test_a_shape_that_no_draw_fits_gets_the_centre(size, box):
    assert random_box(np.random.default_rng(0), *size, min_area=0.9) == box


# --- how fast -------------------------------------------------------------------


def test_the_benchmark_measures_a_rate(data_dir: pathlib.Path):
    sizes = {"batch_size": 4, "image_size": 16, "seconds": 0.1}
    (figures,) = streaming.measure(num_workers=["0"], data_dir=str(data_dir), **sizes)
    assert figures["images"] == "imagenet2012"
    assert figures["images_per_second"] > 1
    assert figures["color_jitter"]
    with pytest.raises(InputError, match=r"--num_workers=many: must be integers"):
        next(streaming.measure(num_workers=["many"]))


def test_synthetic_images_are_of_imagenets_size():
    (example, *_) = streaming.synthetic()
    assert example.decode().size == (500, 375)
    assert 60_000 < len(example.image) < 150_000


def test_a_stream_makes_no_warnings(images: EncodedImages):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(make(images).batches())
