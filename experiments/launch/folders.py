"""Where a launch goes when no folder is given: named by all that was asked for."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from experiments.configs.references import is_reference
from experiments.launch import paths
from nasjax.runtime.workdir import safe_name

#: Of a folder's name, before the seed; a longer one is cut and given a digest.
_LONGEST = 120
_DIGEST = 8


def config_file() -> str:
    """What ``--config`` names."""
    return config_flags.get_config_filename(flags.FLAGS["config"])


def overridden() -> dict[str, Any]:
    """The fields in which the configuration differs from its file, by their names."""
    flag = flags.FLAGS["config"]
    own: Any = flag.parser.parse(config_file())
    here: Any = flag.value
    paths.in_config(own)
    before, now = _flat(own.to_dict()), _flat(here.to_dict())
    if is_reference(str(now.get("method.name"))):  # the file's own has another method
        before.pop("method.name")
    return {name: now[name] for name in sorted(now) if before.get(name) != now[name]}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def words(fields: Mapping[str, Any]) -> list[str]:
    """Fields as they are given on the command line.

    >>> words({"search.epochs": 10})
    ['search.epochs=10']
    """
    return [f"{name}={value}" for name, value in fields.items()]


def name_of(file: str, *names: str, fields: Mapping[str, Any] = {}) -> str:
    """A name for the folder of a launch, the same for the same command.

    What is no letter, digit or one of ``._=+-`` gives way to ``_``. Where that, or the
    bound on the length, loses anything, a digest of the whole stands at the end.

    Args:
      file: of the configuration, with its variant.
      *names: of what else the launch is of.
      fields: that were overridden.

    >>> name_of("configs/a_b.py:smoke", fields={"search.epochs": 10})
    'a_b-smoke-search.epochs=10'
    >>> name_of("a.py", fields={"method.noise_range": "linear(0.3, 0)"})
    'a-method.noise_range=linear_0.3_0-1cec5d69'
    """
    file, *variants = file.split(":")
    parts: Sequence[str] = (Path(file).stem, *variants, *names, *words(fields))
    text = "-".join(filter(None, parts))
    safe = re.sub("__+", "_", safe_name(text)).rstrip("_")
    if safe == text and len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    return f"{safe[: _LONGEST - _DIGEST - 1]}-{digest}"
