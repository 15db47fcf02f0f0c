"""Compiled programs, kept between launches."""

import contextlib
import os
import sys
import time
import zlib
from pathlib import Path

import jax

#: Its time is that of the last look at the entries.
_CHECKED = ".checked"


def use_cache(folder: Path | None) -> None:
    """Keep compiled programs in a folder, so that a second start is quick; or nowhere.

    A folder that cannot be used is told and done without.
    """
    if folder is None:  # not even where JAX's own variable says
        jax.config.update("jax_compilation_cache_dir", None)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drop_torn(folder)
    except OSError as error:
        reason = f"--compilation_cache={folder}: {error.strerror}"
        print(f"warning: compiled programs are not kept, {reason}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def drop_torn(folder: Path) -> int:
    """Remove entries that a killed process or a full disk has left half written.

    JAX does not write an entry in one move and never writes it again: it would warn of
    a torn one, and compile, at every launch. Only what has come since the last look is
    looked at.

    Returns:
      How many were torn.
    """
    stamp = folder / _CHECKED
    since = stamp.stat().st_mtime if stamp.exists() else 0.0
    # Of an entry that is being written now, the next launch sees the end.
    began = time.time() - 60
    torn = 0
    for entry in folder.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another launch was quicker
            written = entry.stat().st_mtime
            if since <= written < began and not _is_whole(entry.read_bytes()):
                entry.unlink()
                torn += 1
    stamp.touch()
    os.utime(stamp, (began, began))
    return torn


def _is_whole(data: bytes) -> bool:
    """Whether an entry can be decompressed; only what zlib has written is tried."""
    if data[:1] != b"\x78":  # zstd, which JAX takes where it is installed
        return bool(data)
    try:
        zlib.decompress(data)
    except zlib.error:
        return False
    return True
