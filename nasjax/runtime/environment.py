"""Where a run was started, and how: versions, device, command line, commit."""

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("nasjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
#: Words in the name of a flag whose value is nobody's business.
_SECRET = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)


def describe() -> dict[str, Any]:
    """The environment of this process, for `Workdir.describe`."""
    device = jax.devices()[0]
    found = {
        "started": now(),
        "command": command_line(sys.orig_argv),
        "commit": commit(Path(__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "device": device.device_kind,
        "num_devices": jax.device_count(),
        **{name: metadata.version(name) for name in _PACKAGES},
    }
    return {name: value for name, value in found.items() if value is not None}


def now() -> str:
    """The time, to seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_line(arguments: Sequence[str]) -> str:
    """A command as it can be given again, without secrets and the user's own folder.

    >>> command_line(["/usr/bin/python3", "-m", "a", "--api_key=1", "--x=b c"])
    "python3 -m a '--api_key=…' '--x=b c'"
    """
    program, *rest = arguments
    shown = [Path(program).name]
    hides = False
    for argument in rest:
        flag, equals, _ = argument.partition("=")
        is_flag = flag.startswith("-")
        if hides and not is_flag:
            argument = "…"
        elif is_flag and equals and _SECRET.search(flag):
            argument = f"{flag}=…"
        hides = is_flag and not equals and bool(_SECRET.search(flag))
        shown.append(argument)
    home = os.path.expanduser("~")
    text = shlex.join(shown)
    return text if home in ("/", "~") else re.sub(rf"{re.escape(home)}\b", "~", text)


def commit(folder: Path) -> str | None:
    """The commit that a folder is checked out at, with ``-dirty`` after a change.

    None where it is in no checkout, or where nobody can ask.
    """
    asked = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            [*asked, "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        # A library that is installed somewhere in a checkout is no part of it.
        tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", "."]
        subprocess.run(tracked, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
