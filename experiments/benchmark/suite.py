"""What is measured: each function yields lines, as dictionaries."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.benchmark import machine, targets
from experiments.benchmark.worker import attempt, measure
from nasjax import genotypes, layers, methods, spaces, supernet
from nasjax.base import InputError

Line = dict[str, Any]

#: How PyTorch runs what a method runs: sub-graphs of one operation an edge, or None
#: for the mixture. What is not here has no counterpart.
_COUNTERPARTS: dict[str, int | None] = {
    "darts": None,
    "sd_darts": None,
    "snas": None,
    "gdas": 1,
    "stc_nas": 1,
    "stc_nas_sd": 1,
    "msg_das": 2,
    "gumbel_js": 2,
}
_FORMATS = ("nchw", "channels_last")


class Options(NamedTuple):
    """What the flags say; None stands for the default of what is measured.

    Attributes:
      method: of a search step.
      space: of a search step.
      genotype: name or file, of a retraining step.
      channels: C.
      num_cells: L, or N, cells a stage, of NAS-Bench-201.
      batch_size: B.
      dtype: of the activations.
      depthwise: form of the depthwise convolution.
      engine: of a compiled search step (`supernet.build`).
      num_steps: timed, after one that is not.
      num_devices: that share a batch.
      target: that a step is compiled for.
      hlo: file for the optimised program, with the former; None for none.
      methods: set beside darts, by their memory.
      window: K, of teachers.
      stream: arguments of `streaming.measure`, but for the batch.
      torch: measure PyTorch's side too.
      compile_torch: and `torch.compile`'s.
    """

    method: str = "darts"
    space: str = "darts"
    genotype: str = "DARTS_V2"
    channels: int | None = None
    num_cells: int | None = None
    batch_size: int | None = None
    dtype: str = "float32"
    depthwise: str = "auto"
    engine: str = "auto"
    num_steps: int = 5
    num_devices: int = 4
    target: str = "h200"
    hlo: str | None = None
    methods: Sequence[str] = ()
    window: int = 2
    stream: Mapping[str, Any] = {}
    torch: bool = False
    compile_torch: bool = False

    def sizes(self, channels: int, num_cells: int, batch_size: int) -> dict[str, Any]:
        """Settings of every step, with these sizes where the flags name none."""
        return {
            "channels": self.channels or channels,
            "num_cells": self.num_cells or num_cells,
            "batch_size": self.batch_size or batch_size,
            "dtype": self.dtype,
            "num_steps": self.num_steps,
        }

    def search_sizes(self) -> dict[str, Any]:
        """Settings of a search step, by default those of the papers."""
        cells = 5 if self.space == "nasbench201" else 8
        return {"space": self.space, **self.sizes(16, cells, 64)}

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
          InputError: naming the flag, its value and what it takes.
        """
        choices: dict[str, Any] = {
            "method": methods.METHODS,
            "space": spaces.SPACES,
            "depthwise": layers.DEPTHWISE_FORMS,
            "engine": supernet.ENGINES,
            "target": targets.TARGETS,
        }
        for flag, known in choices.items():
            if getattr(self, flag) not in known:
                raise InputError(
                    f"flag --{flag} is {getattr(self, flag)!r}; it must be one of "
                    f"{', '.join(sorted(known))}"
                )
        if self.torch and importlib.util.find_spec("torch") is None:
            raise InputError(
                "flag --against is 'torch', which is not installed; "
                'pip install -e ".[bench]", or --against=none'
            )
        if self.torch and importlib.util.find_spec("tests") is None:
            raise InputError(
                "flag --against is 'torch', whose networks are those of the tests; "
                "run this from the repository's root"
            )
        if self.compile_torch and not self.torch:
            raise InputError("flag --compile_torch needs --against=torch")


def search_step(options: Options) -> Iterator[Line]:
    """The bilevel step of a method."""
    sizes = options.search_sizes()
    _check_counterpart(options)
    ours = measure(
        "nasjax",
        "search_step",
        method=options.method,
        depthwise=options.depthwise,
        **sizes,
    )
    head = {"what": "search_step", "method": options.method, **_named(options, sizes)}
    settings = sizes | {"subgraphs": _COUNTERPARTS.get(options.method)}
    yield head | ours | _torch(options, "search_step", settings) | machine.facts()


def _check_counterpart(options: Options) -> None:
    if options.torch and options.method not in _COUNTERPARTS:
        raise InputError(
            f"flag --against is 'torch', which has no counterpart of "
            f"{options.method}, only of {', '.join(_COUNTERPARTS)}"
        )


def compile_step(options: Options) -> Iterator[Line]:
    """The bilevel step of a method, compiled for a device that need not be there.

    Raises:
      InputError: the compiler is not installed, or PyTorch has no counterpart.
    """
    _check_compiler(options.target)
    _check_counterpart(options)
    sizes = options.search_sizes() | {
        "method": options.method,
        "depthwise": options.depthwise,
        "engine": options.engine,
    }
    del sizes["num_steps"]
    head = {"what": "compile", "target": options.target, **sizes}
    found, why = attempt(
        "compiler", "step", target=options.target, hlo=options.hlo, **sizes
    )
    line: Line = {"compiled": found is not None}
    line |= {"why": why} if found is None else found
    if options.torch:
        kernels = measure(
            "torch_kernels",
            "step",
            space=options.space,
            num_cells=sizes["num_cells"],
            subgraphs=_COUNTERPARTS[options.method],
        )["kernels"]
        line["torch_kernels"] = kernels
        seconds = kernels * targets.EAGER_SECONDS_PER_LAUNCH
        line["modelled_torch_launch_seconds"] = round(seconds, 6)
    yield head | line | machine.facts()


def _check_compiler(target: str) -> None:
    extra = targets.EXTRA[target]
    try:
        found = importlib.util.find_spec(targets.MODULE[extra]) is not None
    except ModuleNotFoundError:  # of the package around it
        found = False
    if not found:
        raise InputError(
            f"flag --target is {target!r}, whose compiler is not installed; "
            f'pip install --no-deps of what the extra "{extra}" of setup.cfg lists'
        )


def share(options: Options) -> Iterator[Line]:
    """What a method's step takes of the mixture's, both steps in turn.

    Raises:
      InputError: the method is the mixture itself, or PyTorch is asked for.
    """
    if options.torch:
        raise InputError("flag --against is 'torch'; --what=share has none of it")
    if options.method == "darts":
        raise InputError(
            "flag --method is 'darts', the mixture itself; --what=share takes another"
        )
    sizes = options.search_sizes() | {
        "method": options.method,
        "depthwise": options.depthwise,
    }
    yield (
        {"what": "share", **sizes}
        | measure("nasjax", "share", **sizes)
        | machine.facts()
    )


def retrain_step(options: Options) -> Iterator[Line]:
    """The step that trains a discrete network."""
    genotype = genotypes.get(options.genotype)
    if genotype.arch_str:
        raise InputError(
            f"flag --genotype is {options.genotype!r}, of NAS-Bench-201; "
            "it must be of the DARTS family"
        )
    sizes = options.sizes(36, 20, 32)
    settings: Line = {"genotype": genotype.to_json(), **sizes}
    ours = measure("nasjax", "retrain_step", depthwise=options.depthwise, **settings)
    named = {"genotype": options.genotype, **_named(options, sizes)}
    there = _torch(options, "retrain_step", settings)
    yield {"what": "retrain_step", **named} | ours | there | machine.facts()


def depthwise(options: Options) -> Iterator[Line]:
    """Each form of the depthwise convolution, at the kernels of the DARTS space."""
    sizes: Line = {
        "channels": options.channels or 16,
        "image_size": 32,
        "batch_size": options.batch_size or 64,
        "dtype": options.dtype,
        "num_steps": 4 * options.num_steps,
    }
    forms = [form for form in layers.DEPTHWISE_FORMS if form != "auto"]
    for kernel_size, dilation in ((3, 1), (5, 1), (3, 2), (5, 2)):
        settings = sizes | {"kernel_size": kernel_size, "dilation": dilation}
        head = {"what": "depthwise", **settings}
        for form in forms:
            found = measure("nasjax", "depthwise", form=form, **settings)
            yield head | {"side": "nasjax", "form": form} | found | machine.facts()
        for order in _FORMATS if options.torch else ():
            found = measure("torch", "depthwise", memory_format=order, **settings)
            yield head | {"side": "torch", "form": order} | found | machine.facts()


def memory(options: Options) -> Iterator[Line]:
    """The peak of each method's step, compiled and not run, beside the mixture's.

    Raises:
      InputError: an unknown method.
    """
    from experiments.benchmark.memory import METHODS  # here: not every process needs it

    for name in options.methods:
        if name not in METHODS:
            known = ", ".join(sorted(METHODS))
            raise InputError(f"flag --methods has {name!r}; it takes {known}")
    sizes = options.search_sizes()
    del sizes["num_steps"]
    mixture = 0
    for name in ("darts", *options.methods):
        settings = {**sizes, "depthwise": options.depthwise}
        found = measure("memory", "step", method=name, **settings)
        mixture = mixture or found["peak_bytes"]
        part = round(found["peak_bytes"] / mixture, 3)
        yield {"what": "memory", "method": name, **sizes, **found, "of_mixture": part}


def teachers(options: Options) -> Iterator[Line]:
    """What SD-DARTS's two kinds of teachers cost, on a narrow supernet."""
    sizes = {"space": options.space, **options.sizes(8, 3, 64)}
    found = measure("memory", "teachers", window=options.window, **sizes)
    del found["process_peak_bytes"]  # of all three
    for kind, figures in found.items():
        yield {"what": "teachers", "teachers": kind, **sizes, **figures}


def stream(options: Options) -> Iterator[Line]:
    """How fast images are decoded."""
    from experiments.benchmark import streaming  # here: grain takes a second

    batch_size = options.batch_size or 64
    for line in streaming.measure(batch_size=batch_size, **options.stream):
        yield {"what": "streaming", **line}


def ring(options: Options) -> Iterator[Line]:
    """What the teachers' ring adds to a step of SD-DARTS."""
    sizes = options.search_sizes()
    found = measure("nasjax", "ring", depthwise=options.depthwise, **sizes)
    yield {"what": "ring", **_named(options, sizes)} | found | machine.facts()


def devices(options: Options) -> Iterator[Line]:
    """One device, and several that share its batch.

    On a CPU the several are made of its cores: they can be no faster than the one,
    and what they take longer is the cost of sharing.
    """
    sizes = options.search_sizes() | {
        "method": options.method,
        "depthwise": options.depthwise,
    }
    one = 0.0
    for number in (1, options.num_devices):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={number}"}
        found = measure(
            "nasjax", "devices", num_devices=number, environment=flags, **sizes
        )
        one = one or found["step_seconds_median"]
        found["step_of_one_device"] = found["step_seconds_median"] / one
        head = {"what": "devices", "num_devices": number, **sizes}
        yield head | found | machine.facts()


def _named(options: Options, sizes: Mapping[str, Any]) -> Line:
    return {**sizes, "depthwise": options.depthwise}


def _torch(options: Options, job: str, settings: Mapping[str, Any]) -> Line:
    """The figures of PyTorch in each format, each under its name, and the best."""
    if not options.torch:
        return {}
    line: Line = {}
    medians = []
    for order in _FORMATS:
        found = measure(
            "torch", job, memory_format=order, compile_torch=False, **settings
        )
        line |= {f"torch_{order}_{name}": value for name, value in found.items()}
        medians.append(found["step_seconds_median"])
    if options.compile_torch:
        found = measure(
            "torch", job, memory_format="nchw", compile_torch=True, **settings
        )
        line |= {f"torch_compile_{name}": value for name, value in found.items()}
    return {"torch_step_seconds_median": min(medians), **line}


#: By the name the flag gives.
MEASUREMENTS = {
    "search_step": search_step,
    "share": share,
    "retrain_step": retrain_step,
    "depthwise": depthwise,
    "ring": ring,
    "memory": memory,
    "teachers": teachers,
    "streaming": stream,
    "devices": devices,
    "compile": compile_step,
}
