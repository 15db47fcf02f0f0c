"""Convert genotypes and trained networks; --output's suffix says into what.

    python -m experiments.convert --genotype=NAME|FILE|WORKDIR [--form=text|json]
    python -m experiments.convert --genotype=… --output=GENOTYPE.json|.txt
    python -m experiments.convert --weights=FILE [--genotype=…] --output=WEIGHTS
    python -m experiments.convert --weights=FILE [--genotype=…] --output=NETWORK.jax
        [--normalise] [--image_size=32] [--mean=M,M,M --std=S,S,S]
        [--platforms=cpu,cuda,tpu]

NAME is a published cell, WORKDIR the folder of a finished search; FILE holds any form
of a genotype (FILE:NAME is one of several that it assigns to names) or is such a text
itself. The genotype is printed, or written, as the DARTS code prints it (one of
NAS-Bench-201 as its string) or as JSON.

The FILE of --weights holds the weights of a discrete network by the names of PyTorch's
DARTS or NAS-Bench-201: ``.safetensors``, or ``.pt``, ``.pth``, ``.bin``, ``.tar`` where
PyTorch is installed, which are read without running what they hold. The sizes of the
network are read off the weights; its genotype too, if this library has written them.
Every array is checked by name and shape. WEIGHTS is ``.safetensors``, which says which
network it is of, or ``.pt``, ``.pth``. NETWORK.jax holds program and weights, for any
batch size, to be run by JAX alone; it is read again and compared before it is put in
place. It takes images normalised as in training; with ``--normalise`` it takes pixels
0..255 as uint8 and normalises them itself. Weights that this library has written say
how; for others give ``--mean`` and ``--std`` of each channel in units of [0, 1], and
``--image_size``. WEIGHTS as ``.safetensors`` keep it too. Exit code 2: bad input, told
in one line.
"""

from experiments.launch import environment

if __name__ == "__main__":
    environment.ready()

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.launch import app
from nasjax import genotypes
from nasjax.base import InputError, Tree
from nasjax.genotype import Genotype
from nasjax.interop import exported, trained
from nasjax.interop.images import Images
from nasjax.network import DATASETS
from nasjax.runtime.workdir import write_atomically

# Other launchers have some of these flags too; tests import several of them together.
_GENOTYPE = flags.DEFINE_string(
    "genotype", None, "A name, a file or a workdir.", allow_override=True
)
_FORM = flags.DEFINE_enum("form", "text", ["text", "json"], "What is printed.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights of a discrete network.")
_OUTPUT = flags.DEFINE_string("output", None, "File to write.")
_SIZE = flags.DEFINE_integer(
    "image_size",
    None,
    "Height and width of images; those of training by default.",
    lower_bound=8,
)
_MEAN, _STD = (
    flags.DEFINE_list(name, None, f"{text} of each channel, in units of [0, 1].")
    for name, text in (("mean", "Mean"), ("std", "Standard deviation"))
)
_NORMALISE = flags.DEFINE_bool(
    "normalise", False, "NETWORK.jax takes pixels 0..255 and normalises them itself."
)
_PLATFORMS = flags.DEFINE_list(
    "platforms", None, "Where NETWORK.jax will run; here by default."
)

_TEXTS = {".json": "json", ".txt": "text"}
_WEIGHT_FILES = (".safetensors", ".pt", ".pth")
_EXPORTED = ".jax"
_UNKNOWN = (
    "{} says neither their size nor how they are normalised, as files of other "
    "programs and of earlier versions do not; give --image_size, --mean and --std"
)


def main(argv: Sequence[str]) -> None:
    """Convert what the flags name."""
    del argv
    genotype = genotypes.get(_GENOTYPE.value) if _GENOTYPE.value else None
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"flag --output: {output.parent} is no folder")
    if _WEIGHTS.value:
        target: dict[str, Any] = {
            "image_size": _SIZE.value,
            "mean": _floats("mean", _MEAN),
            "std": _floats("std", _STD),
            "normalise": _NORMALISE.value,
            "platforms": _PLATFORMS.value,
        }
        print(_convert_weights(Path(_WEIGHTS.value), genotype, output, **target))
    elif genotype is None:
        raise InputError("flag --genotype or --weights is missing: what to convert")
    elif output is None:
        print(_as_text(genotype, _FORM.value))
    else:
        _check_suffix(output, tuple(_TEXTS), "of a genotype")
        _write_text(output, _as_text(genotype, _TEXTS[output.suffix]))
        print(output)


def _as_text(genotype: Genotype, form: str) -> str:
    return genotype.to_json() if form == "json" else genotype.to_text()


def _write_text(path: Path, text: str) -> None:
    try:
        write_atomically(path, text + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


def _check_suffix(path: Path, suffixes: Sequence[str], of_what: str) -> None:
    if path.suffix not in suffixes:
        raise InputError(
            f"flag --output: {path} is not a file {of_what}: {', '.join(suffixes)}"
        )


def _floats(name: str, flag: flags.FlagHolder[Any]) -> tuple[float, ...]:
    """The numbers of a flag; none where it is not given."""
    try:
        return tuple(map(float, flag.value or ()))
    except ValueError:
        raise InputError(
            f"flag --{name} is {','.join(flag.value)}; it is one number per channel, "
            "such as 0.485,0.456,0.406"
        ) from None


def _convert_weights(
    path: Path,
    genotype: Genotype | None,
    output: Path | None,
    *,
    image_size: int | None = None,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    **target: Any,
) -> str:
    """Write weights in another form; what to tell of it."""
    if output is None:
        raise InputError("flag --output is missing: the file to write")
    _check_suffix(output, (*_WEIGHT_FILES, _EXPORTED), "of a network")
    variables, network = trained.load(path, genotype)
    shape = _image_shape(variables, network, image_size)
    network = network._replace(images=_images(network, shape, mean, std))
    sizes = network.sizes()
    told = f"images: {network.images or _UNKNOWN.format(path)}\n"
    told += ", ".join(f"{name}={value}" for name, value in sizes.items())
    told += f", auxiliary head: {'yes' if network.auxiliary else 'no'}"
    if output.suffix == _EXPORTED:
        told += "\n" + _export(output, variables, network, shape=shape, **target)
    else:
        images = network.images
        trained.save(output, variables, network.genotype, **sizes, images=images)
    return f"{told}\n{output}"


def _image_shape(
    variables: Tree, network: trained.Description, size: int | None
) -> tuple[int, int, int]:
    """Of the images, by the flag, by the file, or by the data set."""
    if size is None and network.images is not None:
        return network.images.shape
    channels = variables["params"]["stem"][0]["kernel"].shape[1]
    size = size or DATASETS[network.dataset].size[0]
    return size, size, channels


def _images(
    network: trained.Description,
    shape: tuple[int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Images | None:
    """Which images the network takes; None where neither file nor flags tell."""
    if bool(mean) != bool(std):
        raise InputError("flags --mean and --std belong together")
    if mean:
        return Images(shape, mean, std).check()
    return network.images and network.images._replace(shape=shape)


def _export(
    output: Path,
    variables: Tree,
    network: trained.Description,
    *,
    shape: tuple[int, int, int] = (32, 32, 3),
    normalise: bool = False,
    platforms: Sequence[str] | None = None,
) -> str:
    """Write program and weights, read them again and compare the logits."""
    if normalise and network.images is None:
        raise InputError(
            "flag --normalise: the weights do not say how; give --mean and --std"
        )
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        exported.save(
            part,
            variables,
            network.genotype,
            **network.sizes(),
            images=network.images,
            normalise=normalise,
            image_shape=shape,
            platforms=platforms,
        )
        here = jax.default_backend()
        if platforms and here not in platforms:
            compared = f"not read again: it does not run on {here}"
        else:
            compared = _compare(part, variables, network, shape)
        os.replace(part, output)
    finally:
        part.unlink(missing_ok=True)
    return compared


def _compare(
    path: Path,
    variables: Tree,
    network: trained.Description,
    shape: tuple[int, int, int],
) -> str:
    """Logits of what is in the file and of the weights; what to tell of them."""
    program, key = exported.load(path), jax.random.key(0)
    if network.images is None:
        fed = images = jax.random.normal(key, (2, *shape))
    else:
        pixels = jax.random.bits(key, (2, *shape), "uint8")
        images = network.images.normalise(pixels)
        fed = pixels if program.takes_pixels else images
    expected = np.asarray(trained.apply(variables, images, network))
    found = np.asarray(program(fed))
    error = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
    if not error < 1e-4:  # also for what is no number
        raise InputError(
            f"the exported network differs by {error:.1e} (relative) from the weights, "
            "nothing is written: are there values in them that are not finite?"
        )
    return (
        f"read again: logits of 2 images agree to {error:.0e} (relative)\nthe {program}"
    )


if __name__ == "__main__":
    app.run(main)
