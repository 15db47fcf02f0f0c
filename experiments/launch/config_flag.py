"""The flag ``--config``: a configuration by name, or a file of one's own."""

import sys
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments.configs import catalogue
from experiments.configs.references import is_reference

# Of whoever calls `define`, for --help.
flags.disclaim_key_flags()

_METHOD = "method.name"


class _Parser(flags.ArgumentParser):
    """Opens names of the catalogue, and leaves files to ml_collections.

    A field's type and its existence are of the configuration that is opened: for a
    method of one's own, given by ``--config.method.name=package.module:function``, it
    is opened with the arguments of that function.
    """

    def __init__(self, name: str, files: Any):
        self.name = name
        self._files = files

    def parse(self, argument: str) -> ConfigDict:
        """The configuration, locked."""
        if catalogue.find(argument) is None and not catalogue.is_name(argument):
            config: ConfigDict = self._files.parse(argument)
            return config
        config = catalogue.load(argument, method=_own_method(self.name, sys.argv))
        config.lock()
        return config


def define(**settings: bool) -> "flags.FlagHolder[ConfigDict]":
    """Define ``--config`` with ``--config.any.field=value``, the fields locked.

    Args:
      **settings: of the flag.
    """
    holder = config_flags.DEFINE_config_file(
        "config",
        None,
        "NAME[:VARIANT] of `python -m experiments.configs`, or FILE.py[:VARIANT].",
        lock_config=True,
        **settings,
    )
    flag = flags.FLAGS["config"]
    flag.parser = _Parser("config", flag.parser)
    return holder


def _own_method(name: str, argv: list[str]) -> str:
    """The function of one's own that a command line has for the method, or nothing.

    >>> _own_method("config", ["search", "--config.method.name=mine:decisive"])
    'mine:decisive'
    """
    given = ""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        flag, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and flag == f"{name}.{_METHOD}":
            given = value if equals else following
    return given if is_reference(given) else ""
