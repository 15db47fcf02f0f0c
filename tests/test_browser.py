"""Report and study pages in headless Chromium: figures there, nothing fetched."""

import json
import re

import pytest

from nasjax.report import comparison, write_report
from nasjax.report.study import Outcome, tabulate
from tests import browser, test_report

PHONE, DESK = 390, 1280


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A run with everything that a report can tell."""
    browser.find()
    folder = tmp_path_factory.mktemp("run")
    rows = test_report._rows()
    for epoch in range(test_report.EPOCHS):
        measured = {
            "eigenvalue": 0.1 + epoch,
            "eigenvalue_residual": 1e-6,
            "entropy/normal": 2.0 - 0.2 * epoch,
            "discretization/before": 0.5,
            "discretization/after": 0.2,
        }
        step = 30 * epoch + 29
        rows.append(
            {"step": step, "epoch": epoch, "phase": "analysis", "values": measured}
        )
    test_report._write(folder, rows=rows)
    (folder / "environment.json").write_text(json.dumps({"jax": "0.0.0"}))
    return write_report(folder)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    browser.find()
    runs = [
        Outcome(cell, f"Method {cell}", seed, "runs/x", {"lookup/cifar10": value})
        for cell, values in {"a": (90.0, 91.0), "b": (88.0, 93.0)}.items()
        for seed, value in enumerate(values)
    ]
    table = tabulate(runs, title="S", metrics={"lookup/cifar10": "max"}, baseline="b")
    page = tmp_path_factory.mktemp("study") / "study.html"
    page.write_text(comparison.render(table, runs))
    return page


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_report_shows_its_figures_at_every_width(report, tmp_path, width):
    seen = browser.look(report, width=width, folder=tmp_path)
    titles = {box["title"] for box in seen["boxes"]}
    assert {
        "Normal cell",
        "Loss",
        "temperature",
        "Dominant eigenvalue of the Hessian in alpha",
        "Supernet accuracy before and after derivation",
    } <= titles, sorted(titles)
    assert sum("Alpha of" in title for title in titles) == 2  # heat maps
    assert sum("alpha of edge" in title for title in titles) == 14
    for box in seen["boxes"]:
        assert box["width"] > 50, box
        assert box["height"] > 30, box
        assert 0 <= box["left"] < width, box
        if width == PHONE:  # nothing to scroll for
            assert box["left"] + box["width"] <= width, box
    for section in ("Cells", "Budget", "Analysis", "Configuration", "Environment"):
        assert section in seen["sections"]
    assert seen["page_width"] <= seen["visible_width"]  # no sideways scrolling
    assert seen["fetched"] == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_study_shows_every_metric(study, tmp_path, width):
    seen = browser.look(study, width=width, folder=tmp_path)
    assert [box["title"] for box in seen["boxes"]] == ["lookup/cifar10"]
    assert seen["page_width"] <= seen["visible_width"]
    assert seen["fetched"] == []


def test_what_is_fetched_and_what_is_too_wide_is_seen(tmp_path):
    """The checks above can fail."""
    page = tmp_path / "page.html"
    page.write_text(
        '<div style="width:2000px">wide</div><img src="http://other.test/dot.png">'
        '<link rel="stylesheet" href="https://fonts.test/sans.css">'
    )
    seen = browser.look(page, width=PHONE, folder=tmp_path)
    asked = {"http://other.test/dot.png", "https://fonts.test/sans.css"}
    assert set(seen["fetched"]) == asked
    assert seen["page_width"] > seen["visible_width"]


def test_report_prints(report, tmp_path):
    pdf = browser.print_to_pdf(report, folder=tmp_path)
    assert pdf.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 2 <= pages <= 12
