"""For the documentation: doctests in a docstring's text as blocks of code.

Griffe knows them in a section "Examples:" alone, and Markdown takes ``>>>`` for a
quotation.
"""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(?: *>>> .*\n?)(?:.*\S.*\n?)*", re.M)


def fenced(text: str) -> str:
    """The text with a fence around every run of lines that begins with ``>>>``."""
    return _EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)


class Doctests(griffe.Extension):
    """Fences the doctests of everything that is loaded."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
