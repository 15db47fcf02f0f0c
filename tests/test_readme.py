"""The README's Python blocks, run as they stand."""

import re
from pathlib import Path

import jax
import pytest

from experiments.configs import catalogue
from nasjax.methods import Method

ROOT = Path(__file__).parent.parent


def test_the_python_blocks_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
            exec(compile(block, "README.md", "exec"), names)
    # The second block's search ends at an architecture and leaves its files.
    assert "|+|" in capsys.readouterr().out
    assert (
        tmp_path / "runs/decisive_darts_nasbench201_digits-seed0/genotype.json"
    ).exists()
    assert float(names["value"]) == pytest.approx(0.64)


def test_the_page_about_methods_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "your_own_method.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 2
    assert len(blocks[0].splitlines()) <= 100
    names: dict = {}
    for block in blocks:
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
            exec(compile(block, "your_own_method.md", "exec"), names)
    assert "|+|" in capsys.readouterr().out
    assert names["taught"].name == "stc_nas"
    assert names["dropping"].subgraphs == 2


def test_the_page_about_methods_names_every_field():
    text = (ROOT / "docs" / "your_own_method.md").read_text()
    table = text.partition("| field |")[2]
    for field in Method._fields:
        assert field == "name" or f"`{field}`" in table, field


def test_every_file_the_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
    names = set(re.findall(r"--config=(\w+)", text)) - {"NAME"}
    assert len(names) >= 3
    for name in names:
        assert catalogue.find(name), name


def test_the_page_about_a_loop_of_ones_own_runs(capsys):
    text = (ROOT / "docs" / "your_own_loop.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names: dict = {}
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
        exec(compile(block, "your_own_loop.md", "exec"), names)
    assert names["end"] < names["start"]
    assert "|+|" in capsys.readouterr().out
