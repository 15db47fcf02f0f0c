"""A folder holds one run: what decides it is known, and another is refused."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import (
    data,
    methods,
    optimizers,
    retrain,
    schedules,
    search,
    spaces,
    supernet,
)
from nasjax import search as searches
from nasjax.base import InputError
from nasjax.bilevel import Optimizers
from nasjax.data.shared import to_device_seeds
from nasjax.genotype import Genotype
from nasjax.runtime import fingerprints
from nasjax.runtime.identity import Identity
from nasjax.runtime.parallel import Devices
from nasjax.runtime.workdir import Workdir
from tests import retraining, searching

DIGITS = data.load("digits", max_examples=searching.EXAMPLES)


def method(weight=1.0, **fields):
    """STC-NAS, whose parts are of every kind, with a term of a user's own."""
    made = methods.stc_nas(**fields)
    return methods.add_arch_loss(made, lambda terms: weight * terms.alpha["cell"].sum())


def without_pooling(space):
    return space.without("none", "avg_pool_3x3")


def on_device(dataset=DIGITS, *, seed=0, batch_size=searching.BATCH):
    return data.to_device(dataset, batch_size=batch_size, seed=seed)


def rates(*, weights=0.025, end=0.001, alpha=3e-2, **fields):
    rate = schedules.cosine(weights, end)
    return Optimizers(
        optimizers.weight_optimizer(rate, **fields), optimizers.arch_optimizer(alpha)
    )


def identity(own=None, *, seed=0, halves=None, channels=4, **fields):
    """Of a search that is never compiled."""
    own = own or method()
    net = supernet.build(
        own.adapt(spaces.nasbench201()),
        channels=channels,
        num_cells=1,
        image_shape=(8, 8, 1),
    )
    fields = {
        "optimizers": rates(),
        "epochs": 2,
        "augmentation": searching.AUGMENTATION,
    } | fields
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
        return search.plan(
            net, own, halves or on_device(), seed=seed, **fields
        ).identity


@pytest.fixture(scope="module")
def first():
    return identity()


def changed(*, labels=False):
    """One pixel, or one label, of another value."""
    images, marks = DIGITS.images.copy(), DIGITS.labels.copy()
    if labels:
        marks[-1] = (marks[-1] + 1) % 10
    else:
        images[-1, 3, 3] += 1
    return DIGITS._replace(images=images, labels=marks)


#: Another run, and what is said of it.
OTHER = {
    "a method": (
        lambda: identity(methods.gdas()),
        "method.name is 'stc_nas' there and",
    ),
    "a choice": (
        lambda: identity(method(js_gradient="all")),
        "method.arch_loss computes something else",
    ),
    "where alpha starts": (
        lambda: identity(method(alpha_start=0.2)),
        "method.init computes something else",
    ),
    "a schedule": (
        lambda: identity(method(noise_range=schedules.linear(0.3, 0.1))),
        r"method.schedules.noise_range is \[0.3, .* there and \[0.3, .*0.1\] here",
    ),
    "when alpha starts": (
        lambda: identity(method(arch_start=1)),
        "method.arch_start is 0 there and 1 here",
    ),
    "a term of a loss": (
        lambda: identity(method(2.0)),
        "method.arch_loss computes something else",
    ),
    "a constant array": (
        lambda: identity(method(jnp.array(1.0))),
        "method.arch_loss computes something else",
    ),
    "an operation": (
        lambda: identity(
            method()._replace(adapt=lambda s: s.without("none", "avg_pool_3x3"))
        ),
        "space.operations is ",
    ),
    "a learning rate": (
        lambda: identity(optimizers=rates(weights=0.1)),
        "the optimizer of weights computes something else",
    ),
    "where it ends": (
        lambda: identity(optimizers=rates(end=0.0)),
        "the optimizer of weights computes something else",
    ),
    "a momentum": (
        lambda: identity(optimizers=rates(momentum=0.8)),
        "the optimizer of weights computes something else",
    ),
    "alpha's learning rate": (
        lambda: identity(optimizers=rates(alpha=3e-3)),
        "the optimizer of alpha computes something else",
    ),
    "a size": (lambda: identity(channels=8), "network.channels is 4 there and 8 here"),
    "epochs": (lambda: identity(epochs=3), "search.epochs is 2 there and 3 here"),
    "a seed": (lambda: identity(seed=1), "seed is 0 there and 1 here"),
    "other halves": (
        lambda: identity(halves=on_device(seed=1)),
        "data.fingerprint is ",
    ),
    "a pixel": (
        lambda: identity(halves=on_device(changed())),
        "data.fingerprint is ",
    ),
    "a label": (
        lambda: identity(halves=on_device(changed(labels=True))),
        "data.fingerprint is ",
    ),
    "a batch": (
        lambda: identity(halves=on_device(batch_size=13)),
        "search.batch_size is 16 there and 13 here",
    ),
    "no augmentation": (
        lambda: identity(augmentation=None),
        r"augmentation.\w+ is .* there and None here",
    ),
}


@pytest.mark.parametrize("case", OTHER)
def test_another_run_is_refused_by_what_differs(tmp_path, first, case: str):
    make, expected = OTHER[case]
    folder = Workdir(tmp_path)
    folder.open()
    folder.claim(first)
    with pytest.raises(InputError, match=expected) as caught:
        folder.claim(make())
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    folder.claim(identity())  # the same, made again
    folder.close()


def test_what_is_inside_an_operation_is_seen():
    """DropBlock's size stands in no name and no schedule."""
    found = [
        identity(methods.msg_das(block_size=size), epochs=2).programs for size in (3, 5)
    ]
    different = {name for name in found[0] if found[0][name] != found[1][name]}
    assert different == {"operation skip_connect"}


def test_two_processes_find_the_same_programs(first):
    """Neither addresses nor the order of sets are in it."""
    script = (
        "from tests.test_identity import identity\n"
        "import json; print(json.dumps(dict(identity().programs)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == first.programs


def test_seeds_that_share_images_have_the_data_of_one():
    """Or a launch of one seed could not go on with what a launch of many left."""
    shared = to_device_seeds(DIGITS, batch_size=searching.BATCH, seeds=[0, 1])
    for seed, halves in enumerate(shared):
        of_many = searches.identity.with_data(
            Identity({"search": {}}, {}), halves, seed
        )
        of_one = searches.identity.with_data(
            Identity({"search": {}}, {}), on_device(seed=seed), seed
        )
        assert of_many == of_one


def test_a_script_goes_on_or_is_refused(tmp_path):
    """The whole way, without a word of configuration."""
    task = searching.task("linear")

    def run(searched) -> Genotype:
        folder = Workdir(tmp_path)
        folder.open()
        try:
            return searches.run(searched, folder, progress=searching.Silence())
        finally:
            folder.close()

    found = run(task)
    rows = (tmp_path / "metrics.jsonl").read_text()
    assert run(task) == found
    assert (tmp_path / "metrics.jsonl").read_text() == rows
    other = searching.prepare(
        searching.linear_net(), methods.darts(), learning_rate=0.1
    )
    with pytest.raises(InputError, match="the optimizer of weights computes somethi"):
        run(other)
    assert (tmp_path / "metrics.jsonl").read_text() == rows


def test_a_launch_goes_on_when_its_code_has_changed(tmp_path, first):
    folder = Workdir(tmp_path)
    folder.open({"seed": 0}, complete=True)
    folder.claim(first)
    folder.claim(first._replace(programs={"method.relax": "another"}))
    with pytest.raises(InputError, match="seed is 0 there and 1 here"):
        folder.claim(identity(seed=1))
    folder.close()


def test_programs_of_other_versions_are_not_compared(tmp_path, first):
    folder = Workdir(tmp_path)
    folder.open()
    folder.claim(first)
    path = tmp_path / "run.json"
    stored = json.loads(path.read_text())
    stored["versions"]["jax"] = "0.0.1"
    path.write_text(json.dumps(stored))
    folder.claim(first._replace(programs={}))
    with pytest.raises(InputError, match="seed is 0 there and 1 here"):
        folder.claim(identity(seed=1))
    folder.close()


def test_a_folder_that_does_not_say_what_it_is_of(tmp_path, first):
    """As versions before have left it: a launch goes on, a script has to ask."""
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    folder = Workdir(tmp_path)
    folder.open()
    with pytest.raises(InputError, match=r"does not say what it is of: .* run.json"):
        folder.claim(first)
    folder.close()
    folder.open({"seed": 0}, complete=True)
    folder.claim(first)
    assert json.loads((tmp_path / "run.json").read_text())["run"]["seed"] == 0
    folder.close()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"run": 1}'])
def test_a_damaged_record_is_refused_in_a_line(tmp_path, first, text: str):
    folder = Workdir(tmp_path)
    folder.open()
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json cannot be read") as caught:
        folder.claim(first)
    assert "\n" not in str(caught.value)
    folder.close()


def resident(dataset):
    return retrain.resident(
        dataset,
        data.load("digits", split="test", max_examples=50),
        devices=Devices(1, retraining.BATCH),
    )


def test_a_training_is_known_by_all_that_decides_it():
    """Each change by itself, and none by the name of where its cells come from."""
    base = retraining.training().identity.says
    assert base["train"]["learning_rate"] == retraining.RECIPE.learning_rate
    assert base["genotype"]["arch_str"] == retraining.GENOTYPE.arch_str
    assert base["data"]["train"] == 60
    feeds = [
        retraining.feed().identity,
        retraining.feed(valid_fraction=0.5).identity,
        resident(DIGITS).identity,
        resident(changed()).identity,
    ]
    assert feeds[0] == base["data"]
    assert len({json.dumps(one) for one in feeds}) == 4


def test_arrays_differ_by_shape_and_dtype():
    ones = [np.ones((2, 3), np.uint8), np.ones((3, 2), np.uint8), np.ones(6, np.int8)]
    assert len({fingerprints.of_arrays([one]) for one in ones}) == 3


def test_of_many_images_some_are_read(monkeypatch):
    monkeypatch.setattr(fingerprints, "_WHOLE", 640)
    images = np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8, 1)
    assert fingerprints.some_rows(images).shape == (10, 8, 8, 1)
