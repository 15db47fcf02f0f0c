"""The report: everything of a run is told, nothing breaks it, nothing leaks in."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from nasjax import spaces, tabular
from nasjax.base import InputError
from nasjax.genotype import Genotype
from nasjax.report import write_report
from nasjax.report.workdir import read_run
from nasjax.spaces import derive
from nasjax.tabular import Lookup

EPOCHS = 4
CONFIG = {
    "data": {"name": "digits", "batch_size": 96},
    "supernet": {"space": "darts", "channels": 16},
    "method": {"name": "stc_nas", "noise": {"first": 0.3}},
    "search": {"epochs": 6},
    "seed": 7,
}
VOID = {"meta", "path", "rect", "circle", "polyline"}


def _alphas(space):
    rng = np.random.default_rng(0)
    shape = (EPOCHS + 1, space.num_edges, space.num_ops)
    return {
        name: rng.normal(0.3, 0.1, shape).astype(np.float32)
        for name in space.cell_types
    }


def _rows():
    budget = {"weights": 1930618, "macs": 3.024e8, "peak_bytes": 4.9e9, "odd": 12345}
    rows = [{"step": 0, "epoch": 0, "phase": "budget", "values": budget}]
    for epoch in range(EPOCHS):
        for part in range(3):
            train = {
                "weight_loss": 2.0 - 0.3 * epoch - 0.05 * part,
                "weight_accuracy": 0.2 + 0.1 * epoch,
                "schedule/temperature": 10.0 - epoch,
                "something_new": 5.5,
            }
            step = 30 * epoch + 10 * part
            rows.append(
                {"step": step, "epoch": epoch, "phase": "train", "values": train}
            )
        valid = {"accuracy": [0.3, 0.5, 0.8125, 0.75][epoch], "loss": 1.25}
        valid["skips/normal"] = epoch
        step = 30 * epoch + 29
        rows.append({"step": step, "epoch": epoch, "phase": "valid", "values": valid})
    return rows


def _write(folder, *, space=None, config=CONFIG, rows=None, finished=True):
    space = space or spaces.darts()
    alphas = _alphas(space)
    np.savez(folder / "alphas.npz", **alphas)
    (folder / "config.json").write_text(json.dumps(config))
    lines = [json.dumps(row) for row in (_rows() if rows is None else rows)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    if finished:
        genotype = derive(space, {name: a[-1] for name, a in alphas.items()})
        (folder / "genotype.json").write_text(genotype.to_json())
        return genotype
    return None


class _Page(HTMLParser):
    """Checks that tags balance; collects text, tags, attributes and drawings."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.stack, self.tags, self.values, self.words = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.stack
        self.text = " ".join(" ".join(self.words).split())
        self.svgs = [
            ET.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", html, re.DOTALL)
        ]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.words.append(data)


def _page(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    return _Page(path.read_text(encoding="utf-8"))


def test_a_finished_run_is_told_in_full(tmp_path):
    genotype = _write(tmp_path)
    (tmp_path / "environment.json").write_text('{"jax": "0.10.2", "device": "cpu"}')
    page = _page(tmp_path)
    for expected in (
        "Search: stc_nas on digits",
        "space darts · seed 7",
        f"finished after {EPOCHS} of 6 epochs",
        "The last valid accuracy of the supernet is 75.00 %, "
        "the best 81.25 % (epoch 3)",
        f"{genotype.skip_connects['normal']} of 8 edges of the normal cell",
        "1.93 M weights 1,930,618",
        "302.40 M MACs",
        "4.90 GB 4,900,000,000",
        "12,345",
        "noise.first 0.3",
        "jax 0.10.2",
        "something new",
        "temperature",
        genotype.to_json(),
    ):
        assert expected in page.text
    # Two cells, two heat maps, 28 edges, and the charts.
    titles = [svg.get("aria-label") for svg in page.svgs]
    assert titles.count("Normal cell") == titles.count("Reduce cell") == 1
    assert sum((t or "").startswith("alpha of edge") for t in titles) == 28
    assert {"Loss", "Accuracy", "something new", "temperature"} <= set(titles)


def test_findings_come_from_alpha_alone(tmp_path):
    alpha = np.zeros((3, 6, 5), np.float32)
    alpha[2, :, 1] = 0.5
    alpha[2, :2, 3] = 0.75
    alpha[2, 4, 2] = 0.375
    np.savez(tmp_path / "alphas.npz", cell=alpha)
    (tmp_path / "config.json").write_text('{"space": "nasbench201"}')
    text = _page(tmp_path).text
    assert (
        "In the cell, skip_connect has the largest alpha on 4 of 6 edges; on average "
        "the first is 0.3542 above the second (0 at the start). The closest call is "
        "edge 3←1: skip_connect over nor_conv_1x1 by 0.125."
    ) in text
    assert "The derived cells changed in 1 of 2 epochs, last in epoch 2." in text
    alpha[2, 5, 0] = 0.5
    np.savez(tmp_path / "alphas.npz", cell=alpha)
    assert "On 1 edge they are equal." in _page(tmp_path).text


def test_the_darts_text_of_the_genotype_reads_back(tmp_path):
    genotype = _write(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    written = re.search(r"<pre[^>]*>(Genotype\(.*?\))</pre>", html, re.DOTALL)
    read = eval(unescape(written[1]), {"Genotype": Genotype})
    assert tuple(read.normal) == genotype.normal
    assert tuple(read.reduce) == genotype.reduce
    assert tuple(read.normal_concat) == (2, 3, 4, 5)


def test_every_alpha_is_readable_and_what_the_cell_keeps_is_framed(tmp_path):
    space = spaces.darts()
    genotype = _write(tmp_path)
    page = _page(tmp_path)
    svg = next(s for s in page.svgs if "Alpha of normal" in (s.get("aria-label") or ""))
    texts = [
        "".join(e.itertext()) for e in svg.iter("{http://www.w3.org/2000/svg}text")
    ]
    for value in _alphas(space)["normal"][-1].ravel():
        assert f"{value:.3f}" in texts
    assert {"2←0", "5←4", *space.primitives} <= set(texts)
    frames = [e for e in svg.iter() if e.get("class") == "marked"]
    assert len(frames) == len(genotype.normal)


@pytest.mark.parametrize(
    "space",
    [spaces.nasbench201(), spaces.darts().without("none")],
    ids=["nb", "no none"],
)
def test_other_spaces(tmp_path, space):
    config = CONFIG | {"supernet": {"space": space.name}}
    genotype = _write(tmp_path, space=space, config=config)
    page = _page(tmp_path)
    assert (genotype.arch_str or "sep_conv_3x3") in page.text
    maps = [s for s in page.svgs if "Alpha of" in (s.get("aria-label") or "")]
    assert len(maps) == len(space.cell_types)
    words = ["".join(e.itertext()) for e in maps[0].iter()]
    assert set(space.primitives) <= set(words)
    frames = [e for e in maps[0].iter() if e.get("class") == "marked"]
    assert len(frames) == len(next(iter(genotype.cells.values())))
    assert "op 0" not in page.text


ARCH_STR = "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"


def _look_up(folder, arch_str, **fields):
    """What a search writes that was given the table of NAS-Bench-201."""
    row = Lookup(90.25, "cifar10", "test", 200, "NATS-tss-v1_0", 1234, 4.125)
    lookups = [row._replace(**fields), row._replace(accuracy=1.5, epochs=12, rank=9)]
    (folder / "lookup.json").write_text(tabular.to_json(arch_str, lookups))


def test_what_nas_bench_201_says(tmp_path):
    space = spaces.nasbench201()
    genotype = _write(tmp_path, space=space, config={"space": space.name})
    assert "NAS-Bench-201" not in _page(tmp_path).text
    _look_up(tmp_path, genotype.arch_str)
    page = _page(tmp_path)
    for expected in (
        "NAS-Bench-201 has 90.25 % test accuracy on cifar10 for what was found, 4.12 "
        "below the best: rank 1,234 of 15,625.",
        "accuracy best regret rank of 15,625",
        "cifar10 test 200 90.25 % 94.38 % 4.12 1,234",
        "cifar10 test 12 1.50 % 5.62 % 4.12 9",
        "Table: NATS-tss-v1_0.",
    ):
        assert expected in page.text
    assert ("a", "href", "#lookup") in page.values


def test_nothing_that_a_look_up_says_becomes_markup(tmp_path):
    bad = "</p></style><script>alert(1)</script>&\"'"
    genotype = _write(
        tmp_path, space=spaces.nasbench201(), config={"space": "nasbench201"}
    )
    _look_up(tmp_path, genotype.arch_str, dataset=bad, version=bad)
    page = _page(tmp_path)
    assert "script" not in page.tags
    assert page.text.count("<script>alert(1)</script>") == 3


def test_look_ups_that_are_damaged_or_of_another_cell_are_left_out(tmp_path):
    _write(tmp_path, space=spaces.nasbench201(), config={"space": "nasbench201"})
    for write, told in (
        (lambda: _look_up(tmp_path, ARCH_STR), "it is not of genotype.json"),
        (lambda: (tmp_path / "lookup.json").write_text("{"), "no look-ups"),
        (lambda: _look_up(tmp_path, ARCH_STR, rank="1"), "rank is '1'"),
    ):
        write()
        text = _page(tmp_path).text
        assert "lookup.json is left out: " in text
        assert told in text
        assert "below the best" not in text


def test_names_of_operations_stated_by_the_run_come_first(tmp_path):
    names = [f"mine_{i}" for i in range(8)]
    _write(tmp_path, config=CONFIG | {"method": {"primitives": names}}, finished=False)
    text = _page(tmp_path).text
    assert "mine_7" in text
    assert "sep_conv_3x3" not in text


def test_an_unknown_space_still_gets_its_maps(tmp_path):
    _write(tmp_path, config={"space": "elsewhere"}, finished=False)
    text = _page(tmp_path).text
    assert "space elsewhere" in text
    assert "edge 13" in text
    assert "op 7" in text


def test_a_running_search_shows_the_cells_so_far(tmp_path):
    _write(tmp_path, finished=False)
    page = _page(tmp_path)
    assert f"not finished: epoch {EPOCHS} of 6 is done" in page.text
    assert f"As derived from alpha after {EPOCHS} epochs" in page.text
    assert "Normal cell" in [svg.get("aria-label") for svg in page.svgs]


@pytest.mark.parametrize(
    "kept", ["config.json", "metrics.jsonl", "alphas.npz", "genotype.json"]
)
def test_any_single_file_is_enough(tmp_path, kept):
    _write(tmp_path)
    for path in list(tmp_path.iterdir()):
        if path.name != kept:
            path.unlink()
    page = _page(tmp_path)
    assert "What this run found" in page.text
    assert [path.name for path in tmp_path.glob("report*")] == ["report.html"]


def test_a_config_alone_says_that_there_is_no_data(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    text = _page(tmp_path).text
    assert "no data yet" in text
    assert "Nothing has been measured yet." in text


def test_a_cut_last_line_is_left_out_and_told(tmp_path):
    _write(tmp_path, finished=False)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-20])
    run = read_run(tmp_path)
    assert len(run.rows) == len(_rows()) - 1
    assert "The last line of metrics.jsonl is cut off" in _page(tmp_path).text


def test_damaged_lines_in_the_middle_are_counted(tmp_path):
    rows = [*map(json.dumps, _rows())]
    rows[3:3] = ["{", '"text"', '{"step": "x", "phase": "train", "values": {}}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows))
    assert len(read_run(tmp_path).rows) == len(_rows())
    assert "3 lines of metrics.jsonl are damaged" in _page(tmp_path).text


def test_steps_that_were_run_again_count_once(tmp_path):
    row = {"step": 5, "epoch": 0, "phase": "train", "values": {"weight_loss": 1.0}}
    again = row | {"values": {"weight_loss": 0.5}}
    rows = [row, row | {"step": 6}, again]
    _write(tmp_path, rows=rows)
    assert read_run(tmp_path).curves("train") == {"weight_loss": ([5, 6], [0.5, 1.0])}


def test_damaged_files_are_told_not_fatal(tmp_path):
    _write(tmp_path)
    (tmp_path / "config.json").write_text('{"data": {"na')
    (tmp_path / "genotype.json").write_text('{"normal": 3}')
    whole = (tmp_path / "alphas.npz").read_bytes()
    (tmp_path / "alphas.npz").write_bytes(whole[: len(whole) // 2])
    text = _page(tmp_path).text
    for name in (
        "config.json is not",
        "genotype.json is left out",
        "alphas.npz cannot",
    ):
        assert name in text


def test_pickled_alphas_are_not_loaded(tmp_path):
    _write(tmp_path)
    np.savez(tmp_path / "alphas.npz", normal=np.array([{"a": 1}], dtype=object))
    assert read_run(tmp_path).alphas == {}
    assert "alphas.npz cannot be read in full" in _page(tmp_path).text


def test_values_that_are_not_finite(tmp_path):
    values = {"loss": float("nan"), "accuracy": 10**400, "note": "text", "ok": True}
    row = {"step": 1, "epoch": 0, "phase": "valid", "values": values}
    _write(tmp_path, rows=[row], finished=False)
    alphas = _alphas(spaces.darts())
    alphas["normal"][-1, 0, 0] = np.nan
    alphas["reduce"][:] = np.nan
    np.savez(tmp_path / "alphas.npz", **alphas)
    assert set(read_run(tmp_path).figures("valid")) == {"loss", "accuracy"}
    text = _page(tmp_path).text
    assert "The alpha of the normal cell has values that are not finite." in text


def test_nothing_that_a_file_says_becomes_markup(tmp_path):
    bad = "</pre></style><script>alert(1)</script>&\"'"
    genotype = _write(tmp_path)
    config = {bad: {bad: bad, "name": bad}, "method": {"name": bad}, "seed": bad}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "genotype.json").write_text(
        genotype._replace(source=bad, normal=((bad, 0), (bad, 1))).to_json()
    )
    (tmp_path / "environment.json").write_text(json.dumps({bad: "\ud800"}))
    rows = [
        {
            "step": i,
            "epoch": 0,
            "phase": phase,
            "values": {bad: 1.0, f"schedule/{bad}": 2},
        }
        for i, phase in enumerate(("budget", "train", "valid", "result", bad))
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    page = _page(tmp_path)
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text


def test_the_page_refers_to_nothing_outside(tmp_path):
    _write(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    rest = html.replace('xmlns="http://www.w3.org/2000/svg"', "")
    for reference in ("http:", "https:", "url(", "@import", "<script", "<link", "<img"):
        assert reference not in rest
    page = _Page(html)
    for tag, name, value in page.values:
        assert name != "src"
        assert not name.startswith("on")
        if name == "href":
            assert (tag, value[0]) == ("a", "#")
            assert f'id="{value[1:]}"' in html


def test_another_rule_of_derivation_is_pointed_out(tmp_path):
    genotype = _write(tmp_path)
    other = genotype._replace(normal=(*genotype.normal[:-1], ("skip_connect", 0)))
    assert other != genotype
    (tmp_path / "genotype.json").write_text(other.to_json())
    assert "gives other cells than genotype.json holds" in _page(tmp_path).text


def test_writing_replaces_and_leaves_nothing_else(tmp_path):
    _write(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "report.html").write_text("old")
    first = write_report(str(tmp_path)).read_bytes()
    assert write_report(tmp_path).read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [*before, "report.html"]
    )


def test_a_report_that_cannot_be_written_is_one_line(tmp_path):
    _write(tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html cannot be written"):
        write_report(tmp_path)
    assert not list(tmp_path.glob(".report*"))


def test_no_workdir_and_an_empty_one(tmp_path):
    with pytest.raises(InputError, match=r"nowhere is not a folder; .*metrics.jsonl"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(
        InputError, match=r"has nothing of a run to read; .*config.json"
    ):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def _launch(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.report", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_launcher(tmp_path):
    _write(tmp_path)
    done = _launch(f"--workdir={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'report.html'}\n"
    failed = _launch()
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "--workdir" in failed.stderr
