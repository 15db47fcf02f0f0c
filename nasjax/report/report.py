"""Writing the report of a run."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from nasjax.base import InputError
from nasjax.report.drawing.units import duration
from nasjax.report.findings import status
from nasjax.report.history import find, space_name
from nasjax.report.page import page
from nasjax.report.sections import sections
from nasjax.report.workdir import Run, read_run


def write_report(workdir: str | Path) -> Path:
    """Write ``report.html`` into a workdir, from whatever the run has left there.

    The file stands alone (no script, nothing fetched) and replaces an older one in a
    single step, so a reader never meets half a report.

    Args:
      workdir: of a run that is finished, running or stopped.

    Returns:
      The path written.

    Raises:
      InputError: no such folder, nothing of a run in it, or a folder that is not
        writable.
    """
    run = read_run(workdir)
    html = render(run)
    path = Path(workdir) / "report.html"
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # A lone surrogate from a JSON escape has no UTF-8 form.
        unfinished.write_text(html, encoding="utf-8", errors="replace")
        os.replace(unfinished, path)
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return path


def render(run: Run) -> str:
    """The report as HTML."""
    return page(
        title=_title(run),
        facts=_facts(run),
        status=status(run),
        finished=run.finished,
        sections=sections(run),
    )


def _named(run: Run, block: str, *fields: str) -> str:
    """The name that a block of the config goes by, or an empty text."""
    value = run.config.get(block)
    if isinstance(value, Mapping):
        value = find(value, (*fields, "name"))
    return value if isinstance(value, str) else ""


def _title(run: Run) -> str:
    method = _named(run, "method", "method")
    data = _named(run, "data", "dataset")
    if run.is_training:
        return f"Training on {data}" if data else f"Training in {run.name}"
    title = " on ".join(filter(None, (method, data)))
    return f"Search: {title}" if title else f"Search in {run.name}"


def _facts(run: Run) -> str:
    facts = [f"workdir {run.name}"]
    if space_name(run):
        facts.append(f"space {space_name(run)}")
    if "seed" in run.config:
        facts.append(f"seed {run.config['seed']}")
    started, ended, seconds = map(run.environment.get, ("started", "ended", "seconds"))
    if started:
        facts.append(f"started {started}")
    if ended:
        facts.append(f"ended {ended}")
    if isinstance(seconds, int | float):
        facts.append(f"ran for {duration(seconds)}")
    return " · ".join(facts)
