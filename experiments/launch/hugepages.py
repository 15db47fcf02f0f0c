"""Huge pages for the arrays of a launch.

XLA takes the memory of a step from the C library and gives it back after the step. In
pages of 4 KiB that is half a million page faults a step in a large training, which took
a third of its time. Linux gives pages of 2 MiB to who asks; glibc asks where
``glibc.malloc.hugetlb=1`` stands in the environment that a process starts with, so a
launch starts itself once more, before anything large is imported.
"""

import contextlib
import itertools
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

_VARIABLE = "GLIBC_TUNABLES"
_TUNABLE = "glibc.malloc.hugetlb"
_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_FIRST_GLIBC = (2, 35)


def take() -> None:
    """Start a ``python -m experiments...`` anew with huge pages, where there are some.

    Does nothing in any other process, on other systems, and where the variable says
    already what of them is wanted (``GLIBC_TUNABLES=glibc.malloc.hugetlb=0`` for none).
    The process keeps its number.
    """
    if not (_is_launch() and _are_offered()):
        return
    environment = with_huge_pages(os.environ)
    if environment != dict(os.environ):
        with contextlib.suppress(OSError):  # then it goes on without
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _is_launch() -> bool:
    """Whether this is a launch; a test may run a main in a process of its own."""
    pairs = itertools.pairwise(sys.orig_argv)
    return any(a == "-m" and b.startswith("experiments.") for a, b in pairs)


def with_huge_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment that asks for huge pages, unless it says so or otherwise.

    >>> with_huge_pages({"GLIBC_TUNABLES": "glibc.malloc.check=3"})
    {'GLIBC_TUNABLES': 'glibc.malloc.check=3:glibc.malloc.hugetlb=1'}
    >>> with_huge_pages({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"})
    {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=0'}
    """
    tunables = [part for part in environment.get(_VARIABLE, "").split(":") if part]
    if not any(part.startswith(f"{_TUNABLE}=") for part in tunables):
        tunables.append(f"{_TUNABLE}=1")
    return {**environment, _VARIABLE: ":".join(tunables)}


def _are_offered() -> bool:
    """Whether the system gives huge pages to who asks."""
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split("."))) < _FIRST_GLIBC:
        return False
    try:
        # "always" asks for everyone, "never" gives none.
        return "[madvise]" in _KERNEL.read_text()
    except OSError:
        return False
