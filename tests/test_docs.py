"""The documentation: every name in it exists, every public module is in it."""

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import nasjax

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FETCHED = re.compile(r'(?:src|rel="stylesheet" href)="(https?:[^"]*)')
BLOCK = re.compile(r"```python\n(.*?)```", re.S)


def resolve(name):
    """The function or class of a dotted name.

    A package may export a function under the name of its module, so that a name can
    lead to either.
    """
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_every_function_of_the_equations_exists():
    text = (DOCS / "equations.md").read_text()
    names = re.findall(r"`(nasjax\.[\w.]+)`", text)
    assert len(names) > 40
    for name in names:
        assert callable(resolve(name)), name


def test_every_method_has_its_equations():
    text = (DOCS / "equations.md").read_text()
    for name in nasjax.methods.METHODS:
        file = sys.modules[nasjax.methods.METHODS[name].__module__].__name__
        assert file in text or file.endswith("combinations"), name


def modules():
    """Public modules that define something themselves."""
    found = []
    for info in pkgutil.walk_packages(nasjax.__path__, "nasjax."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            module = importlib.import_module(info.name)
            own = [
                name
                for name, value in vars(module).items()
                if getattr(value, "__module__", None) == info.name
                and not name.startswith("_")
            ]
            if own:
                found.append(info.name)
    return found


def test_every_public_module_is_in_the_api():
    listed = [
        name
        for page in (DOCS / "api").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)
    ]
    assert len(listed) == len(set(listed))
    for name in listed:  # a module, or a package and all its modules
        importlib.import_module(name.removesuffix(".*"))
    absent = [
        name
        for name in modules()
        if not {name, f"{name.rpartition('.')[0]}.*"} & set(listed)
    ]
    assert absent == []


def test_every_link_between_pages_leads_somewhere():
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page, target)


@pytest.mark.parametrize("page", ["index", "your_own_data", "studies", "what_is_read"])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = BLOCK.findall((DOCS / f"{page}.md").read_text())
    assert blocks
    for block in blocks:
        with jax.numpy_dtype_promotion("standard"):
            exec(compile(block, f"{page}.md", "exec"), names)
    if page == "your_own_data":
        own = nasjax.data.load("npz", path=tmp_path / "blobs.npz")
        assert (len(own.labels), own.num_classes) == (120, 3)
    if page == "studies":
        config = names["get_config"]()
        assert config.rows == ("window1", "window2", "random")


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(site)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    page = (site / "api" / "methods.html").read_text()
    for name in ("relaxations.gumbel_top_k", "methods.stc_nas.js_loss"):
        assert f'id="nasjax.{name}"' in page
    assert '<span class="gp">' in page  # doctests are code, not quotations
    assert "<blockquote>\n<blockquote>" not in page
    # Nothing is fetched from elsewhere.
    for html in site.rglob("*.html"):
        fetched = re.findall(
            r'(?:src|rel="stylesheet" href)="(https?:[^"]*)', html.read_text()
        )
        assert fetched == [], html
