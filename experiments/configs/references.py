"""What a field names: an entry of a table of the library, or one's own function."""

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from nasjax.base import InputError


def is_reference(name: str) -> bool:
    """Whether a name is that of a function of one's own, ``package.module:function``.

    >>> is_reference("stc_nas"), is_reference("mine.methods:decisive")
    (False, True)
    """
    return ":" in name


def find(field: str, name: str, known: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that a field names.

    Args:
      field: of the configuration.
      name: one of ``known``, or ``package.module:function``.
      known: functions by name.

    Raises:
      InputError: a name that is none, a module or a function that is not there.
    """
    if name in known:
        return known[name]
    if not is_reference(name):
        choices = ", ".join(sorted(known))
        raise InputError(f"{field} is {name!r}; it must be one of {choices}")
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", name):
        raise InputError(f"{field} is {name!r}; it must be package.module:function")
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise InputError(f"{field} is {name!r}: {error}") from None
    if not callable(found):
        raise InputError(f"{field} is {name!r}; {module} has no function {function!r}")
    return found
