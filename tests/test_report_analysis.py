"""What was measured of alpha, in the report: charts, figures, and the warning."""

import pytest

from nasjax.genotype import Genotype
from nasjax.report import collapse, read_run, write_report
from tests import test_report


def _measured(times):
    return [
        {
            "step": 30 * epoch + 29,
            "epoch": epoch,
            "phase": "analysis",
            "values": {
                "eigenvalue": 0.25 * 2**epoch,
                "eigenvalue_residual": 3e-4,
                "sharpness/alpha": 0.125 * (epoch + 1),
                "sharpness/weights": 0.625,
                "loss_drop/alpha": 0.0625,
                "teachers/accuracy": 0.75,
                "own/measure": 7.5,
            },
        }
        for epoch in range(times)
    ]


def _page(folder, times):
    test_report._write(folder, rows=test_report._rows() + _measured(times))
    html = write_report(folder).read_text()
    return html.partition('<section id="analysis">')[2].partition("</section>")[0]


def test_measures_over_time_are_charts(tmp_path):
    section = _page(tmp_path, 3)
    assert 'aria-label="Dominant eigenvalue of the Hessian in alpha"' in section
    assert 'aria-label="Voting teachers"' in section
    assert 'aria-label="Sharpness in a ball"' in section
    assert 'aria-label="Drop of the loss in a step"' in section
    assert "eigenvalue: last 1" in section  # 0.25 · 4
    assert "0.0003" in section  # the residual is told, not drawn
    assert "7.5" in section  # a measure of the user's own
    assert "alpha: last 0.375" in section
    assert section.count("<svg") == 4


def test_a_measure_taken_once_is_a_figure(tmp_path):
    section = _page(tmp_path, 1)
    assert "<svg" not in section
    assert "Dominant eigenvalue of the Hessian in alpha: eigenvalue" in section
    assert "0.25" in section


def test_measures_are_not_drawn_twice(tmp_path):
    test_report._write(tmp_path, rows=test_report._rows() + _measured(3))
    html = write_report(tmp_path).read_text()
    assert html.count('aria-label="Dominant eigenvalue') == 1
    assert "analysis eigenvalue" not in html


@pytest.mark.parametrize("finished", [True, False])
def test_a_collapse_is_told_first_once_the_search_is_through(tmp_path, finished):
    test_report._write(tmp_path, finished=False)
    skipping = tuple(("skip_connect", place % 2) for place in range(8))
    genotype = Genotype("darts", skipping, (2, 3, 4, 5), skipping, (2, 3, 4, 5))
    if finished:
        (tmp_path / "genotype.json").write_text(genotype.to_json())
    reasons = collapse(read_run(tmp_path))
    html = write_report(tmp_path).read_text()
    warned = "The search may have collapsed. 8 of 8 edges of the normal cell" in html
    assert (len(reasons) == 2, warned) == (finished, finished)


def test_the_eigenvalue_of_the_run_counts(tmp_path):
    rising = [
        {
            "step": 10 * epoch,
            "epoch": epoch,
            "phase": "analysis",
            "values": {"eigenvalue": 0.1 * (epoch + 1)},
        }
        for epoch in range(12)
    ]
    test_report._write(tmp_path, rows=rising)
    (reason,) = [r for r in collapse(read_run(tmp_path)) if "eigenvalue" in r]
    assert "by epoch 10" in reason
