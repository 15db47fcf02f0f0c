"""Bad input to every launcher: one line, exit code 2, nothing written.

A table: what is typed, and what stderr must name of what was given and what is allowed.
"""

import hashlib
import json
import pathlib
import pickle
import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from experiments.configs import catalogue
from tests.launching import STARTED, Ended, Launcher, launch
from tests.mistakes_others import OTHERS
from tests.mistakes_search import CONFIGS, SEARCH

#: The quickest search that has every part.
QUICK_FILE = f"{CONFIGS}/stc_nas_nasbench201_digits.py"
QUICK = f"--config={QUICK_FILE}:smoke"


class Evil:
    """Unpickled, it would leave a file."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def __reduce__(self):
        return pathlib.Path.mkdir, (self._folder / "pwned",)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Files that a mistake may name."""
    place = tmp_path_factory.mktemp("place")
    for name in ("empty", "other", "cut"):
        (place / name).mkdir()
    other = catalogue.load(f"{QUICK_FILE}:smoke").to_dict() | {"seed": 7}
    (place / "other" / "config.json").write_text(json.dumps(other))
    (place / "cut" / "config.json").write_text("{")
    texts = {
        "file": "text",
        "text.npz": "no arrays",
        "text.safetensors": "no arrays",
        "broken.py": "def get_config(:\n",
        "empty.py": "",
        "raises.py": "def get_config(variant=None):\n    raise ValueError('bad')\n",
        "table.csv": "a,b\n1,2\n",
    }
    for name, text in texts.items():
        (place / name).write_text(text)
    (place / "bytes").write_bytes(bytes(range(256)))
    (place / "evil.pt").write_bytes(pickle.dumps({"a": Evil(place)}))
    make_arrays(place)
    make_images(place)
    make_genotypes(place)
    return place


def make_arrays(place: pathlib.Path) -> None:
    labels = np.arange(40) % 10
    images = np.zeros((40, 8, 8), np.uint8)
    sets = {
        "three": (np.zeros((40, 3, 3), np.uint8), labels),
        "six": (np.zeros((40, 6, 6), np.uint8), labels),
        "float": (images.astype(np.float32), labels),
        "eight": (images, labels),
        "gap": (images, np.where(labels == 3, 4, labels)),
        "negative": (images, labels - 1),
        "float_labels": (images, labels + 0.5),
        "fewer": (images, labels[:-1]),
        "axes": (images[..., None, None], labels),
    }
    for name, (pixels, classes) in sets.items():
        np.savez(place / f"{name}.npz", images=pixels, labels=classes)
    varied = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    arrays = {"images": varied, "labels": labels}
    np.savez(place / "same.npz", **arrays | {"images": varied[np.zeros(40, int)]})
    np.savez(place / "no_blue.npz", **arrays | {"images": varied * np.uint8([1, 1, 0])})
    black = {"valid_images": 0 * varied, "valid_labels": labels}
    np.savez(place / "valid.npz", **arrays, **black)
    tests = {"test_images": varied, "test_labels": labels}
    np.savez(place / "tested.npz", **arrays, **tests)
    evil = np.array([Evil(place)], object)
    np.savez(place / "pickled.npz", allow_pickle=True, images=evil, labels=labels)
    (place / "cut.npz").write_bytes((place / "eight.npz").read_bytes()[:200])


def make_images(place: pathlib.Path) -> None:
    sets = {
        "broken_image": (8, 8),
        "text_image": (8, 8),
        "two_sizes": (8, 9),
        "no_images": (8, 0),
        "one_class": (8,),
    }
    for name, sizes in sets.items():
        for label, size in zip("ab", sizes, strict=False):
            folder = place / name / label
            folder.mkdir(parents=True)
            for i in range(2 if size else 0):
                image = Image.fromarray(np.full((size, size), i, np.uint8))
                image.save(folder / f"{i}.png")
    broken = place / "broken_image" / "b" / "1.png"
    broken.write_bytes(broken.read_bytes()[:40])
    (place / "text_image" / "a" / "0.png").write_text("no image")


def make_genotypes(place: pathlib.Path) -> None:
    cell = [["skip_connect", 0], ["skip_connect", 1]] * 4
    states = [2, 3, 4, 5]
    whole = {
        "space": "darts",
        "normal": cell,
        "normal_concat": states,
        "reduce": cell,
        "reduce_concat": states,
    }
    unknown, later = [["sep_conv_9x9", 0], *cell[1:]], [cell[0], ["skip_connect", 5]]
    files = {
        "darts": whole,
        "operation": whole | {"normal": unknown},
        "later": whole | {"normal": [*later, *cell[2:]]},
        "concat": whole | {"normal_concat": [2, 3, 4, 9]},
        "field": {"normall": []},
        "list": [1, 2],
    }
    for name, content in files.items():
        (place / f"{name}.json").write_text(json.dumps(content))
    (place / "half.json").write_text(json.dumps(whole)[:50])
    (place / "deep.json").write_text("[" * 100_000)
    fields = "normal_concat=[2], reduce=[], reduce_concat=[2]"
    code = f"__import__('os').mkdir({str(place / 'pwned')!r})"
    (place / "code.txt").write_text(f"Genotype(normal={code}, {fields})")


def files(folder: pathlib.Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file and folder below a folder."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.stat().st_mtime_ns if path.is_file() else 0,
        )
        for path in folder.rglob("*")
    }


def assert_refused(ended: Ended, named: list[str]) -> None:
    assert ended.code == 2, ended
    # What does not fit into memory is refused after the data are read, which is told.
    assert re.fullmatch(STARTED, ended.out), ended.out
    assert re.fullmatch(r"error: [^\n]*\n", ended.err), ended.err
    assert "Traceback" not in ended.err
    for part in named:
        assert part in ended.err


def test_the_table_is_long():
    assert len(SEARCH) + len(OTHERS) >= 150


@pytest.mark.parametrize("mistake", SEARCH)
def test_a_mistake_is_one_line_and_2_and_nothing_written(
    tmp_path, launcher: Launcher, place: pathlib.Path, mistake: str
):
    typed, named = SEARCH[mistake]
    flags = [
        f"--workdir={tmp_path}/run",
        *typed.format(place=place, configs=CONFIGS).split(),
    ]
    if not typed.startswith("--config="):
        flags.insert(0, QUICK)
    before = files(place)
    ended = launcher(*flags)
    assert_refused(ended, [part.format(place=place) for part in named])
    assert list(tmp_path.iterdir()) == []
    assert files(place) == before


@pytest.mark.parametrize("mistake", OTHERS)
def test_a_mistake_of_another_launcher_is_one_line_and_2(
    launcher: Launcher, place: pathlib.Path, mistake: str
):
    typed, named = OTHERS[mistake]
    name, *flags = typed.format(place=place).split()
    before = files(place)
    ended = launcher(*flags, module=f"experiments.{name}")
    assert_refused(ended, [part.format(place=place) for part in named])
    assert files(place) == before


def test_without_a_configuration_there_is_the_default(tmp_path, launcher: Launcher):
    ended = launcher("--config.method.activation=x", f"--workdir={tmp_path}/run")
    assert_refused(ended, ["'x'", "relu"])  # a field that STC-NAS alone has


def test_a_mistake_in_a_run_of_its_own_is_one_line_and_2(tmp_path):
    """Once without the tests' launcher."""
    folder = tmp_path / "run"
    flags = ("--config.search.batch_size=0", f"--workdir={folder}")
    assert_refused(launch(*flags), ["search.batch_size is 0"])
    assert not folder.exists()


def test_a_finished_run_is_refused_to_another_configuration(
    tmp_path, launcher: Launcher
):
    (tmp_path / "config.json").write_text('{"seed": 0}')
    (tmp_path / "genotype.json").write_text("{}")
    before = files(tmp_path)
    ended = launcher(QUICK, f"--workdir={tmp_path}")
    assert_refused(ended, [f"workdir {tmp_path} holds another run"])
    assert files(tmp_path) == before
