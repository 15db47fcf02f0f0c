"""What an optimised XLA program asks of a device: launches, waits, bytes.

Reads ``compiled.as_text()``. A loop of known trip count counts its body and condition
that often, a conditional the mean of its branches.
"""

import collections
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

#: Instructions that launch nothing.
_FREE = {
    *("parameter", "tuple", "get-tuple-element", "constant", "bitcast", "after-all"),
    *("partition-id", "replica-id", "opt-barrier", "fusion-done", "copy-done"),
    *("async-start", "async-done", "async-update", "add-dependency"),
}
_BITS = {"pred": 8, "token": 0, "bf16": 16, "f8e4m3fn": 8, "f8e5m2": 8}
#: What reads, or writes, a part of its first operand.
_READS_A_PART = {"dynamic-slice", "slice", "gather"}
_WRITES_A_PART = "dynamic-update-slice"


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
      name: of its result.
      code: what it does.
      size: bytes of its result.
      operands: names.
      rest: of the line, from the code on.
    """

    name: str
    code: str
    size: int
    operands: tuple[str, ...]
    rest: str


class Computation(NamedTuple):
    """A function of a program: its instructions, the last of which is its root."""

    instructions: tuple[Instruction, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each result."""
        return {one.name: one.size for one in self.instructions}

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters in their order."""
        own = [one for one in self.instructions if one.code == "parameter"]
        number = re.compile(r"parameter\((\d+)\)")
        return [one.name for one in sorted(own, key=lambda p: _int(number, p.rest))]


def _int(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    assert found is not None
    return int(found[1])


class Program(NamedTuple):
    """A parsed program."""

    computations: Mapping[str, Computation]
    entry: str


class Launches(NamedTuple):
    """What a program, or a part of one, asks for.

    Attributes:
      kernels: launched, library calls among them.
      branches: conditionals run; of data on the device, the host waits for each.
      loops_of_unknown_length: loops run, for whose every turn the host waits.
      bytes_accessed: read and written by the kernels, each by itself.
      by_kind: kernels of each instruction, fusion kind or library call.
    """

    kernels: float
    branches: float
    loops_of_unknown_length: float
    bytes_accessed: float
    by_kind: Mapping[str, float]

    def times(self, number: float) -> "Launches":
        """So many runs."""
        kinds = {kind: number * value for kind, value in self.by_kind.items()}
        return Launches(
            number * self.kernels,
            number * self.branches,
            number * self.loops_of_unknown_length,
            number * self.bytes_accessed,
            kinds,
        )

    def plus(self, other: "Launches") -> "Launches":
        """One after the other."""
        kinds = dict(self.by_kind)
        for kind, number in other.by_kind.items():
            kinds[kind] = kinds.get(kind, 0) + number
        return Launches(
            self.kernels + other.kernels,
            self.branches + other.branches,
            self.loops_of_unknown_length + other.loops_of_unknown_length,
            self.bytes_accessed + other.bytes_accessed,
            kinds,
        )


_NOTHING = Launches(0, 0, 0, 0, {})


def count(text: str) -> Launches:
    """What a program's text asks for in one run."""
    program = parse(text)
    return _count(program, program.entry, {})


def parse(text: str) -> Program:
    """The computations of an HLO text.

    Raises:
      ValueError: a text without an entry computation.
    """
    computations: dict[str, list[Instruction]] = {}
    current, entry = None, None
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%?([\w.\-]+) (\(.*\) -> .* )?\{", line)
        if head:
            current = head[2]
            computations[current] = []
            entry = current if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current and " = " in line:
            computations[current].append(_instruction(line.strip()))
    if entry is None:
        raise ValueError("the text has no ENTRY computation; it is no HLO program")
    return Program({k: Computation(tuple(v)) for k, v in computations.items()}, entry)


def _instruction(line: str) -> Instruction:
    name, rest = line.removeprefix("ROOT ").split(" = ", 1)
    end = _closing(rest) if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].strip()
    code = rest.split("(", 1)[0].strip()
    operands = rest[len(code) : len(code) + _closing(rest[len(code) :])]
    names = tuple(re.findall(r"%([\w.\-]+)", operands))
    return Instruction(name.lstrip("%"), code, _bytes(shape), names, rest)


def _closing(text: str) -> int:
    """The place after the parenthesis that closes the first."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place + 1
    return len(text)


def _bytes(shape: str) -> int:
    total = 0
    for kind, sizes in re.findall(r"(\w+)\[([\d,]*)\]", shape):
        digits = re.search(r"\d+$", kind)
        bits = _BITS.get(kind, int(digits[0]) if digits else 8)
        total += bits * math.prod(int(n) for n in sizes.split(",") if n) // 8
    return total


def _count(program: Program, name: str, seen: dict[str, Launches]) -> Launches:
    if name not in seen:
        computation = program.computations[name]
        total, sizes = _NOTHING, computation.sizes
        for one in computation.instructions:
            total = total.plus(_of_instruction(program, one, sizes, seen))
        seen[name] = total
    return seen[name]


def _of_instruction(
    program: Program,
    one: Instruction,
    sizes: Mapping[str, int],
    seen: dict[str, Launches],
) -> Launches:
    def inner(name: str) -> Launches:
        return _count(program, name.strip().lstrip("%"), seen)

    if one.code == "while":
        trips = re.search(r'known_trip_count":\{"n":"(\d+)"', one.rest)
        parts = re.findall(r"(?:body|condition)=%?([\w.\-]+)", one.rest)
        turn = inner(parts[0]).plus(inner(parts[1]))
        if trips:
            return turn.times(int(trips[1]))
        return turn._replace(loops_of_unknown_length=turn.loops_of_unknown_length + 1)
    if one.code == "conditional":
        total = _NOTHING
        names = list(_branches(one.rest))
        for name in names:
            total = total.plus(inner(name).times(1 / len(names)))
        return total._replace(branches=total.branches + 1)
    if one.code == "call":
        return inner(_called(one.rest, "to_apply"))
    if one.code in _FREE:
        return _NOTHING
    return Launches(1, 0, 0, _traffic(program, one, sizes), {_kind(one): 1})


def _branches(rest: str) -> Iterator[str]:
    listed = re.search(r"branch_computations=\{([^}]*)\}", rest)
    if listed:
        yield from listed[1].split(",")
    else:
        yield from re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", rest)


def _called(rest: str, key: str) -> str:
    found = re.search(rf"{key}=%?([\w.\-]+)", rest)
    assert found is not None
    return found[1]


def _kind(one: Instruction) -> str:
    key = {"custom-call": r'custom_call_target="([^"]+)"', "fusion": r"kind=k(\w+)"}
    found = re.search(key[one.code], one.rest) if one.code in key else None
    return f"{one.code} {found[1]}" if found else one.code


def _traffic(program: Program, one: Instruction, sizes: Mapping[str, int]) -> int:
    """Bytes that a kernel reads and writes; of a part of an array the part alone."""
    if one.code == "fusion":
        inside = program.computations[_called(one.rest, "calls")]
        return _traffic_inside(inside)
    read = sum(sizes.get(name, 0) for name in one.operands)
    if one.code in _READS_A_PART:
        return 2 * one.size
    if one.code == _WRITES_A_PART:
        return 2 * sizes.get(one.operands[1], 0)
    return read + one.size


def _traffic_inside(inside: Computation) -> int:
    sizes = inside.sizes
    users: dict[str, list[Instruction]] = collections.defaultdict(list)
    for one in inside.instructions:
        for name in one.operands:
            users[name].append(one)
    total = 0
    for name in inside.parameters:
        total += min(
            sizes[name], sum(_read_of(name, one, sizes) for one in users[name])
        )
    return total + _written(inside, sizes)


def _read_of(name: str, user: Instruction, sizes: Mapping[str, int]) -> int:
    """Bytes of an operand that an instruction of a fusion reads."""
    if user.operands[0] == name:
        if user.code in _READS_A_PART:
            return user.size
        if user.code == _WRITES_A_PART:
            return 0  # it is written in place
    return sizes[name]


def _written(inside: Computation, sizes: Mapping[str, int]) -> int:
    known = {one.name: one for one in inside.instructions}
    root = inside.instructions[-1]
    results = [known[n] for n in root.operands] if root.code == "tuple" else [root]
    total = 0
    for one in results:
        while one.code == "bitcast":
            one = known[one.operands[0]]
        part = one.code == _WRITES_A_PART
        total += sizes[one.operands[1]] if part else one.size
    return total
