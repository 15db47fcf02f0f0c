"""Weights by PyTorch's names, in files, and exported networks."""

import argparse
import gzip
import pathlib
import pickle
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import genotypes, network
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.interop import exported, files, pytorch


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Small shapes: most of the time would go into optimising what runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


TINY = Genotype("nasbench201", arch_str="|nor_conv_1x1~0|")
NB201 = Genotype(
    "nasbench201",
    arch_str=(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|"
        "+|skip_connect~0|none~1|nor_conv_3x3~2|"
    ),
)
CIFAR = {"dataset": "cifar10", "channels": 4, "num_cells": 5, "num_classes": 7}
IMAGENET = {**CIFAR, "dataset": "imagenet"}
TINY_SIZES = {**CIFAR, "num_cells": 1}
NETWORKS = [
    (genotypes.DARTS_V2, CIFAR, True),
    (genotypes.DARTS_V2, CIFAR, False),
    (genotypes.DARTS_V2, IMAGENET, True),
    (genotypes.AmoebaNet, CIFAR, False),
    (genotypes.NASNet, IMAGENET, True),
    (NB201, TINY_SIZES, False),
]


def torch_network(genotype, sizes, auxiliary):
    oracle = pytest.importorskip("tests.oracles.torch_network")
    oracle.torch.manual_seed(0)
    if genotype.arch_str:
        names = [name for name, _ in genotype.cells["cell"]]
        own = {k: v for k, v in sizes.items() if k != "dataset"}
        return oracle.NasBench201Network(names, **own)
    return oracle.DartsNetwork(genotype, **sizes, auxiliary=auxiliary)


def tiny_state():
    variables = network.init(jax.random.key(0), TINY, **TINY_SIZES)
    return variables, pytorch.to_state_dict(variables, TINY, **TINY_SIZES)


# --- names ----------------------------------------------------------------------


@pytest.mark.parametrize(("genotype", "sizes", "auxiliary"), NETWORKS)
def test_a_checkpoint_of_pytorchs_goes_in_and_comes_out_again(
    genotype, sizes, auxiliary
):
    net = torch_network(genotype, sizes, auxiliary)
    for buffer in net.buffers():  # running averages of no two channels alike
        if buffer.ndim:
            buffer.uniform_(0.5, 1.5)
    theirs = net.state_dict()
    settings = {**sizes, "auxiliary": auxiliary}
    variables = pytorch.from_state_dict(theirs, genotype, **settings)
    ours = pytorch.to_state_dict(variables, genotype, **settings)
    wanted = {k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}
    assert set(ours) == set(wanted)
    for name, array in ours.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, wanted[name].numpy(), err_msg=name)
    # PyTorch takes them, strictly, without what it counts beside them.
    net.load_state_dict({k: net_array(v) for k, v in ours.items()}, strict=True)


def net_array(array):
    return pytest.importorskip("torch").from_numpy(array)


@pytest.mark.parametrize(("genotype", "sizes", "auxiliary"), NETWORKS)
def test_variables_go_out_and_come_in_again_bit_equal(genotype, sizes, auxiliary):
    settings = {**sizes, "auxiliary": auxiliary}
    template = jax.eval_shape(
        lambda key: network.init(key, genotype, **settings), jax.random.key(0)
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), template
    )
    state = pytorch.to_state_dict(variables, genotype, **settings)
    again = pytorch.from_state_dict(state, genotype, **settings)
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    for one, other in zip(
        jax.tree.leaves(variables), jax.tree.leaves(again), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    # Every number has its place in the checkpoint, once.
    total = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert sum(array.size for array in state.values()) == total


def test_names_are_those_of_the_published_checkpoints():
    variables = network.init(
        jax.random.key(0), genotypes.DARTS_V2, **CIFAR, auxiliary=True
    )
    state = pytorch.to_state_dict(
        variables, genotypes.DARTS_V2, **CIFAR, auxiliary=True
    )
    shapes = {
        "stem.0.weight": (12, 3, 3, 3),
        "stem.1.running_mean": (12,),
        "cells.0.preprocess0.op.1.weight": (4, 12, 1, 1),
        "cells.0.preprocess0.op.2.running_var": (4,),
        "cells.2.preprocess0.conv_1.weight": (4, 16, 1, 1),
        "cells.2.preprocess0.conv_2.weight": (4, 16, 1, 1),
        "cells.2.preprocess0.bn.bias": (8,),
        "cells.0._ops.0.op.1.weight": (4, 1, 3, 3),
        "cells.0._ops.0.op.2.weight": (4, 4, 1, 1),
        "cells.0._ops.0.op.3.weight": (4,),
        "cells.0._ops.0.op.5.weight": (4, 1, 3, 3),
        "cells.0._ops.0.op.7.running_var": (4,),
        "cells.0._ops.7.op.3.bias": (4,),
        "auxiliary_head.features.2.weight": (128, 64, 1, 1),
        "auxiliary_head.features.6.running_mean": (768,),
        "auxiliary_head.classifier.weight": (7, 768),
        "classifier.weight": (7, 64),
        "classifier.bias": (7,),
    }
    assert {name: state[name].shape for name in shapes} == shapes


# --- bad checkpoints ------------------------------------------------------------


def without(state, name):
    return {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "stem.0.weight"), "has no 'stem.0.weight', this network"),
        (lambda s: {}, "has no 'stem.0.weight', this network needs it"),
        (lambda s: {**s, "stem.9.weight": 0}, "has 'stem.9.weight', this network has"),
        (
            lambda s: {**s, "auxiliary_head.classifier.bias": np.zeros(7)},
            "has 'auxiliary_head.classifier.bias', this network has it not",
        ),
        (
            lambda s: {**s, "classifier.bias": np.zeros(10)},
            r"'classifier.bias' of the checkpoint is \[10\], .* needs \[7\]",
        ),
        (
            lambda s: {**s, "classifier.weight": np.zeros((16, 7))},
            r"is \[16, 7\], this network needs \[7, 16\]",
        ),
        (lambda s: {**s, "classifier.bias": "seven"}, "is no array of numbers"),
        (lambda s: {**s, "classifier.bias": None}, "is no array of numbers"),
        (lambda s: {**s, "classifier.bias": [[1], [2, 3]]}, "is no array of numbers"),
        (lambda s: {**s, "classifier.bias": np.zeros(7, complex)}, "no array of numb"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused_by_name(change, message):
    _, state = tiny_state()
    with pytest.raises(InputError, match=message) as error:
        pytorch.from_state_dict(change(state), TINY, **TINY_SIZES)
    assert "\n" not in str(error.value)


def test_variables_of_another_network_are_refused():
    variables, _ = tiny_state()
    with pytest.raises(InputError, match="which this network"):
        pytorch.to_state_dict(variables, NB201, **TINY_SIZES)
    with pytest.raises(InputError, match="params and batch_stats"):
        pytorch.to_state_dict({}, TINY, **TINY_SIZES)
    variables = network.init(jax.random.key(0), genotypes.DARTS_V2, **CIFAR)
    with pytest.raises(InputError, match="have no auxiliary head; auxiliary is True"):
        pytorch.to_state_dict(variables, genotypes.DARTS_V2, **CIFAR, auxiliary=True)


def test_other_number_types_and_image_channels_are_taken():
    variables = network.init(jax.random.key(0), TINY, **TINY_SIZES, image_channels=1)
    state = pytorch.to_state_dict(variables, TINY, **TINY_SIZES)
    assert state["stem.0.weight"].shape == (4, 1, 3, 3)
    half = {k: v.astype(np.float16) for k, v in state.items()}
    again = pytorch.from_state_dict(half, TINY, **TINY_SIZES)
    for one, other in zip(
        jax.tree.leaves(variables), jax.tree.leaves(again), strict=True
    ):
        assert other.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


# --- files ----------------------------------------------------------------------


def test_safetensors_round_trip(tmp_path):
    variables, state = tiny_state()
    path = tmp_path / "weights.safetensors"
    files.write(path, state)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]
    again = pytorch.from_state_dict(files.read(path), TINY, **TINY_SIZES)
    for one, other in zip(
        jax.tree.leaves(variables), jax.tree.leaves(again), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state, "optimizer": {}},
        lambda state: {f"module.{name}": array for name, array in state.items()},
    ],
    ids=["plain", "checkpoint", "parallel"],
)
def test_pytorchs_own_files_are_read(tmp_path, wrapped):
    torch = pytest.importorskip("torch")
    net = torch_network(TINY, TINY_SIZES, False)
    path = tmp_path / "weights.pt"
    torch.save(wrapped(net.state_dict()), path)
    variables = pytorch.from_state_dict(files.read(path), TINY, **TINY_SIZES)
    np.testing.assert_array_equal(
        variables["params"]["head"]["bias"], net.classifier.bias.detach().numpy()
    )


def prefixed(*prefixes: str):
    return lambda state: {"".join(prefixes) + name: a for name, a in state.items()}


def inner(part: str):
    """A part of the network that was wrapped by itself."""
    return lambda state: {
        name.replace("cells.0.", f"cells.0.{part}."): a for name, a in state.items()
    }


def beside(key: str, **more):
    return lambda state: {"epoch": 3, key: state, "lr": 0.1, **more}


def both(*wraps):
    def wrap(state):
        for one in wraps:
            state = one(state)
        return state

    return wrap


OPTIMIZER = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
WRAPPED = {
    "model": beside("model"),
    "model_state_dict": beside("model_state_dict", optimizer=OPTIMIZER),
    "net": beside("net", acc=97.1),
    "network": beside("network"),
    "another name": beside("student", optimizer=OPTIMIZER),
    "model in state": both(beside("state_dict"), beside("state")),
    "state_dict in model": both(beside("state_dict"), beside("model")),
    "an average deeper": lambda state: {
        "model": state,
        "ema": {"state_dict": {k: v * 0 for k, v in state.items()}},
    },
    "an average beside": lambda state: {
        "state_dict": state,
        "state_dict_ema": {k: v * 0 for k, v in state.items()},
    },
    "compiled": prefixed("_orig_mod."),
    "lightning": both(prefixed("model."), beside("state_dict")),
    "parallel twice": prefixed("module.module."),
    "compiled in parallel": prefixed("module._orig_mod."),
    "parallel in compiled": prefixed("_orig_mod.module.model."),
    "net in model": both(prefixed("model.net."), beside("net"), beside("model")),
    "a compiled part": inner("_orig_mod"),
    "sharded": inner("_fsdp_wrapped_module"),
    "averaged": lambda state: (
        prefixed("module.")(state) | {"n_averaged": next(iter(state.values())).sum()}
    ),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_a_checkpoint_is_read_however_it_is_wrapped(tmp_path, case):
    torch = pytest.importorskip("torch")
    net = torch_network(TINY, TINY_SIZES, False)
    wanted = net.state_dict()
    path = tmp_path / "weights.ckpt"
    torch.save(WRAPPED[case](wanted), path)
    found = files.read(path)
    assert set(found) == set(wanted)
    assert all(bool((found[name] == wanted[name]).all()) for name in wanted)


def test_prefixes_are_left_out_of_safetensors_too(tmp_path):
    _, state = tiny_state()
    path = tmp_path / "weights.safetensors"
    files.write(path, prefixed("module._orig_mod.")(state))
    assert set(files.read(path)) == set(state)


def test_one_array_keeps_its_own_name(tmp_path):
    path = tmp_path / "weights.safetensors"
    for name in ("stem.0.weight", "weight", "module"):
        files.write(path, {name: np.ones(2, np.float32)})
        assert list(files.read(path)) == [name]


def arrays():
    return {"stem.0.weight": pytest.importorskip("torch").zeros(2)}


UNCLEAR = {
    "two sets": (
        lambda: {"generator": arrays(), "critic": arrays()},
        "several sets of named arrays: generator, critic; save the one",
    ),
    "two usual sets": (
        lambda: {"model": arrays(), "net": arrays()},
        "several sets of named arrays: model, net; save",
    ),
    "one name twice": (
        lambda: (
            {"a.weight": arrays()["stem.0.weight"]}
            | {"a._orig_mod.weight": arrays()["stem.0.weight"]}
        ),
        "holds 'a.weight' twice, once as 'a._orig_mod.weight'",
    ),
    "no arrays": (
        lambda: {"epoch": 3, "args": {"lr": 0.1}, "note": "x"},
        r"holds no named arrays, but a dict of epoch \(int\), args \(dict\), note",
    ),
    "nothing": (dict, "holds no named arrays, but a dict"),
    "a list": (lambda: [arrays()], "holds no named arrays, but a list"),
    "an optimizer": (lambda: OPTIMIZER, r"but a dict of state \(dict\), param_groups"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_a_checkpoint_holds_instead_is_said(tmp_path, case):
    torch = pytest.importorskip("torch")
    make, message = UNCLEAR[case]
    path = tmp_path / "weights.pt"
    torch.save(make(), path)
    with pytest.raises(InputError, match=message) as error:
        files.read(path)
    assert "\n" not in str(error.value)


def saved(value, **options):
    def write(path):
        pytest.importorskip("torch").save(value(), path, **options)

    return write


def cut(write, share):
    def shorter(path):
        write(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return shorter


def zipped(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")

    return write


def with_namespace():
    return {"state_dict": arrays(), "args": argparse.Namespace(lr=0.1)}


def whole_network():
    return torch_network(TINY, TINY_SIZES, False)


OTHER_FORM = {"_use_new_zipfile_serialization": False}
SAVE_ALONE = r"save the arrays alone: torch\.save\(model\.state_dict\(\), FILE\)$"
UNSAFE = {
    "namespace": (saved(with_namespace), rf"an argparse\.Namespace .* {SAVE_ALONE}"),
    "the same, older": (
        saved(with_namespace, **OTHER_FORM),
        rf"an argparse\.Namespace .* {SAVE_ALONE}",
    ),
    "NumPy's scalar": (
        saved(lambda: {"state_dict": arrays(), "best": np.float64(97)}),
        f"holds a NumPy scalar .* {SAVE_ALONE}",
    ),
    "NumPy's array": (
        saved(lambda: {"a": np.zeros(3)}),
        f"holds a NumPy array .* {SAVE_ALONE}",
    ),
    "a path": (
        saved(lambda: {"a": arrays(), "p": pathlib.PurePosixPath("x")}),
        rf"a pathlib\.PurePosixPath .* {SAVE_ALONE}",
    ),
    "a network": (saved(whole_network), f"holds .* {SAVE_ALONE}"),
    "another protocol": (saved(with_namespace, pickle_protocol=4), SAVE_ALONE),
    "a page": (lambda p: p.write_text("<!DOCTYPE html><html>"), "a web page"),
    "a page after blanks": (lambda p: p.write_text("\n <HTML>log in"), "a web page"),
    "a pointer": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid"),
        "a pointer of Git LFS; fetch",
    ),
    "nothing": (lambda p: p.write_bytes(b""), "it is empty"),
    "half": (cut(saved(arrays), 0.5), "damaged or not whole"),
    "nearly all": (cut(saved(arrays), 0.95), "damaged or not whole"),
    "half, older": (cut(saved(arrays, **OTHER_FORM), 0.5), "damaged or not whole"),
    "arrays of NumPy": (zipped("a.npy", "b.npy"), "an .npz of NumPy"),
    "another archive": (zipped("readme.txt"), "another zip archive"),
    "a script": (zipped("net/constants.pkl", "net/data.pkl"), "TorchScript"),
    "compressed": (lambda p: p.write_bytes(gzip.compress(b"x" * 99)), "gzip"),
    "a text": (lambda p: p.write_text("no weights"), "is no file of PyTorch$"),
    "a folder": (lambda p: p.mkdir(), "it is a folder"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_why_a_file_is_not_read_is_said_in_our_words(tmp_path, case):
    pytest.importorskip("torch")
    write, message = UNSAFE[case]
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(
        InputError, match=rf"weights\.pt is not read: .*{message}"
    ) as no:
        files.read(path)
    told = str(no.value)
    assert told.isprintable()  # no line break, no escape code
    assert not re.search("weights_only|allowlist|safe_globals|trust|two options", told)
    assert len(told) < 300 + len(str(path))


def test_the_content_decides_whose_form_a_file_has(tmp_path):
    torch = pytest.importorskip("torch")
    _, state = tiny_state()
    theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.pt"
    files.write(tmp_path / "a.safetensors", state)
    (tmp_path / "a.safetensors").rename(ours)
    torch.save({k: torch.from_numpy(v) for k, v in state.items()}, tmp_path / "b.pt")
    (tmp_path / "b.pt").rename(theirs)
    for path in (ours, theirs):
        found = files.read(path)
        assert all((np.asarray(found[name]) == state[name]).all() for name in state)


class Payload:
    def __reduce__(self):
        return (print, ("run",))


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"stem.0.weight": Payload()}))
    with pytest.raises(InputError, match=r"weights\.pt is not read") as error:
        files.read(path)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.npz", b"", "is not a file of weights: .safetensors, .pt"),
        ("weights", b"", "is not a file of weights"),
        ("absent.safetensors", None, "is not there"),
        ("absent.pt", None, "is not there"),
        ("empty.safetensors", b"", "is not read"),
        ("broken.safetensors", b"\xff" * 64, "is not read"),
        ("page.safetensors", b"<html>", "is not read: it is a web page"),
        ("broken.pt", b"no weights", "is not read"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, content, message):
    if name.endswith(".pt"):
        pytest.importorskip("torch")
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        files.read(path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pytorch_file_without_named_arrays_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    for found in ([torch.zeros(2)], {3: torch.zeros(2)}):
        torch.save(found, path)
        with pytest.raises(InputError, match="holds no named arrays, but a"):
            files.read(path)


def test_without_pytorch_its_files_say_so(tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"anything")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(InputError, match="PyTorch, which is not installed"):
        files.read(path)


def test_nothing_half_written_is_left(tmp_path):
    arrays = {"a": np.zeros(3, np.float32)}
    with pytest.raises(InputError, match="a file of weights to write"):
        files.write(tmp_path / "weights.npz", arrays)
    with pytest.raises(InputError, match="cannot be written"):
        files.write(tmp_path / "absent" / "weights.safetensors", arrays)
    path = tmp_path / "weights.safetensors"
    files.write(path, arrays)
    before = path.read_bytes()
    path.chmod(0o400)
    files.write(path, arrays)  # replaced as a whole
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


# --- exported networks ----------------------------------------------------------


def test_an_exported_network_gives_the_same_logits(tmp_path):
    variables, _ = tiny_state()
    path = tmp_path / "network.jax"
    exported.save(path, variables, TINY, **TINY_SIZES, image_shape=(8, 8, 3))
    assert [p.name for p in tmp_path.iterdir()] == ["network.jax"]
    run = exported.load(path)
    rng = np.random.default_rng(0)
    for batch in (1, 5):
        images = jnp.asarray(rng.normal(size=(batch, 8, 8, 3)), jnp.float32)
        expected = network.apply(variables, images, TINY, **TINY_SIZES)
        np.testing.assert_allclose(run(images), expected, rtol=1e-5, atol=1e-6)


def test_a_darts_network_is_exported_for_other_platforms(tmp_path):
    sizes = {**CIFAR, "num_cells": 1}
    genotype = Genotype(
        normal=(("skip_connect", 0), ("max_pool_3x3", 1)),
        normal_concat=(2,),
        reduce=(("sep_conv_3x3", 0), ("avg_pool_3x3", 1)),
        reduce_concat=(2,),
    )
    variables = network.init(jax.random.key(0), genotype, **sizes)
    path = tmp_path / "network.jax"
    exported.save(path, variables, genotype, **sizes, platforms=["cpu", "cuda", "tpu"])
    images = jnp.ones((2, 32, 32, 3))
    expected = network.apply(variables, images, genotype, **sizes)
    np.testing.assert_allclose(
        exported.load(path)(images), expected, rtol=1e-5, atol=1e-6
    )


def test_what_is_no_exported_network_is_refused(tmp_path):
    variables, _ = tiny_state()
    path = tmp_path / "network.jax"
    with pytest.raises(InputError, match="is not read"):
        exported.load(path)
    path.write_bytes(b"no network")
    with pytest.raises(InputError, match="is not an exported network") as error:
        exported.load(path)
    assert "\n" not in str(error.value)
    small = {**TINY_SIZES, "image_shape": (8, 8, 3)}
    with pytest.raises(InputError, match="'abacus' is not one of cpu, cuda"):
        exported.save(path, variables, TINY, **small, platforms=["abacus"])
    with pytest.raises(InputError, match="cannot be written"):
        exported.save(tmp_path / "absent" / "x", variables, TINY, **small)
    with pytest.raises(InputError, match="which this network"):
        exported.save(path, variables, NB201, **small)
    assert path.read_bytes() == b"no network"
