"""``~`` in whatever a user gives: flags, fields of a configuration, variables.

A shell replaces it at the start of a word alone, so ``--workdir=~/runs`` comes as it
is. No flag and no field begins with ``~`` but a path: all of them are expanded, here,
before a launcher reads any.
"""

import os
import re
from collections.abc import MutableMapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

#: Variables that name a path.
VARIABLES = (
    "JAX_COMPILATION_CACHE_DIR",
    "NASJAX_NASBENCH201",
    "TFDS_DATA_DIR",
    "XDG_CACHE_HOME",
)


def expanded(value: Any) -> Any:
    """A text with ``~`` or ``~user`` at its start replaced, also within a sequence.

    >>> expanded(("|none~0|", "runs/~old")), expanded(0.3)
    (('|none~0|', 'runs/~old'), 0.3)
    """
    if isinstance(value, str):
        return os.path.expanduser(value)
    if type(value) in (list, tuple):
        return type(value)(map(expanded, value))
    return value


def in_arguments(argv: Sequence[str]) -> list[str]:
    """A command line with the values of its flags expanded.

    >>> in_arguments(["search", "--config.data.name=npz", "--workdir=a~b"])
    ['search', '--config.data.name=npz', '--workdir=a~b']
    """
    found = []
    for argument in argv:
        flag = re.match(r"--?[\w.]+=(?=~)", argument)
        start = flag.end() if flag else 0
        found.append(argument[:start] + expanded(argument[start:]))
    return found


def in_variables(environment: MutableMapping[str, str]) -> None:
    """Expand the variables that name a path."""
    for name in {*VARIABLES} & {*environment}:
        environment[name] = expanded(environment[name])


def in_flags(values: flags.FlagValues) -> None:
    """Expand what the flags hold: defaults, flag files, and configuration files."""
    for name in values:
        flag = values[name]
        if isinstance(flag.value, ConfigDict):
            in_config(flag.value)
        elif "." not in name:  # an override, which its configuration has taken
            new = expanded(flag.value)
            if new != flag.value:
                flag.value = new


def in_config(config: ConfigDict) -> None:
    """Expand the fields of a configuration."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            in_config(value)
        elif expanded(value) != value:
            config[name] = expanded(value)
