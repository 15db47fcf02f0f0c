"""Named arrays out of the checkpoints that training programs write."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from nasjax.base import InputError

#: Where programs keep a network's arrays.
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
#: What wrappers put before every name.
_PREFIXES = ("module", "model", "net", "network", "backbone")
#: What compilation and sharding put into names, wherever a part was wrapped.
_PARTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
#: What PyTorch's average of weights counts beside them.
_COUNTED = "n_averaged"


def state_dict(found: Any, path: pathlib.Path) -> dict[str, Any]:
    """The named arrays of what a file holds, however it wraps them.

    Raises:
      InputError: there are none, or several sets of which none is the usual one.
    """
    if _is_named(found):
        return dict(found)
    sets = dict(_sets(found))
    usual = {key: sets[key] for key in sets if key.rpartition(".")[2] in _WRAPPERS}
    for choice in (usual, sets):
        outer = min((key.count(".") for key in choice), default=0)
        nearest = [key for key in choice if key.count(".") == outer]
        if len(nearest) == 1:
            return dict(choice[nearest[0]])
        if nearest:
            break
    if sets:
        raise InputError(
            f"{path} holds several sets of named arrays: {', '.join(sets)[:200]}; save "
            "the one that is meant"
        )
    raise InputError(f"{path} holds no named arrays, but a {_told(found)}")


def plain(arrays: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any]:
    """Arrays by the names that the network itself gives them.

    Raises:
      InputError: two arrays whose names differ only in what wrappers add.

    >>> list(plain({"_orig_mod.module.stem.0.weight": 1}, pathlib.Path("w.pt")))
    ['stem.0.weight']
    """
    named = {name: tuple(_without_parts(name)) for name in arrays}
    if any(len(parts) > 1 for parts in named.values()):
        named.pop(_COUNTED, None)
    while len(first := {parts[0] for parts in named.values()}) == 1:
        if not first & {*_PREFIXES} or any(len(parts) < 2 for parts in named.values()):
            break
        named = {name: parts[1:] for name, parts in named.items()}
    found: dict[str, Any] = {}
    for name, parts in named.items():
        short = ".".join(parts)
        if short in found:
            raise InputError(f"{path} holds {short!r} twice, once as {name!r}")
        found[short] = arrays[name]
    return found


def _without_parts(name: str) -> list[str]:
    parts = name.split(".")
    return [part for part in parts if part not in _PARTS] or parts


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_named(value: Any) -> bool:
    """Whether these are named arrays, with or without numbers beside them."""
    return (
        isinstance(value, Mapping)
        and all(isinstance(name, str) for name in value)
        and any(_is_array(array) for array in value.values())
        and not any(isinstance(array, Mapping) for array in value.values())
    )


def _sets(found: Any, prefix: str = "", depth: int = 5) -> Iterator[tuple[str, Any]]:
    """Every mapping of named arrays within a mapping, by the keys that lead to it."""
    if not isinstance(found, Mapping) or not depth:
        return
    for key, value in found.items():
        if not isinstance(key, str):
            continue
        if _is_named(value):
            yield prefix + key, value
        else:
            yield from _sets(value, f"{prefix}{key}.", depth - 1)


def _told(found: Any) -> str:
    """What a file holds, for people to read."""
    kind = type(found).__name__
    if not isinstance(found, Mapping) or not found:
        return kind
    entries = [f"{key} ({type(value).__name__})" for key, value in found.items()]
    more = f" and {len(entries) - 6} more" if len(entries) > 6 else ""
    return f"{kind} of {', '.join(map(str, entries[:6]))[:200]}{more}"
