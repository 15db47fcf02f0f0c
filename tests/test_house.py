"""The house: imports run downwards only, and nothing grows out of its room."""

import ast
import functools
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path.relative_to(ROOT)
    for package in ("nasjax", "experiments")
    for path in (ROOT / package).rglob("*.py")
)
#: Functions of more than 40 lines, docstring apart, each with its reason.
LONG: dict[str, str] = {
    "experiments/benchmark/nasjax_side.py:program": "one program, written out",
    "experiments/benchmark/nasjax_side.py:retrain_step": "one program, written out",
    "nasjax/data/files/folder.py:load_folder": "one message per way to be wrong",
    "nasjax/data/imagenet_streams.py:imagenet_streams": "a factory of closures",
    "nasjax/engine/scan/cell.py:run_cell": "jitted as one: a call costs a pass",
    "nasjax/engine/scan/mixture.py:run_mixture": "a loop's body and its operands",
    "nasjax/methods/sd_darts.py:add_voting_teachers": "a method: its closures",
    "nasjax/methods/stc_nas.py:stc_nas": "a method: its closures, twelve options",
    "nasjax/methods/weight_teachers.py:add_weight_teachers": "a method: its closures",
    "nasjax/network/module.py:__call__": "a Linen module's one function",
    "nasjax/report/drawing/strips.py:strip_chart": "a drawing from top to bottom",
    "nasjax/report/drawing/svg.py:heat_map": "a drawing from top to bottom",
    "nasjax/retrain/resident.py:resident": "a factory of closures",
    "nasjax/retrain/step.py:_gradient": "a factory of closures",
    "nasjax/search/epoch.py:make_dispatch": "a factory of closures",
    "nasjax/search/program.py:plan": "a search's twelve fields",
    "nasjax/supernet.py:build": "thirteen arguments",
}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Modules of the house that a file imports, of types and within functions too."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in whole]
        else:
            continue
        found |= set(names) & set(MODULES)
    return found - {module(path)}


def test_imports_have_no_circle():
    # The face of the library loads its rooms when they are first used.
    arrows = {name: imported(path) for name, path in MODULES.items()}
    arrows["nasjax"] = set()
    assert sum(map(len, arrows.values())) > 500
    try:
        tuple(graphlib.TopologicalSorter(arrows).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_library_never_imports_a_launch():
    for name, path in MODULES.items():
        if name.startswith("nasjax"):
            below = {other for other in imported(path) if other.startswith("exp")}
            assert not below, name


def test_no_file_is_longer_than_400_lines():
    lines = {str(p): len((ROOT / p).read_text().splitlines()) for p in FILES}
    assert {name: n for name, n in lines.items() if n > 400} == {}


def test_no_room_of_the_library_is_larger_than_2500_lines():
    rooms: dict[str, int] = {}
    for path in FILES:
        if path.parts[0] == "nasjax":
            lines = len((ROOT / path).read_text().splitlines())
            room = str(path.parent) if len(path.parts) > 2 else str(path)
            rooms[room] = rooms.get(room, 0) + lines
    assert len(rooms) > 20
    assert {name: n for name, n in rooms.items() if n > 2500} == {}


def body_lines(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = (node.end_lineno or 0) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def test_functions_have_at_most_40_lines():
    found = {}
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and body_lines(node) > 40:
                found[f"{path}:{node.name}"] = body_lines(node)
    assert {name: n for name, n in found.items() if name not in LONG} == {}
    assert set(LONG) <= set(found)
