"""The measurements of docs/performance.md, and their lines as Markdown."""

from collections.abc import Iterator, Sequence

from experiments.benchmark import suite
from experiments.benchmark.suite import Line, Options

_METHODS = ("darts", "stc_nas", "gdas", "msg_das", "sd_darts")


def measure(options: Options) -> Iterator[Line]:
    """Every line of the document, at the sizes the flags give or the papers'."""
    for space in ("darts", "nasbench201"):
        for method in _METHODS:
            yield from suite.search_step(options._replace(method=method, space=space))
    yield from suite.retrain_step(options)
    plain = options._replace(method="darts", space="darts")
    yield from suite.ring(plain)
    yield from suite.devices(plain)
    yield from suite.depthwise(options)


def markdown(lines: Sequence[Line]) -> str:
    """One table of the steps and one of the depthwise forms, as far as measured."""
    parts = []
    steps = [line for line in lines if line["what"] != "depthwise"]
    if steps:
        parts.append(_table(_STEP_COLUMNS, list(map(_step_row, steps))))
    forms = [line for line in lines if line["what"] == "depthwise"]
    if forms:
        parts.append(_table(_FORM_COLUMNS, list(map(_form_row, forms))))
    return "\n".join(parts)


_STEP_COLUMNS = (
    "what",
    "C, cells, B",
    "to first step",
    "step: median (min to max)",
    "images/s",
    "peak, compiled",
    "peak, process",
    "PyTorch NCHW",
    "PyTorch channels_last",
    "of PyTorch's best",
    "load",
)


def _step_row(line: Line) -> list[str]:
    median, low, high = (
        line[f"step_seconds_{name}"] for name in ("median", "min", "max")
    )
    there = [
        line.get(f"torch_{order}_step_seconds_median")
        for order in ("nchw", "channels_last")
    ]
    best = line.get("torch_step_seconds_median")
    return [
        _name(line),
        f"{line['channels']}, {line['num_cells']}, {line['batch_size']}",
        f"{line['seconds_to_first_step']:.1f} s",
        f"{_seconds(median)} ({_seconds(low)} to {_seconds(high)})",
        f"{line['images_per_second']:.1f}",
        f"{line['peak_bytes'] / 1e9:.2f} GB",
        f"{line['steps_process_peak_bytes'] / 1e9:.2f} GB",
        *("" if value is None else _seconds(value) for value in there),
        "" if best is None else f"{median / best:.2f} ×",
        f"{line['load_average'][0]:.1f}",
    ]


def _name(line: Line) -> str:
    what = line["what"]
    if what == "search_step":
        return f"{line['method']}, {line['space']}"
    if what == "retrain_step":
        return f"retraining {line['genotype']}"
    if what == "share":
        share = f"{line['share_of_mixture']:.2f} × of the mixture"
        return f"{line['method']}, {line['space']}: {share}"
    if what == "ring":
        return f"ring: {100 * line['ring_share_of_step']:.2f} % of an SD-DARTS step"
    return f"{line['num_devices']} devices: {line['step_of_one_device']:.2f} × of one"


_FORM_COLUMNS = ("kernel", "dilation", "form", "forward and gradients", "load")


def _form_row(line: Line) -> list[str]:
    return [
        f"{line['kernel_size']}×{line['kernel_size']}",
        str(line["dilation"]),
        f"{line['side']} {line['form']}",
        f"{1e3 * line['step_seconds_median']:.2f} ms",
        f"{line['load_average'][0]:.1f}",
    ]


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in head)
