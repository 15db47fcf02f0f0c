"""Texts of genotypes as data: JSON, and the form that the DARTS code prints.

Nothing is run. What could be read in two ways is refused: a field that stands twice,
two genotypes where one is asked for.
"""

import ast
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from nasjax.base import InputError

#: Fields of the DARTS code's named tuple.
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_FORM = "Genotype(" + ", ".join(f"{name}=…" for name in FIELDS) + ")"
#: What a file of genotypes holds beside them, which says nothing about any.
_BESIDE = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
)


def clean(text: str) -> str:
    r"""A text without the byte-order mark and the blanks around it.

    >>> clean("\ufeff  DARTS_V2\n")
    'DARTS_V2'
    """
    return text.strip().removeprefix("\ufeff").strip()


def shorten(text: str) -> str:
    """A text as an error quotes it: in quotes, on one line, not all of a long one."""
    return repr(text if len(text) < 60 else f"{text[:57]}...")


def find_file(text: str) -> pathlib.Path | None:
    """The file of a genotype that a text names, or that of a search's folder.

    Raises:
      InputError: a folder that may not be read.
    """
    path = pathlib.Path(text)
    try:
        path = path.expanduser()
        if (path / "genotype.json").is_file():
            return path / "genotype.json"
        return path if path.is_file() else None
    except PermissionError as error:
        raise InputError(f"genotype {text}: {error.strerror}") from None
    except (OSError, ValueError, RuntimeError):  # no path at all, no home
        return None


def read_file(path: pathlib.Path) -> str:
    """A file's text, see `clean`.

    Raises:
      InputError: a file that cannot be read, or that is no text in UTF-8.
    """
    try:
        data = path.read_bytes()
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{path} is a text in UTF-16; save it as UTF-8")
        return clean(data.decode("utf-8"))
    except OSError as error:
        raise InputError(f"genotype {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file with a genotype") from None


def read_json(text: str) -> Any:
    """JSON in which no name stands twice in one object.

    Raises:
      ValueError: no JSON, or a name that stands twice.
    """
    return json.loads(clean(text), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InputError(f"{name!r} stands twice")
        found[name] = value
    return found


def read_python(text: str, *, name: str | None = None) -> Mapping[str, Any] | str:
    """The genotype in a text of Python: a call of Genotype, or assignments of some.

    Args:
      text: one ``Genotype(…)``, assigned to a name or not; or a file such as the
        DARTS code's ``genotypes.py``, whose imports, functions and other values are
        passed over. A string in quotes is what it quotes.
      name: which, where several are assigned to names; None for the only one.

    Returns:
      The fields, tuples as lists; or a NAS-Bench-201 string.

    Raises:
      InputError: another form, a field that stands twice, several genotypes and no
        name, or no genotype of that name.
    """
    found = _found(text)
    if name is not None:
        values = [value for own, value in found if own == name]
        if not values:
            names = ", ".join(own for own, _ in found if own) or "none"
            raise InputError(f"no genotype is named {name!r}; named are {names}")
    else:
        values = [value for _, value in found]
    if len(set(map(ast.dump, values))) > 1:
        raise InputError(_several(found, name))
    value = values[0]
    try:
        return _quoted(value) or _fields(value)
    except (ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise error if isinstance(error, InputError) else _no_form(text) from None


def _several(found: list[tuple[str, ast.expr]], name: str | None) -> str:
    if name is not None:
        return f"{name} stands twice, with two values"
    names = list(dict.fromkeys(own for own, _ in found if own))
    if not names:
        return f"here are {len(found)} genotypes without names; keep one"
    return (
        f"here are {len(found)} genotypes: {', '.join(names)[:200]}; FILE:NAME chooses "
        f"one, such as FILE:{names[0]}"
    )


def _no_form(text: str) -> InputError:
    return InputError(f"{shorten(text)} is not of the form {_FORM}")


def _found(text: str) -> list[tuple[str, ast.expr]]:
    """Every genotype in a text with its name, which may be empty."""
    text = clean(text)
    try:
        body = ast.parse(text).body
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise _no_form(text) from None
    values: dict[str, ast.expr] = {}
    found = []
    for statement in body:
        value = getattr(statement, "value", None)
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(value, ast.Name):  # ``DARTS = DARTS_V2``
            value = values.get(value.id)
        if value is not None and _is_genotype(value):
            found += [(own, value) for own in names or [""]]
            values |= dict.fromkeys(names, value)
        elif isinstance(statement, ast.Expr) and _quoted(value):
            if len(body) == 1:  # else it is a remark
                return _found(_quoted(value))
        elif not isinstance(statement, _BESIDE):
            raise _no_form(text)
    if not found:
        raise _no_form(text)
    return found


def _quoted(value: ast.expr | None) -> str:
    """What a string in quotes holds; an empty text for anything else."""
    is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return value.value if is_text else ""  # type: ignore[union-attr]


def _is_genotype(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "Genotype"
    return _quoted(value).startswith("|")


def _fields(call: Any) -> dict[str, Any]:
    """Fields of a call of Genotype."""
    if call.args or not all(field.arg for field in call.keywords):  # `**` has no name
        raise ValueError
    fields: dict[str, Any] = {}
    for field in call.keywords:
        if field.arg in fields:
            raise InputError(f"{field.arg} stands twice in Genotype(…)")
        fields[field.arg] = _literal(field.value)
    if sorted(fields) != sorted(FIELDS):
        raise InputError(f"a genotype of the form {_FORM} has those fields alone")
    return fields


def _literal(node: ast.expr) -> Any:
    """A literal, its tuples as lists, or what a ``range`` of two literals lists."""
    if isinstance(node, ast.Call):
        name = node.func.id  # type: ignore[attr-defined]
        first, end = map(ast.literal_eval, node.args)
        right = type(first) is int and type(end) is int and first >= 0 and end < 1000
        if name != "range" or node.keywords or not right:
            raise ValueError
        return list(range(first, end))
    # As JSON has it.
    return json.loads(json.dumps(ast.literal_eval(node)))
