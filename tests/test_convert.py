"""Weights that say which network they are of, and the launcher of conversions."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import genotypes, network
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.interop import exported, files, pytorch, trained
from tests.launching import ROOT, Ended, environment


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Small shapes: most of the time would go into optimising what runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


CELL = "|nor_conv_1x1~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|"
TINY = Genotype("nasbench201", arch_str=CELL)
SIZES = {"dataset": "cifar10", "channels": 4, "num_cells": 1, "num_classes": 7}


@pytest.fixture(scope="module")
def variables():
    return network.init(jax.random.key(0), TINY, **SIZES)


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


# --- which network --------------------------------------------------------------


@pytest.mark.parametrize(
    ("genotype", "sizes", "auxiliary"),
    [
        (TINY, SIZES, False),
        (TINY, {**SIZES, "num_cells": 3, "num_classes": 100}, False),
        (genotypes.DARTS_V2, {**SIZES, "num_cells": 5}, True),
        (genotypes.GDAS, {**SIZES, "num_cells": 4, "num_classes": 100}, False),
        (genotypes.NASNet, {**SIZES, "num_cells": 3, "dataset": "imagenet"}, True),
    ],
)
def test_the_sizes_of_a_network_are_read_off_its_weights(genotype, sizes, auxiliary):
    template = jax.eval_shape(
        lambda key: network.init(key, genotype, **sizes, auxiliary=auxiliary),
        jax.random.key(0),
    )
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    state = pytorch.to_state_dict(empty, genotype, **sizes, auxiliary=auxiliary)
    dataset = "cifar100" if sizes["num_classes"] == 100 else sizes["dataset"]
    assert trained.describe(state, genotype) == trained.Description(
        genotype, **{**sizes, "dataset": dataset}, auxiliary=auxiliary
    )


def test_weights_say_which_network_they_are_of(tmp_path, variables):
    path = tmp_path / "weights.safetensors"
    described = trained.save(path, variables, TINY, **SIZES)
    again, found = trained.load(path)
    assert found == described == trained.Description(TINY, **SIZES)
    assert_equal(again, variables)
    images = jnp.ones((2, 8, 8, 3))
    np.testing.assert_array_equal(
        trained.apply(again, images, found),
        network.apply(variables, images, TINY, **SIZES),
    )
    # The names are PyTorch's: the file is read without what it says, too.
    plain, found = trained.load(path, TINY)
    assert found == described
    assert_equal(plain, variables)


def test_weights_of_pytorch_go_in_and_out(tmp_path, variables):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    trained.save(path, variables, TINY, **SIZES)
    state = torch.load(path, weights_only=True)
    assert_equal(pytorch.from_state_dict(state, TINY, **SIZES), variables)
    assert_equal(trained.load(path, TINY)[0], variables)
    with pytest.raises(InputError, match=r"weights\.pt does not say which network"):
        trained.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genotype": None}, "which network it is: a genotype is a JSON object"),
        ({"genotype": {"arch_str": "x"}}, "'x' is not a NAS-Bench-201 string"),
        ({"colour": 3}, "unexpected keyword argument 'colour'"),
        ({"auxiliary": 1}, "auxiliary is 1"),
        ({"channels": "4"}, "channels is '4'; it is an integer"),
        ({"dataset": "mnist"}, "'mnist' is not one of cifar10"),
        ({"channels": 8}, "of the checkpoint is"),
    ],
)
def test_damaged_descriptions_are_refused_in_one_line(
    tmp_path, variables, change, message
):
    path = tmp_path / "weights.safetensors"
    fields = {"genotype": json.loads(TINY.to_json()), **SIZES, "auxiliary": False}
    state = pytorch.to_state_dict(variables, TINY, **SIZES)
    files.write(path, state, metadata={"nasjax": json.dumps(fields | change)})
    with pytest.raises(InputError, match=message) as error:
        trained.load(path)
    assert "\n" not in str(error.value)
    for text in ("[]", "{}", "{", "3"):
        files.write(path, state, metadata={"nasjax": text})
        with pytest.raises(InputError, match="does not say which network it is"):
            trained.load(path)


def test_arrays_of_no_network_are_refused(tmp_path, variables):
    state = pytorch.to_state_dict(variables, TINY, **SIZES)
    for missing in ("stem.0.weight", "classifier.weight"):
        rest = {k: v for k, v in state.items() if k != missing}
        with pytest.raises(InputError, match=f"has no '{missing}', this network"):
            trained.describe(rest, TINY)
    rest = {k: v for k, v in state.items() if not k.startswith("cells.")}
    with pytest.raises(InputError, match=r"has no 'cells\.0"):
        trained.describe(rest, TINY)
    # Weights of one genotype are not those of another.
    path = tmp_path / "weights.safetensors"
    files.write(path, state)
    with pytest.raises(InputError, match="the checkpoint has "):
        trained.load(path, genotypes.DARTS_V2)


def test_writing_for_pytorch_asks_for_it(tmp_path, variables, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="PyTorch, which is not installed"):
        trained.save(tmp_path / "weights.pt", variables, TINY, **SIZES)
    assert list(tmp_path.iterdir()) == []


# --- the launcher ---------------------------------------------------------------


def convert(*flags: str, **more: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.convert", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(**more),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_genotype_is_printed_in_the_form_asked_for(tmp_path):
    path = tmp_path / "cell.txt"
    path.write_text(genotypes.GDAS.to_text())
    told = convert(f"--genotype={path}", "--form=json")
    assert (told.code, told.err) == (0, "")
    assert Genotype.from_json(told.out) == genotypes.GDAS._replace(source="")


def test_weights_become_an_exported_network(tmp_path, variables, compilation_cache):
    source = tmp_path / "weights.safetensors"
    trained.save(source, variables, TINY, **SIZES)
    output = tmp_path / "network.jax"
    flags = (f"--weights={source}", f"--output={output}", "--image_size=8")
    told = convert(*flags, JAX_COMPILATION_CACHE_DIR=compilation_cache)
    assert (told.code, told.err) == (0, "")
    assert "num_classes=7, auxiliary head: no\nread again: logits of 2" in told.out
    images = jnp.linspace(-1.0, 1.0, 5 * 8 * 8 * 3).reshape(5, 8, 8, 3)
    expected = network.apply(variables, images, TINY, **SIZES)
    found = exported.load(output)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {source.name, output.name}


def test_what_the_launcher_does_without_starting_it(tmp_path, variables):
    from experiments import convert as launcher  # defines flags

    path, output = tmp_path / "weights.safetensors", tmp_path / "again.safetensors"
    trained.save(path, variables, TINY, **SIZES)
    told = launcher._convert_weights(path, None, output)
    assert told.endswith(f"num_cells=1, num_classes=7, auxiliary head: no\n{output}")
    assert_equal(trained.load(output)[0], variables)
    launcher._write_text(tmp_path / "cell.json", TINY.to_json())
    assert genotypes.get(tmp_path / "cell.json") == TINY
    for wrong, message in (
        (None, "--output is missing"),
        (tmp_path / "weights.npz", r"weights\.npz is not a file of a network: \.safe"),
    ):
        with pytest.raises(InputError, match=message):
            launcher._convert_weights(path, None, wrong)
    # Nothing is put in place that does not give the same numbers.
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, variables)
    described = trained.Description(TINY, **SIZES)
    with pytest.raises(InputError, match="differs by nan"):
        launcher._export(tmp_path / "network.jax", broken, described)
    assert not list(tmp_path.glob("*network.jax*"))
