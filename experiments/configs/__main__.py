"""Print the catalogue: configurations, their variants, and every field.

    python -m experiments.configs [NAME[:VARIANT] …]

Without a name: every configuration with its variants, then the fields of searches, of
retrainings and of each method, with their defaults and what they are. With names: what
is known of each, and its fields' values.
"""

import itertools
import sys
from collections.abc import Iterator, Sequence

from ml_collections import ConfigDict

from experiments.configs import base, catalogue, retraining
from nasjax.base import InputError
from nasjax.methods import METHODS


def main(arguments: Sequence[str]) -> int:
    """Print what is asked for."""
    try:
        if not arguments:
            print("\n".join(itertools.chain(listing(), fields())))
        for text in arguments:
            print("\n".join(described(text)))
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def listing() -> Iterator[str]:
    """Every configuration, by the command that launches it."""
    every = catalogue.entries().values()
    for command, entries in itertools.groupby(every, lambda one: one.command):
        yield f"# python -m experiments.{command} --config=NAME[:VARIANT]"
        for entry in entries:
            others = " ".join(f":{variant}" for variant in entry.variants)
            also = f" ({entry.also})" if entry.also else ""
            yield f"{entry.name}{also}  {others}  {entry.title}"
        yield ""


def fields() -> Iterator[str]:
    """Every field of searches and of retrainings, and every method's."""
    stream = {"data": retraining.STREAM}
    for title, blocks in (
        ("searches", base.FIELDS),
        ("retrainings", retraining.FIELDS),
        ("retrainings on ImageNet", stream),
    ):
        yield f"# fields of {title}"
        for block, of_block in blocks.items():
            for name, field in of_block.items():
                is_empty = isinstance(field.default, type)
                default = "none" if is_empty else field.default
                yield f"{block}.{name} = {default}  # {field.about}"
        yield ""
    for name, make in METHODS.items():
        yield f"# fields of {name}: {base.summary_of(make)}"
        about = base.arguments_of(make)
        for argument, value in base.method_block(name, make).items():
            if argument != "name":
                yield f"method.{argument} = {value}  # {about.get(argument, '')}"
        yield ""


def described(text: str) -> Iterator[str]:
    """What is known of a configuration, and the values of its fields."""
    entry = catalogue.find(text)
    if entry is not None:
        yield entry.about
        yield ""
    yield from _values(catalogue.load(text))


def _values(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _values(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} = {value}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
