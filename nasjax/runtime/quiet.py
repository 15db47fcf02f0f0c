"""Orbax kept from talking where what it says is told in a line of ours."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator

#: Seconds in which writes under way come to their end once one has failed.
_STRAGGLERS = 0.5


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what Orbax says beside the error that it raises.

    It logs the error in every thread that meets it; and where one fails, threads below
    Python that come back to an event loop that is closed print tracebacks past every
    hook. Standard error is kept aside, to be said where nothing fails.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "concurrent.futures")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda about: (
        None if str(about.exc_value) == "Event loop is closed" else unraisable(about)
    )
    try:
        with _stderr_aside():
            yield
    except Exception:
        # Said once its tasks are collected, some time later.
        logging.getLogger("asyncio").addFilter(_is_no_orphan)
        raise
    finally:
        sys.unraisablehook = unraisable
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_no_orphan(record: logging.LogRecord) -> bool:
    """Whether a record is not about the other tasks of what has failed already."""
    return "exception was never retrieved" not in record.getMessage()


@contextlib.contextmanager
def _stderr_aside() -> Iterator[None]:
    """Keep standard error in memory, and drop it where the block raises."""
    try:
        own = os.dup(2)
    except OSError:  # closed: nobody hears it anyway
        yield
        return
    aside = os.memfd_create("stderr")  # no file: the disk may be full
    _flush_stderr()
    os.dup2(aside, 2)
    said = b""
    try:
        yield
        _flush_stderr()
        said = os.pread(aside, os.fstat(aside).st_size, 0)
    except BaseException:
        time.sleep(_STRAGGLERS)
        _flush_stderr()
        raise
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.close(aside)
        if said:
            os.write(2, said)


def _flush_stderr() -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
