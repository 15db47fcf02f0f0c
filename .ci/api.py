"""For the documentation: ``::: nasjax.room.*`` stands for every module of the room."""

import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
_ROOM = re.compile(r"^::: ([\w.]+)\.\*$", re.M)


def modules(room: str) -> list[str]:
    """Public modules of a package, by name."""
    folder = _ROOT.joinpath(*room.split("."))
    return [
        f"{room}.{file.stem}"
        for file in sorted(folder.glob("*.py"))
        if not file.stem.startswith("_")
    ]


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """A directive for each module, when MkDocs reads the page."""
    return _ROOM.sub(
        lambda found: "\n\n".join(f"::: {name}" for name in modules(found[1])), markdown
    )
