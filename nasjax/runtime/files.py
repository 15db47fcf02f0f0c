"""Files that are complete or absent, and names for them."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What a file is named until it is whole.
PART = ".part"


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole."""
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """A file that takes a path's place once it is written, and on the disk."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()  # on a full disk it would take the room of what is missing
        raise


def safe_name(text: str) -> str:
    """A name for a folder that is one, whatever the text: no way out, nothing hidden.

    >>> safe_name("a_b-smoke"), safe_name("../../etc"), safe_name("")
    ('a_b-smoke', '_.._etc', '_')
    """
    name = re.sub(r"[^\w.=+-]", "_", text, flags=re.ASCII)
    return re.sub(r"^[.-]+", "", name)[:150] or "_"
