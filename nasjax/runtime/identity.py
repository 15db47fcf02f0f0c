"""What decides a run, as far as it can be known: one folder holds one run.

What can be read (names, sizes, schedules, the data's fingerprint) is compared in every
folder. Functions are compared by the programs that they trace to (`fingerprints`), and
under the same versions of this library and of JAX only; not where a configuration
decides the run (`Workdir.open`): a launch goes on after its code has become faster.
"""

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from nasjax.base import InputError


class Identity(NamedTuple):
    """What decides a run.

    Attributes:
      says: what can be read, in blocks as of a configuration.
      programs: SHA-256 of what functions trace to, by name.
    """

    says: Mapping[str, Any]
    programs: Mapping[str, str]

    def to_json(self) -> str:
        """With the versions under which the programs were traced."""
        return json.dumps(
            {"run": self.says, "programs": self.programs, "versions": _versions()},
            indent=2,
        )

    def other_than(self, stored: Mapping[str, Any], *, programs: bool) -> list[str]:
        """In what a stored one is another run; nothing where it is the same.

        Args:
          stored: read from what `to_json` wrote.
          programs: whether they are compared.
        """
        found = differences(stored["run"], json.loads(json.dumps(self.says)))
        if found or not programs or stored["versions"] != _versions():
            return found
        there, here = stored["programs"], self.programs
        return [
            f"{name} computes something else"
            for name in sorted({*there, *here})
            if there.get(name) != here.get(name)
        ]


def differences(
    there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """Fields in which two nested configurations differ, with both values."""
    found = []
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if old == new:
            continue
        if all(value is None or isinstance(value, Mapping) for value in (old, new)):
            found += differences(old or {}, new or {}, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name} is {old!r} there and {new!r} here")
    return found


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("nasjax", "jax")}


def check(identity: Identity, path: Path, *, programs: bool) -> None:
    """Refuse what another run has written.

    Args:
      identity: of this run.
      path: of what `Identity.to_json` wrote.
      programs: whether they are compared.

    Raises:
      InputError: naming what differs, or that the file cannot be read.
    """
    try:
        stored = json.loads(path.read_text())
        found = identity.other_than(stored, programs=programs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({error!r}); give another folder"
        ) from None
    if found:
        raise InputError(
            f"workdir {path.parent} holds another run: {'; '.join(found[:3])}; give "
            "another folder"
        )
