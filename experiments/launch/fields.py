"""Fields of a configuration, by dotted names."""

from typing import Any


def missing_field(config: Any, path: str) -> str:
    """Which part of a dotted name is no field, and what there is; "" where all are.

    >>> missing_field({"a": {"b": 1, "c": 2}}, "a.d")
    "no field 'd', must be one of b, c"
    >>> missing_field({"a": {"b": 1}}, "a.b")
    ''
    """
    node = config
    for field in path.split("."):
        fields = sorted(node.keys()) if hasattr(node, "keys") else []
        if field not in fields:
            known = ", ".join(fields) or "none"
            return f"no field {field!r}, must be one of {known}"
        node = node[field]
    return ""
