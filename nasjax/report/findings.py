"""What a run found, in sentences made of its figures alone."""

from collections import Counter

import numpy as np

from nasjax.analysis.alpha import edge_margins
from nasjax.analysis.collapse import collapse_reasons
from nasjax.report.drawing.units import number, quantity
from nasjax.report.history import (
    Names,
    changes,
    deciding_edges,
    derived,
    epochs_done,
    epochs_planned,
    names_of,
)
from nasjax.report.workdir import Run
from nasjax.tabular import NUM_ARCHITECTURES, headline


def status(run: Run) -> str:
    """How far the run got.

    Whether an unfinished run still goes cannot be seen from its files.
    """
    done, planned = epochs_done(run), epochs_planned(run)
    of = f" of {planned}" if planned else ""
    if run.finished:
        return f"finished after {done}{of} epochs" if done else "finished"
    if done:
        return f"not finished: epoch {done}{of} is done"
    return "no data yet" if not run.rows else f"not finished: epoch 0{of} is done"


def findings(run: Run) -> list[str]:
    """The sentences, most important first."""
    return (
        _tested(run)
        + _looked_up(run)
        + _accuracy(run)
        + _skips(run)
        + _alphas(run)
        + _settled(run)
    )


def _tested(run: Run) -> list[str]:
    accuracy = run.figures("result").get("test_accuracy")
    if accuracy is None:
        return []
    return [
        f"The trained network has {quantity('accuracy', accuracy)} on the test split, "
        "which was evaluated once, after the last step."
    ]


def collapse(run: Run) -> list[str]:
    """Why what a run found may be the end of a collapse, see `collapse_reasons`."""
    if run.genotype is None:
        return []
    _, values = run.curves("analysis").get("eigenvalue", ([], []))
    epochs = run.epochs("analysis", "eigenvalue")
    finite = [
        (epoch, value)
        for epoch, value in zip(epochs, values, strict=True)
        if np.isfinite(value)
    ]
    return collapse_reasons(run.genotype, eigenvalues=finite)


def _looked_up(run: Run) -> list[str]:
    return [
        f"NAS-Bench-201 has {row.accuracy:.2f} % {row.split} accuracy on {row.dataset} "
        f"for what was found, {row.regret:.2f} below the best: rank {row.rank:,} of "
        f"{NUM_ARCHITECTURES:,}."
        for row in headline(run.lookups)
    ]


def _accuracy(run: Run) -> list[str]:
    for phase in ("valid", "train"):
        for name, (_, values) in run.curves(phase).items():
            finite = [v for v in values if np.isfinite(v)]
            if "accuracy" in name and finite:
                best = max(finite)
                epoch = run.epochs(phase, name)[values.index(best)]
                which = "network" if run.is_training else "supernet"
                return [
                    f"The last {phase} {name} of the {which} is "
                    f"{quantity(name, values[-1])}, the best "
                    f"{quantity(name, best)} (epoch {epoch})."
                ]
    return []


def _skips(run: Run) -> list[str]:
    if run.genotype is None:
        return []
    parts = [
        f"{count} of {len(run.genotype.cells[name])} edges of the {_cell(name)}"
        for name, count in run.genotype.skip_connects.items()
    ]
    what = "is trained" if run.is_training else "was found"
    return [f"Of what {what}, {' and '.join(parts)} are skip connections."]


def _cell(name: str) -> str:
    return "cell" if name == "cell" else f"{name} cell"


def _alphas(run: Run) -> list[str]:
    sentences = []
    for name, history in run.alphas.items():
        names = names_of(run, *history.shape[1:])
        if not np.isfinite(history[-1]).all():
            sentences.append(
                f"The alpha of the {_cell(name)} has values that are not finite."
            )
            continue
        sentences.append(_strongest(run, name, names))
    return sentences


def _strongest(run: Run, cell_type: str, names: Names) -> str:
    history = run.alphas[cell_type]
    final = history[-1]
    winners = Counter(names.operations[i] for i in final.argmax(axis=-1).tolist())
    operation, count = winners.most_common(1)[0]
    sentence = (
        f"In the {_cell(cell_type)}, {operation} has the largest alpha on {count} of "
        f"{len(final)} edges"
    )
    gaps = edge_margins(final)
    if not np.isfinite(gaps).all():
        return sentence + "."
    sentence += (
        f"; on average the first is {number(float(gaps.mean()))} above the second"
    )
    start = edge_margins(history[0])
    if len(history) > 1 and np.isfinite(start).all():
        sentence += f" ({number(float(start.mean()))} at the start)"
    ties = int((gaps == 0).sum())
    if ties:
        return (
            f"{sentence}. On {ties} {'edges' if ties > 1 else 'edge'} they are equal."
        )
    return f"{sentence}.{_closest_call(run, cell_type, names)}"


def _closest_call(run: Run, cell_type: str, names: Names) -> str:
    """Of the edges whose choice is seen in the cell; of an unknown space, nothing."""
    final = run.alphas[cell_type][-1]
    deciding = deciding_edges(run, cell_type)
    if not deciding:
        return ""
    gaps = edge_margins(final)
    edge = min(deciding, key=lambda edge: float(gaps[edge]))
    second, first = (names.operations[i] for i in np.argsort(final[edge])[-2:])
    return (
        f" The closest call is edge {names.edge_labels[edge]}: {first} over {second} "
        f"by {number(float(gaps[edge]))}."
    )


def _settled(run: Run) -> list[str]:
    genotypes = derived(run)
    if len(genotypes) < 2:
        return []
    epochs = sorted({change.epoch for change in changes(genotypes)})
    if not epochs:
        return ["The derived cells are the same from the start to the last epoch."]
    return [
        f"The derived cells changed in {len(epochs)} of {len(genotypes) - 1} epochs, "
        f"last in epoch {epochs[-1]}."
    ]
