"""Weights and multiply-accumulates of a discrete network.

    python -m experiments.cost --genotype=NAME|FILE|WORKDIR [--dataset=cifar10]
        [--channels=36] [--num_cells=20] [--num_classes=10]
    python -m experiments.cost --all [--dataset=imagenet]

NAME is a published cell, FILE holds any form of a genotype (FILE:NAME one of several
that it assigns to names) or is such a text itself, WORKDIR the folder of a finished
search. Sizes are by default those of the papers: C=36, L=20 for CIFAR, C=48, L=14 for
ImageNet, C=16, N=5 for NAS-Bench-201. Every tap of a convolution counts, and the
linear layer once. Nothing is built or run. Exit code 2: bad input, told in one line.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments.launch import app
from nasjax import genotypes, network
from nasjax.base import InputError
from nasjax.genotype import Genotype

# Other launchers have some of these flags too; tests import several of them together.
_GENOTYPE = flags.DEFINE_string(
    "genotype",
    None,
    "What to count: a name, a file, a text, a workdir.",
    allow_override=True,
)
_ALL = flags.DEFINE_bool("all", False, "Every published cell, as a table.")
_DATASET = flags.DEFINE_string(
    "dataset", "cifar10", "Decides stem, image and classes.", allow_override=True
)
_SIZES = {
    name: flags.DEFINE_integer(name, None, text, allow_override=True)
    for name, text in (
        ("channels", "C of the first cells; the papers' by default."),
        ("num_cells", "L, or N of NAS-Bench-201; the papers' by default."),
        ("num_classes", "Y; the data set's by default."),
    )
}

#: Channels and cells of the papers' networks.
_CIFAR, _IMAGENET, _NASBENCH201 = (36, 20), (48, 14), (16, 5)


def sizes_of(genotype: Genotype, dataset: str, **given: int) -> dict[str, Any]:
    """Arguments of `network.cost`, the papers' where none is given."""
    channels, num_cells = _CIFAR
    if genotype.arch_str:
        channels, num_cells = _NASBENCH201
    elif dataset == "imagenet":
        channels, num_cells = _IMAGENET
    return {"dataset": dataset, "channels": channels, "num_cells": num_cells, **given}


def describe(genotype: Genotype, sizes: dict[str, Any]) -> str:
    """Counts of one network, in evaluation and with its auxiliary head.

    Raises:
      InputError: sizes that make no network.
    """
    rows = [("network", network.cost(genotype, **sizes))]
    if not genotype.arch_str:
        with_head = network.cost(genotype, **sizes, auxiliary=True)
        rows.append(("with auxiliary head", with_head))
    counted = ", ".join(f"{name}={value}" for name, value in sizes.items())
    lines = [genotype.source or genotype.to_text(), counted]
    lines.append(f"{'':19}  {'weights':>13}  {'MACs':>15}")
    lines += [f"{name:19}  {c.params:13,}  {c.macs:15,}" for name, c in rows]
    return "\n".join(lines)


def table(dataset: str, **given: int) -> str:
    """Counts of every published cell, and where it comes from.

    Raises:
      InputError: sizes that make no network.
    """
    lines: list[str] = []
    for name, genotype in genotypes.GENOTYPES.items():
        sizes = sizes_of(genotype, dataset, **given)
        cost = network.cost(genotype, **sizes)
        if not lines:
            counted = ", ".join(f"{size}={value}" for size, value in sizes.items())
            lines = [counted, f"{'cell':18}  {'weights':>10}  {'MACs':>13}  source"]
        lines.append(
            f"{name:18}  {cost.params:10,}  {cost.macs:13,}  {genotype.source}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Print the counts of what the flags name."""
    del argv
    if _ALL.value and _GENOTYPE.value:
        raise InputError("flags --all and --genotype exclude each other")
    given = {k: flag.value for k, flag in _SIZES.items() if flag.value is not None}
    if _ALL.value:
        print(table(_DATASET.value, **given))
    elif _GENOTYPE.value:
        genotype = genotypes.get(_GENOTYPE.value)
        print(describe(genotype, sizes_of(genotype, _DATASET.value, **given)))
    else:
        raise InputError(
            "flag --genotype=NAME|FILE|WORKDIR is missing; --all counts every "
            "published cell"
        )


if __name__ == "__main__":
    app.run(main)
