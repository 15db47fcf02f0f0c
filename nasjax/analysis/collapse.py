"""Signs that a search has collapsed, each with its reason."""

from collections.abc import Sequence

import numpy as np

from nasjax.genotype import Genotype, read_cell
from nasjax.spaces import SPACES


def collapse_reasons(
    genotype: Genotype,
    *,
    eigenvalues: Sequence[tuple[int, float]] = (),
    most_skips: int | None = None,
) -> list[str]:
    """Why what was found should not be trusted; empty where nothing speaks for it.

    Four signs: too many skip connections, no operation that has weights, an output that
    nothing reaches, and `eigenvalue_rise`. The first two are not looked for in a
    reduction cell: DARTS+ counts in the normal cell, and the published reduction cells
    of DARTS are pools and three skip connections.

    Args:
      genotype: what was found.
      eigenvalues: (epoch, dominant eigenvalue) in the course of the search.
      most_skips: that a cell may have; None for as many as a node keeps edges (2 in
        the DARTS space: P-DARTS keeps as many, DARTS+, arXiv 1909.06035, stops at them;
        STC-NAS Fig. 8), and in a space that keeps all, as NAS-Bench-201, half of them.

    >>> collapse_reasons(
    ...     Genotype("nasbench201", arch_str="|skip_connect~0|+|none~0|skip_connect~1|")
    ... )
    ['2 of 3 edges of the cell are skip connections (more than 1).', \
'The cell has no operation with weights.']
    """
    reasons = []
    for name, cell in genotype.cells.items():
        spoken = "cell" if name == "cell" else f"{name} cell"
        limit = most_skips
        if limit is None:
            limit = _kept(genotype) or len(cell) // 2
        skips = genotype.skip_connects[name]
        searched = name != "reduce"
        if searched and skips > limit:
            reasons.append(
                f"{skips} of {len(cell)} edges of the {spoken} are skip connections "
                f"(more than {limit})."
            )
        if searched and not any("conv" in operation for operation, _ in cell):
            reasons.append(f"The {spoken} has no operation with weights.")
        if not _reaches_output(genotype, name):
            reasons.append(f"Nothing reaches the output of the {spoken}.")
    rise = eigenvalue_rise(eigenvalues)
    if rise is not None:
        epoch, ratio = rise
        reasons.append(
            "The dominant eigenvalue of the Hessian in alpha rose to "
            f"{ratio:.3g} times what it was: by epoch {epoch} early stopping of Zela "
            "et al. (arXiv 1909.09656) would have ended the search."
        )
    return reasons


def _kept(genotype: Genotype) -> int | None:
    """How many edges a node of its space keeps; None for all, or where unknown."""
    known = SPACES.get(genotype.space)
    return None if known is None else known().edges_per_node


def _reaches_output(genotype: Genotype, cell_type: str) -> bool:
    """Whether any node that the cell returns gets something from its inputs."""
    edges, output = read_cell(genotype, cell_type)
    inputs = set(range(edges[0][-1]))  # every node has an edge
    reached = set(inputs)
    for operation, source, target in edges:
        if source in reached and operation != "none":
            reached.add(target)
    return bool((reached - inputs) & set(output))


def eigenvalue_rise(
    eigenvalues: Sequence[tuple[int, float]], *, span: int = 5, ratio: float = 0.75
) -> tuple[int, float] | None:
    """The first epoch at which the eigenvalue has risen too fast.

    Where the mean over ``span`` epochs, divided by that ``span`` epochs later, falls
    below ``ratio``. Source: Zela et al., arXiv 1909.09656, section 4.3, whose mean is
    centred; here it looks back only.

    Args:
      eigenvalues: (epoch, eigenvalue), epochs rising.
      span: k, epochs.
      ratio: below which a search is to end.

    Returns:
      The epoch and how many times as large the eigenvalue was, or None.

    >>> eigenvalue_rise([(epoch, 0.1 * epoch) for epoch in range(1, 21)])
    (10, 2.666666666666667)
    """
    if not eigenvalues:
        return None
    epochs = np.array([epoch for epoch, _ in eigenvalues])
    values = np.abs([value for _, value in eigenvalues])

    def mean(epoch: int) -> float | None:
        window = (epochs > epoch - span) & (epochs <= epoch)
        whole = epochs.min() <= epoch - span + 1
        return float(values[window].mean()) if window.any() and whole else None

    for epoch in epochs.tolist():
        before, now = mean(epoch - span), mean(epoch)
        if before and now and before / now < ratio:
            return epoch, now / before
    return None
