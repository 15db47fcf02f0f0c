"""Every configuration by name, and the file of one's own that ``--config`` may name.

``NAME[:VARIANT]`` opens one of the catalogue, and so does a path below
``experiments/configs`` that ends in ``NAME.py``, whether it is there as a file or not.
Any other path is a file with a function ``get_config(variant)``. A study of a paper
has two names, ``stc_nas_table7_js`` and ``stc_nas:table7``.
"""

import functools
import itertools
import re
import runpy
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from ml_collections import ConfigDict

from experiments.configs import retraining, searches
from experiments.configs.entry import Entry
from experiments.configs.papers import msg_das, nasbench201, readings, sd_darts, stc_nas
from nasjax.base import InputError

_SOURCES = (searches, retraining, sd_darts, msg_das, stc_nas, nasbench201, readings)
_FOLDER = re.compile(r"(.*/)?experiments/configs/(papers/|studies/)?")


@functools.cache
def entries() -> Mapping[str, Entry]:
    """Every configuration by its name."""
    every = itertools.chain.from_iterable(source.entries() for source in _SOURCES)
    return {entry.name: entry for entry in every}


def names() -> Iterator[str]:
    """Every name."""
    for entry in entries().values():
        yield entry.name
        if entry.also:
            yield entry.also


def split(text: str) -> tuple[str, str]:
    """A name or a file, and its variant.

    >>> split("a/experiments/configs/papers/stc_nas.py:table7:proxy")
    ('stc_nas:table7', 'proxy')
    >>> split("own/mine.py:big"), split("stc_nas_darts_digits")
    (('own/mine.py', 'big'), ('stc_nas_darts_digits', ''))
    """
    name, _, rest = text.partition(":")
    inside = _FOLDER.match(name)
    if inside:
        name = name[inside.end() :]
    if inside or "/" not in name:
        stem = name.removesuffix(".py")
        part, _, variant = rest.partition(":")
        if any(f"{stem}:{part}" == entry.also for entry in entries().values()):
            return f"{stem}:{part}", variant
        if inside or stem in entries():
            return stem, rest
    return name, rest


def find(text: str) -> Entry | None:
    """The entry of a name, with or without a variant; None for a file's."""
    name, _ = split(text)
    if name in entries():
        return entries()[name]
    return next((one for one in entries().values() if one.also == name), None)


def is_name(text: str) -> bool:
    """Whether a text that no entry has would be a name, as it is no file."""
    name, _ = split(text)
    return not (name.endswith(".py") or "/" in name or Path(name).exists())


def load(text: str, *, method: str = "") -> ConfigDict:
    """What ``--config=TEXT`` opens.

    Args:
      text: a name or a file, with a variant or without.
      method: ``package.module:function`` that a search is launched with in its own
        method's place; empty for none.

    Raises:
      InputError: a name that is none, with those that are near; a variant that is none;
        a file without a function ``get_config``.
      OSError: no such file.
    """
    entry = find(text)
    name, variant = split(text)
    if entry is not None:
        launched = {"launched": method} if method and entry.command == "search" else {}
        return entry.get_config(variant or None, **launched)
    if is_name(text):
        near = get_close_matches(name, [*names()], n=3)
        told = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(
            f"{name!r} is no configuration; {told}python -m experiments.configs lists "
            "them all"
        )
    own = runpy.run_path(name).get("get_config")
    if own is None:
        raise InputError(f"config {name} has no function get_config")
    config: ConfigDict = own(variant) if variant else own()
    return config
