"""What images a trained network takes: said by its files, checked where it is fed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import network
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.interop import exported, files, pytorch, trained
from nasjax.interop.images import Images, from_json, to_json


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Small shapes: most of the time would go into optimising what runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


CELL = "|nor_conv_1x1~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|"
TINY = Genotype("nasbench201", arch_str=CELL)
SIZES = {"dataset": "cifar10", "channels": 4, "num_cells": 1, "num_classes": 7}
IMAGES = Images((8, 8, 3), (0.5, 0.45, 0.4), (0.25, 0.2, 0.3))
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


def by_hand() -> np.ndarray:
    """As the definition has it, by NumPy in float64."""
    scaled = PIXELS.astype(np.float64) / 255
    return ((scaled - np.array(IMAGES.mean)) / np.array(IMAGES.std)).astype(np.float32)


@pytest.fixture(scope="module")
def variables():
    return network.init(jax.random.key(0), TINY, **SIZES)


@pytest.fixture(scope="module")
def logits(variables):
    return np.asarray(network.apply(variables, jnp.asarray(by_hand()), TINY, **SIZES))


@pytest.fixture(scope="module")
def programs(variables, tmp_path_factory: pytest.TempPathFactory):
    """Exported with and without the normalisation, and without knowing it."""
    folder = tmp_path_factory.mktemp("programs")
    for name, more in (
        ("inside", {"images": IMAGES, "normalise": True}),
        ("outside", {"images": IMAGES}),
        ("unknown", {"image_shape": (8, 8, 3)}),
    ):
        exported.save(folder / name, variables, TINY, **SIZES, **more)
    return {path.name: exported.load(path) for path in folder.iterdir()}


def test_pixels_are_normalised_as_defined():
    np.testing.assert_allclose(IMAGES.normalise(PIXELS), by_hand(), atol=1e-6)


def test_the_file_says_which_images_it_takes(programs):
    inside, outside, unknown = (programs[n] for n in ("inside", "outside", "unknown"))
    assert inside.images == outside.images == IMAGES
    assert (inside.takes_pixels, outside.takes_pixels) == (True, False)
    assert inside.shape == outside.shape == unknown.shape == (8, 8, 3)
    assert unknown.images is None
    assert "the file does not say how" in str(unknown)
    assert "mean 0.5 0.45 0.4, std 0.25 0.2 0.3" in str(outside)


def test_the_exported_logits_are_the_networks(programs, logits):
    for name, fed in (
        ("inside", PIXELS),
        ("outside", by_hand()),
        ("unknown", by_hand()),
    ):
        run = programs[name]
        np.testing.assert_allclose(run(fed), logits, rtol=1e-4, atol=1e-5)
        found = jax.jit(run)(fed)  # while it is traced, values cannot be looked at
        np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
        # JAX alone, without this library's checks, has the type and size of it too.
        wrong = by_hand() if name == "inside" else PIXELS
        with pytest.raises(ValueError, match="Dtype mismatch"):
            run.run(wrong)


WRONG = {
    "pixels": (PIXELS, "images are uint8; this network takes floats"),
    "integers": (PIXELS.astype(np.int32), "images are int32; this"),
    "a list": (PIXELS.tolist(), "images are int64; this"),
    "0 to 255": (PIXELS.astype(np.float32), "images are from 0 to 255, and normalised"),
    "0 to 1": (PIXELS / np.float32(255), "from 0 to 1, as pixels of 0..1 are that are"),
    "-1 to 1, of other means": (by_hand() * 3, "and normalised ones lie within"),
    "no numbers": (by_hand() * np.nan, "images are from nan to nan"),
    "another size": (by_hand()[:, :4], r"\[4, 4, 8, 3\]; this .* takes \[B, 8, 8, 3\]"),
    "one image": (by_hand()[0], r"images are \[8, 8, 3\]; this network takes"),
    "none": (by_hand()[:0], r"\[0, 8, 8, 3\]; this network takes"),
    "grey": (by_hand()[..., :1], r"\[4, 8, 8, 1\]; this network takes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_images_are_not_fed_silently(programs, variables, case):
    fed, message = WRONG[case]
    described = trained.Description(TINY, **SIZES, images=IMAGES)
    for run in (programs["outside"], lambda x: trained.apply(variables, x, described)):
        with pytest.raises(InputError, match=message) as error:
            run(fed)
        assert "\n" not in str(error.value)
    if case != "pixels":
        with pytest.raises(InputError, match=r"takes pixels 0\.\.255, uint8"):
            programs["inside"](fed)


def test_what_is_no_mistake_is_taken(programs):
    """All of the mean colour, black, and white."""
    run = programs["outside"]
    for pixel in (0, 255):
        run(IMAGES.normalise(np.full((1, 8, 8, 3), pixel, np.uint8)))
    run(np.zeros((1, 8, 8, 3), np.float32))


# --- files ----------------------------------------------------------------------


def test_weights_say_which_images_they_take(tmp_path, variables, logits):
    path = tmp_path / "weights.safetensors"
    trained.save(path, variables, TINY, **SIZES, images=IMAGES)
    written = path.read_bytes()
    for _ in range(5):
        trained.save(path, variables, TINY, **SIZES, images=IMAGES)
        assert path.read_bytes() == written  # to the bit: nothing is in chance's order
    again, described = trained.load(path)
    assert described == trained.Description(TINY, **SIZES, images=IMAGES)
    found = trained.apply(again, described.images.normalise(PIXELS), described)
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-6)
    # The genotype may be given: the images are still the file's.
    assert trained.load(path, TINY)[1].images == IMAGES
    # Those of an earlier version are read as before, and say that they do not know.
    trained.save(path, variables, TINY, **SIZES)
    assert trained.load(path)[1].images is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [8, 8]}, r"shape is \(8, 8\); it is \(H, W, c\)"),
        ({"shape": [8, 8, 3.0]}, "shape is"),
        ({"mean": [0.5]}, r"mean is \[0.5\]; it is 3 numbers"),
        ({"mean": [0.5, 0.5, "x"]}, "mean is"),
        ({"std": [0.5, 0.5, 0]}, r"std is \[0.5, 0.5, 0\]; .* above 0"),
        ({"std": [0.5, 0.5, float("inf")]}, "std is"),
        ({"std": None}, "says nothing that is read"),
        ({"colour": []}, "unexpected keyword argument 'colour'"),
    ],
)
def test_damaged_words_on_images_are_refused(tmp_path, variables, change, message):
    fields = json.loads(to_json(IMAGES)) | change
    path = tmp_path / "weights.safetensors"
    state = pytorch.to_state_dict(variables, TINY, **SIZES)
    said = {"genotype": {"arch_str": CELL}, **SIZES, "images": fields}
    files.write(path, state, metadata={"nasjax": json.dumps(said)})
    with pytest.raises(InputError, match=rf"weights\.safetensors .*{message}") as error:
        trained.load(path, TINY)
    assert "\n" not in str(error.value)
    for text in ("", "[]", "{", '{"shape": [8, 8, 3], "shape": [8, 8, 3]}'):
        with pytest.raises(InputError, match="says nothing that is read"):
            from_json(text)


def test_to_normalise_the_program_must_know_how(tmp_path, variables):
    with pytest.raises(InputError, match="say how: images is None"):
        exported.save(tmp_path / "x", variables, TINY, **SIZES, normalise=True)
    wrong = IMAGES._replace(std=(1.0,))
    with pytest.raises(InputError, match="std is"):
        exported.save(tmp_path / "x", variables, TINY, **SIZES, images=wrong)
    for pixels in (by_hand(), PIXELS.tolist(), PIXELS[:, 1:]):
        with pytest.raises(InputError):
            IMAGES.normalise(pixels)


# --- the launcher ---------------------------------------------------------------


def test_the_launcher_passes_on_what_weights_say(tmp_path, variables, logits):
    from experiments import convert as launcher  # defines flags

    source, output = tmp_path / "weights.safetensors", tmp_path / "network.jax"
    trained.save(source, variables, TINY, **SIZES, images=IMAGES)
    told = launcher._convert_weights(source, None, output, normalise=True)
    assert told.startswith("images: 8x8x3, normalised as (pixels / 255 - mean) / std")
    assert "read again: logits of 2 images agree" in told
    assert "takes pixels 0..255, uint8 [B, 8, 8, 3]" in told
    run = exported.load(output)
    np.testing.assert_allclose(run(PIXELS), logits, rtol=1e-4, atol=1e-5)
    # From weights that do not say it: by the flags, or without and said so.
    plain, kept = tmp_path / "plain.safetensors", tmp_path / "kept.safetensors"
    trained.save(plain, variables, TINY, **SIZES)
    flags = {"mean": IMAGES.mean, "std": IMAGES.std}
    launcher._convert_weights(plain, None, kept, image_size=8, **flags)
    assert trained.load(kept)[1].images == IMAGES
    told = launcher._convert_weights(plain, None, tmp_path / "again.safetensors")
    assert f"images: {plain} says neither their size nor how they are" in told
    for more, message in (
        ({"normalise": True}, "--normalise: the weights do not say how; give --mean"),
        ({"mean": (0.5,) * 3}, "--mean and --std belong together"),
        ({"mean": (0.5,), "std": (0.5,)}, r"mean is \[0.5\]; it is 3 numbers"),
    ):
        with pytest.raises(InputError, match=message):
            launcher._convert_weights(plain, None, output, **more)
