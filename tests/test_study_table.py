"""The table of a study: its statistics against NumPy and SciPy, nothing left out."""

import csv
import io
import json
import math

import numpy as np
import pytest
from scipy import stats

from nasjax.analysis import difference, summarise
from nasjax.report import comparison
from nasjax.report.forms import short, to_csv, to_json, to_markdown, to_text
from nasjax.report.study import Outcome, outcome, split_epoch, tabulate

VALUES = [93.1, 94.2, 92.7, 93.9]
BASELINE = [91.0, 92.0, 90.5]


def test_summary_is_that_of_numpy_and_scipy():
    summary = summarise(VALUES)
    assert summary.size == 4
    assert summary.mean == pytest.approx(np.mean(VALUES))
    assert summary.sd == pytest.approx(np.std(VALUES, ddof=1))
    assert (summary.low, summary.high) == (min(VALUES), max(VALUES))
    oracle = stats.bootstrap(
        (VALUES,), np.mean, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    # Another stream of resamples: equal up to the noise of 9,999 of them.
    np.testing.assert_allclose(summary.interval, oracle, atol=0.05)
    assert summary.low <= summary.interval[0] < summary.mean < summary.interval[1]


def test_one_value_has_no_spread():
    summary = summarise([5.0])
    assert (summary.mean, summary.low, summary.high) == (5.0, 5.0, 5.0)
    assert math.isnan(summary.sd)
    assert summary.interval is None


def test_equal_values_have_an_interval_of_no_width():
    assert summarise([2.0, 2.0, 2.0]).interval == (2.0, 2.0)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [[1.0], [2.0]]])
def test_summary_refuses(values):
    with pytest.raises(ValueError, match="value"):
        summarise(values)


def test_difference_resamples_both():
    found, (low, high) = difference(VALUES, BASELINE)
    assert found == pytest.approx(np.mean(VALUES) - np.mean(BASELINE))
    # The plug-in standard error of a difference of independent means.
    error = math.hypot(
        np.std(VALUES) / math.sqrt(len(VALUES)),
        np.std(BASELINE) / math.sqrt(len(BASELINE)),
    )
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert difference(VALUES, [91.0])[1] is None


@pytest.fixture
def outcomes():
    def run(cell, seed, value, failure=""):
        values = {} if failure else {"lookup/cifar10": value, "seconds": 10.0 * seed}
        return Outcome(cell, cell.upper(), seed, f"runs/{cell}", values, failure)

    return [
        run("a", 0, 90.0),
        run("b", 0, 80.0),
        run("a", 1, 94.0),
        run("b", 1, 0.0, "exit code 1: the loss is not a number"),
        run("a", 2, 92.0),
        run("b", 2, 82.0),
    ]


METRICS = {"lookup/cifar10": "max", "seconds": ""}


@pytest.fixture
def table(outcomes):
    return tabulate(outcomes, title="T <1>", metrics=METRICS, baseline="b")


def test_table_has_every_seed_and_every_failure(table):
    a, b = table.lines
    entry = a.entries["lookup/cifar10"]
    assert entry.by_seed == {0: 90.0, 1: 94.0, 2: 92.0}
    assert entry.best == 94.0
    assert entry.versus[0] == pytest.approx(92.0 - 81.0)
    assert b.entries["lookup/cifar10"].by_seed == {0: 80.0, 2: 82.0}
    assert b.entries["lookup/cifar10"].summary.mean == 81.0  # the failure is no zero
    assert b.entries["lookup/cifar10"].versus is None  # against itself
    assert b.failures == {1: "exit code 1: the loss is not a number"}
    assert a.entries["seconds"].best is None  # neither way is better


def test_best_of_a_metric_that_should_be_small():
    runs = [Outcome("a", "A", s, "", {"regret/x": v}) for s, v in enumerate([3.0, 1.0])]
    table = tabulate(runs, title="", metrics={"regret/x": "min"})
    assert table.lines[0].entries["regret/x"].best == 1.0


def test_text_says_what_best_is(table):
    text = to_text(table)
    assert "94.00 (best of 3)" in text
    assert "92.00 ± 2.00" in text
    assert "2/3" in text
    first = text.split("\n\n")[1].splitlines()  # the table in short
    assert first[0] == "mean ± sd"
    assert first[1].split() == ["runs", "lookup/cifar10", "seconds"]
    assert first[3].split() == ["B", "2/3", "81.00", "±", "1.41", "10.00", "±", "14.14"]
    assert "without a result (1):\n  B, seed 1: exit code 1: the loss" in text


def test_markdown_has_as_many_cells_in_every_row(table):
    text = to_markdown(table)
    for block in text.split("\n\n")[:3]:
        assert len({line.count(" | ") for line in block.splitlines()}) == 1, block
    assert "| A | 3/3 | 92.00 ± 2.00 |" in text
    assert "0: 90.00  1: 94.00  2: 92.00" in text
    assert "* B, seed 1: exit code 1" in text


def test_a_metric_nobody_has_is_told_as_absent(outcomes):
    table = tabulate(outcomes, title="", metrics={"analysis/eigenvalue": "min"})
    assert table.lines[0].entries["analysis/eigenvalue"].summary is None
    assert "0/3" in to_text(table)
    assert "no value" in comparison.render(table, outcomes)


def test_csv_reads_back(outcomes):
    rows = list(csv.DictReader(io.StringIO(to_csv(outcomes, tuple(METRICS)))))
    assert len(rows) == len(outcomes)
    assert float(rows[2]["lookup/cifar10"]) == 94.0
    assert rows[3]["lookup/cifar10"] == ""
    assert rows[3]["failure"].startswith("exit code 1")


def test_json_is_strict_and_complete(table, outcomes):
    data = json.loads(to_json(table, outcomes), parse_constant=pytest.fail)
    assert len(data["runs"]) == 6
    entry = data["table"][0]["entries"]["lookup/cifar10"]
    assert entry["by_seed"] == {"0": 90.0, "1": 94.0, "2": 92.0}
    assert entry["summary"]["sd"] == 2.0


def test_page_tells_every_run_and_escapes(table, outcomes):
    html = comparison.render(table, outcomes)
    assert "Study: T &lt;1&gt;" in html
    assert "the loss is not a number" in html
    assert html.count('fill-opacity="0.6"') == 5 + 5  # a dot a run and metric
    assert "5 of 6 runs have a result" in html


@pytest.mark.parametrize(
    ("folder_holds", "reason"),
    [(False, "not run yet"), (True, "not finished")],
)
def test_runs_without_a_genotype(tmp_path, folder_holds, reason):
    if folder_holds:
        (tmp_path / "config.json").write_text('{"seed": 0}')
    found = outcome(tmp_path, cell="a", label="A", seed=0, metrics=("seconds",))
    assert (found.values, found.failure) == ({}, reason)


@pytest.mark.parametrize("value", [93.4137, 0.0123, 1234.5, 2.0, -0.5, 4e-7, 0.0])
def test_short_keeps_four_digits(value):
    assert float(short(value).replace(",", "")) == pytest.approx(value, rel=1e-3)


def test_ranks_are_compared_over_all_runs_that_have_both():
    values = [(90.0, 3.0), (91.0, 2.0), (92.0, 1.0), (93.0, 0.0), (94.0, None)]
    runs = [
        Outcome("a", "A", seed, "", {"first": one} | ({"loss": two} if two else {}))
        for seed, (one, two) in enumerate(values)
    ]
    metrics = {"first": "max", "loss": "min", "absent": ""}
    assert tabulate(runs, title="", metrics=metrics).ranks == {}  # three are too few
    runs[3] = runs[3]._replace(values={"first": 93.0, "loss": 0.5})
    table = tabulate(runs, title="", metrics=metrics)
    found = table.ranks[""]
    assert set(found) == {"loss"}
    assert (found["loss"].tau, found["loss"].runs) == (pytest.approx(-1.0), 4)
    page = comparison.render(table, runs)
    assert "against first" in page
    assert "-1.00" in page


def test_ranks_of_each_cell_stand_beside_those_of_all():
    """One cell ranks its seeds well and one does not; together they say neither."""
    rng = np.random.default_rng(0)
    good = [(float(n), float(n) + 10) for n in range(8)]
    bad = list(zip(range(8), rng.permutation(8).astype(float).tolist(), strict=True))
    few = [(1.0, 2.0), (2.0, 1.0)]
    runs = [
        Outcome(cell, cell.title(), seed, "", {"truth": float(t), "guess": g})
        for cell, pairs in {"deep": good, "shallow": bad, "few": few}.items()
        for seed, (t, g) in enumerate(pairs)
    ]
    table = tabulate(runs, title="", metrics={"truth": "max", "guess": "max"})
    taus = {cell: own["guess"].tau for cell, own in table.ranks.items()}
    assert set(taus) == {"", "deep", "shallow"}  # two seeds rank nothing
    expected = {
        cell: stats.kendalltau(*zip(*pairs, strict=True)).statistic
        for cell, pairs in {"": good + bad + few, "deep": good, "shallow": bad}.items()
    }
    assert taus == pytest.approx(expected)
    assert taus["deep"] > 0.99 > 0.9 > taus["shallow"]
    for form in (to_text(table), to_markdown(table), comparison.render(table, runs)):
        assert (
            f"+1.00 (p {stats.kendalltau(*zip(*good, strict=True)).pvalue:.2g}" in form
        )
        assert f"{taus['shallow']:+.2f} (p" in form
        assert "tau" in form
    data = json.loads(to_json(table, runs), parse_constant=pytest.fail)
    assert data["ranks"]["shallow"]["guess"]["tau"] == pytest.approx(taus["shallow"])
    lines = to_text(table).split("Kendall's tau\n")[1].splitlines()
    assert lines[0].split("  ")[0] == "against truth"
    assert lines[0].split()[2:] == ["all", "runs", "Deep", "Shallow"]


def test_a_metric_of_an_epoch_has_a_table_of_epochs():
    metrics = {"seconds": "", "skips/cell@50": "", "skips/cell@5": ""}
    runs = [
        Outcome(
            cell,
            cell.title(),
            seed,
            "",
            {"seconds": 1.0, "skips/cell@5": 1.0 + seed} | late,
        )
        for cell, late in {"one": {"skips/cell@50": 6.0}, "two": {}}.items()
        for seed in (0, 1)
    ]
    table = tabulate(runs, title="", metrics=metrics)
    text = to_text(table)
    assert text.split("\n\n")[1].splitlines()[1].split() == ["runs", "seconds"]
    block = text.split("skips/cell, mean ± sd\n")[1].splitlines()
    assert block[0].split() == ["epoch", "5", "50"]  # epochs rise
    assert block[1].split() == ["One", "1.50", "±", "0.707", "6.00", "±", "0.00"]
    assert block[2].split() == ["Two", "1.50", "±", "0.707", "–"]
    assert "| skips/cell, epoch | 5 | 50 |" in to_markdown(table)
    page = comparison.render(table, runs)
    assert "skips/cell by epoch" in page
    assert "skips/cell@5" in to_csv(runs, tuple(metrics)).splitlines()[0]
    assert split_epoch("skips/cell@50") == ("skips/cell", 50)
    with pytest.raises(ValueError, match=r"'skips/cell@last' is not of the form"):
        split_epoch("skips/cell@last")
