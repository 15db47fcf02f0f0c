"""The papers' studies: every field there is, every value allowed, proxies bounded."""

import ast
import pathlib
import re

import pytest

from experiments.configs import catalogue
from experiments.configs.papers import msg_das, sd_darts, stc_nas
from experiments.launch import build, plan
from nasjax.base import InputError

ROOT = pathlib.Path(__file__).parents[1]
STUDIES = {
    name: entry
    for name, entry in catalogue.entries().items()
    if entry.command == "study"
}
#: Studies of our own.
OWN = ["stc_nas_readings"]
NAMES = sorted({*STUDIES} - {*OWN})
PAPERS = {"sd_darts": sd_darts, "msg_das": msg_das, "stc_nas": stc_nas}
#: Tables and figures of SD-DARTS, MSG-DAS and STC-NAS.
WANTED = {
    "sd_darts": "fig2 table2 table3 table4 fig5 fig6",
    "msg_das": "table1 table2 table3 table4 fig3",
    "stc_nas": "table1 table3 table4 table5 table6 table7 table8 "
    "fig5 fig6 fig7 fig8 fig9",
}
EVERY = [(name, variant) for name in (*NAMES, *OWN) for variant in (None, "proxy")]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def figures(name: str) -> dict[str, str]:
    """The paper's figures of a study's rows."""
    paper, _, part = STUDIES[name].also.partition(":")
    return dict(PAPERS[paper].STUDIES[part].paper) if paper else {}


def overridden(file: str, overrides) -> dict:
    """A configuration as a run of the study has it."""
    config = catalogue.load(file)
    for override in overrides:
        field, _, text = override.partition("=")
        *blocks, last = field.split(".")
        node = config
        for block in blocks:
            node = node[block]
        was = node[last]
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        kinds = (int, float) if isinstance(was, float) else type(was)
        # A placeholder of a number is None.
        assert was is None or isinstance(value, kinds), override
        node[last] = value
    return config.to_dict()


def searches(config: dict) -> dict[str, dict]:
    return {
        name: overridden(cell["config"], (*config["overrides"], *cell["overrides"]))
        for name, cell in config["cells"].items()
    }


def test_every_table_and_figure_is_there():
    for paper, parts in WANTED.items():
        found = [name.removeprefix(f"{paper}_") for name in NAMES if paper in name]
        assert sorted(part.split("_")[0] for part in found) == sorted(parts.split())


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_every_run_has_fields_and_values_that_there_are(name, variant, tmp_path):
    config = STUDIES[name].get_config(variant).to_dict()
    assert plan.jobs_of(config, tmp_path)  # fields, of searches and trainings
    for search in searches(config).values():
        build.check(search)
        build.method(search)
    for cell in config["cells"].values():
        if cell["retrain"]:
            overridden(cell["retrain"], cell["retrain_overrides"])


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_the_full_variant_differ_and_keep_the_papers_settings(name):
    config = STUDIES[name].get_config().to_dict()
    runs = [(cell["retrain"], str(s)) for cell, s in zip(
        config["cells"].values(), searches(config).values(), strict=True
    )]  # fmt: skip
    assert len(set(runs)) == len(runs)
    assert "proxy" not in config["title"]
    for search in searches(config).values():
        assert search["data"]["max_examples"] is None
        assert search["search"]["epochs"] >= 50


@pytest.mark.parametrize("name", NAMES)
def test_a_proxy_is_one_and_is_bounded(name):
    config = STUDIES[name].get_config("proxy").to_dict()
    assert "proxy" in config["title"]
    assert "proxy" in config["about"].lower()
    assert len(config["cells"]) * len(config["seeds"]) <= 18
    for cell, search in zip(
        config["cells"].values(), searches(config).values(), strict=True
    ):
        digits = search["data"]["name"] == "digits"
        # Images through the network; the digits have a sixteenth of the pixels.
        images = 1_800 // 16 if digits else search["data"]["max_examples"]
        assert images * search["search"]["epochs"] <= 250_000
        assert search["supernet"]["channels"] <= 8
        assert search["supernet"]["num_cells"] <= 8
        if cell["retrain"]:
            train = overridden(cell["retrain"], cell["retrain_overrides"])
            assert train["train"]["epochs"] <= 20
            assert train["data"]["name"] == "digits" or (
                train["data"]["max_examples"] <= 2_560
                and train["network"]["channels"] <= 8
            )


@pytest.mark.parametrize("name", NAMES)
def test_a_study_tells_its_command_and_the_papers_figures(name):
    found, paper = STUDIES[name], figures(name)
    assert f"experiments.study \\\n        --config={name}\n" in found.about
    for variant in (None, "proxy"):
        config = found.get_config(variant).to_dict()
        for row, figure in paper.items():
            if row in config["cells"]:
                assert figure in config["about"]
    assert set(paper) <= set(found.get_config().cells)
    with pytest.raises(InputError, match="variant 'prox' is not one of proxy"):
        found.get_config("prox")


def test_the_page_about_reproduction_lists_every_study():
    """Its command, its scale, and the paper's figure of each row."""
    text = (ROOT / "docs/reproduction.md").read_text(encoding="utf-8")
    rows = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)`.*$", text, re.M)}
    for name in NAMES:
        if name == "nasbench201_cifar10":
            continue  # has a section of its own
        assert name in rows, f"{name} is not in docs/reproduction.md"
        for figure in figures(name).values():
            assert figure in rows[name], (name, figure)
        assert "not run" in rows[name] or "proxy" in rows[name], rows[name]
    assert "    --config=NAME:proxy " in text
