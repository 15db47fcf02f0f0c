"""``RUN@EPOCH``: what a search had found after any of its epochs."""

import json
import pathlib

import numpy as np
import pytest

from experiments import study
from experiments.configs import catalogue
from experiments.configs.papers import base
from experiments.launch import epochs, plan
from experiments.retrain import read_genotype
from nasjax import spaces, tabular
from nasjax.base import InputError
from nasjax.report import read_run
from nasjax.report.study import outcome
from tests.launching import ROOT

EPOCHS = 3


def search(folder: pathlib.Path, config: str, alphas) -> pathlib.Path:
    """A workdir with the configuration and the alphas of a search."""
    folder.mkdir()
    fields = catalogue.load(f"{config}:smoke").to_dict()
    fields["search"]["epochs"] = EPOCHS
    (folder / "config.json").write_text(json.dumps(fields))
    np.savez(folder / "alphas.npz", **alphas)
    return folder


def walking(num_edges: int, num_ops: int) -> np.ndarray:
    """After epoch t the operation t + 1 leads on every edge."""
    lead = np.eye(num_ops)[1 : EPOCHS + 2]
    return np.repeat(lead[:, None], num_edges, axis=1).astype(np.float32)


@pytest.fixture
def run(tmp_path) -> pathlib.Path:
    alphas = {"cell": walking(6, 5)}
    return search(tmp_path / "run", "darts_nasbench201_digits", alphas)


def test_every_epoch_has_the_genotype_of_its_alpha(run):
    names = spaces.nasbench201().primitives
    for epoch in range(EPOCHS + 1):
        genotype = epochs.genotype_at(run, epoch)
        operations = {operation for operation, _ in genotype.cells["cell"]}
        assert operations == {names[epoch + 1]}
        assert genotype.source == f"darts, digits, seed 0, epoch {epoch}"
        found, name = read_genotype(f"{run}@{epoch}")
        assert (found, name) == (genotype, f"run_epoch{epoch}")


def test_the_space_and_the_strengths_are_the_methods_own(tmp_path):
    """STC-NAS has no `none` in the DARTS space, and PC-DARTS ranks edges by beta."""
    alphas = {name: walking(14, 7) for name in ("normal", "reduce")}
    folder = search(tmp_path / "stc", "stc_nas_darts_digits", alphas)
    names = spaces.darts().without("none").primitives
    assert {op for op, _ in epochs.genotype_at(folder, 0).normal} == {names[1]}

    flat = np.zeros((EPOCHS + 1, 14, 8), np.float32)
    flat[..., 3] = 1  # one operation everywhere: beta alone decides
    edges = np.zeros((EPOCHS + 1, 14), np.float32)
    edges[2] = np.arange(14)  # later edges of each node win
    arrays = {"normal": flat, "reduce": flat}
    arrays |= {f"{name}_edges": edges for name in ("normal", "reduce")}
    folder = search(tmp_path / "pc", "pc_darts_darts_digits", arrays)
    sources = [[s for _, s in epochs.genotype_at(folder, t).normal] for t in (1, 2)]
    assert sources == [[0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 1, 2, 2, 3, 3, 4]]


def test_a_name_without_an_epoch_is_left_to_others(tmp_path):
    assert epochs.named("DARTS_V2") is None
    assert epochs.named("|none~0|") is None
    odd = tmp_path / "a@25"
    odd.mkdir()
    assert epochs.named(str(odd)) is None
    assert epochs.named(f"{odd}@7") == (odd, 7)


@pytest.mark.parametrize(
    ("change", "text", "message"),
    [
        (None, "run@4", r"run has epochs 0 \(the start\) to 3, not 4"),
        (None, "run@last", "'last' is no epoch; it must be RUN@EPOCH"),
        (None, "run@", "'' is no epoch"),
        (None, "ruin@1", r"ruin/config.json cannot be read \(No such file"),
        ("alphas", "run@1", "alphas.npz is not there; the search has not begun"),
        ("damage", "run@1", r"alphas.npz cannot be read \("),
        ("nan", "run@1", r"alphas.npz: alpha\['cell'\] has values that are not finite"),
        ("training", "run@1", "config.json is of no search"),
        ("cut", "run@1", "config.json is not a complete JSON object"),
        ("method", "run@1", "method.name is 'dart'; it must be one of"),
    ],
)
def test_a_mistake_is_one_line(run, monkeypatch, change, text, message):
    monkeypatch.chdir(run.parent)
    config, alphas = run / "config.json", run / "alphas.npz"
    if change == "alphas":
        alphas.unlink()
    if change == "damage":
        alphas.write_bytes(alphas.read_bytes()[:100])
    if change == "nan":
        np.savez(alphas, cell=np.full((4, 6, 5), np.nan, np.float32))
    if change == "training":
        config.write_text('{"network": {}}')
    if change == "cut":
        config.write_text(config.read_text()[:-5])
    if change == "method":
        config.write_text(
            config.read_text().replace('"name": "darts"', '"name": "dart"')
        )
    with pytest.raises(InputError, match=message) as error:
        read_genotype(text)
    assert str(error.value).startswith("flag --genotype: ")
    assert "\n" not in str(error.value)


class Table:
    """A look-up that knows how many edges skip."""

    def lookups(self, arch_str):
        skips = float(arch_str.count("skip_connect"))
        return (tabular.Lookup(skips, "cifar10", "test", 200, "mean", 1, 0.0),)


def test_figures_of_an_epoch_are_those_of_the_run_until_then(run):
    rows = [
        {
            "step": 4 * t,
            "epoch": t - 1,
            "phase": "valid",
            "values": {"accuracy": t / 10},
        }
        for t in range(1, EPOCHS + 1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    genotype = epochs.genotype_at(run, EPOCHS)
    (run / "genotype.json").write_text(genotype.to_json())
    for place, accuracy in (("retrain-epoch1", 0.25), ("retrain", 0.75)):
        (run / place).mkdir()
        result = json.dumps({"test_accuracy": accuracy})
        (run / place / "result.json").write_text(result)
    names = ("valid/accuracy", "skips/cell", "lookup/cifar10", "retrain/test_accuracy")
    metrics = [f"{name}@{epoch}" for name in names for epoch in (0, 1, 3, 4)]

    def as_of(known, folder, epoch):
        return epochs.as_of(known, folder, epoch, table=Table())

    found = outcome(run, cell="a", label="A", seed=0, metrics=metrics, as_of=as_of)
    assert found.values == {
        "valid/accuracy@1": 0.1,
        "valid/accuracy@3": pytest.approx(0.3),
        "skips/cell@0": 6.0,  # the second operation is the skip connection
        "skips/cell@1": 0.0,
        "skips/cell@3": 0.0,
        "lookup/cifar10@0": 6.0,
        "lookup/cifar10@1": 0.0,
        "lookup/cifar10@3": 0.0,
        "retrain/test_accuracy@1": 0.25,
        "retrain/test_accuracy@3": 0.75,  # that of the end
    }
    assert not outcome(run, cell="a", label="A", seed=0, metrics=metrics).values
    assert read_run(run).lookups == ()


def test_a_study_has_the_figures_of_its_epochs(run, monkeypatch):
    """Of a run that was made before, as ``--gather`` has it."""
    monkeypatch.chdir(ROOT)
    genotype = epochs.genotype_at(run, EPOCHS)
    (run / "genotype.json").write_text(genotype.to_json())
    folder = run.rename(run.parent / "one-seed0").parent
    digits = "experiments/configs/darts_nasbench201_digits.py:smoke"
    config = base.study(
        "T",
        cells={"one": base.cell("One", digits)},
        metrics={"skips/cell@0": "", "skips/cell@2": "", "skips/cell@9": ""},
        seeds=(0,),
    ).to_dict()
    table = study._write(config, folder, plan.jobs_of(config, folder), None)
    entries = table.lines[0].entries
    values = {name: dict(entry.by_seed) for name, entry in entries.items()}
    assert values == {
        "skips/cell@0": {0: 6.0},
        "skips/cell@2": {0: 0.0},
        "skips/cell@9": {},
    }
    assert "| One | 6.00 (one value) | 0.00 (one value) | – |" in (
        (folder / "study.md").read_text()
    )
    assert "skips/cell by epoch" in (folder / "study.html").read_text()
