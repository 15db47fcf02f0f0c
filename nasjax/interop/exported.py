"""A trained network as one file that JAX alone can run.

The file holds the program and the weights (StableHLO, by `jax.export`), and says which
images it takes: their type and size are the program's own input, how they are
normalised stands in its name. It is for deployment, not for the archive: JAX reads such
files for a limited time. Keep the weights as .safetensors and the genotype as JSON.

    run = exported.load("network.jax")
    logits = run(run.images.normalise(pixels))  # or run(pixels), see `save`
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from nasjax import network
from nasjax.base import Array, InputError, Tree
from nasjax.genotype import Genotype
from nasjax.interop import unsafe
from nasjax.interop.images import Images, check_fed, from_json, to_json
from nasjax.network.settings import NetworkSizes

#: Where an exported network may run, as JAX names it.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
#: What the name of a program starts with that says which images it takes.
_NAME = "nasjax takes "


def save(
    path: str | os.PathLike[str],
    variables: Tree,
    genotype: Genotype,
    *,
    images: Images | None = None,
    normalise: bool = False,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    platforms: Sequence[str] | None = None,
    **sizes: Unpack[NetworkSizes],
) -> None:
    """Write `network.apply` of trained variables, for any batch size.

    Args:
      path: of the file.
      variables: of `network.init`.
      genotype: as for `network.apply`.
      images: which the network takes, as `trained.load` tells; None where that is
        not known, and then `load` cannot check what it is fed.
      normalise: put the normalisation into the program, which then takes pixels
        0..255 as uint8 and nothing else.
      image_shape: ``(H, W, channels)`` of an image, where ``images`` does not say it.
      platforms: to run on, of `PLATFORMS`; None for this one.
      **sizes: as for `network.apply`.

    Raises:
      InputError: variables of another network, an unknown platform, a normalisation
        that is not known, or a folder that cannot be written.
    """
    if normalise and images is None:
        raise InputError("to normalise in the program, say how: images is None")
    for platform in platforms or ():
        if platform not in PLATFORMS:
            raise InputError(
                f"platform {platform!r} is not one of {', '.join(PLATFORMS)}"
            )

    def run(fed: Array) -> Array:
        if normalise and images is not None:
            fed = images.normalise(fed)
        return network.apply(variables, fed, genotype, **sizes)

    if images is not None:
        image_shape = images.check().shape
        run.__name__ = f"{_NAME}{to_json(images)}"
    (batch,) = export.symbolic_shape("batch")
    dtype = jnp.uint8 if normalise else jnp.float32
    fed = jax.ShapeDtypeStruct((batch, *image_shape), dtype)
    program = export.export(jax.jit(run), platforms=platforms)(fed).serialize()
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(program)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """An exported network; called with images ``[B, H, W, c]`` it gives ``[B, Y]``.

    Attributes:
      run: the program itself, which checks the type and the size of images alone.
      shape: ``(H, W, c)`` of an image.
      takes_pixels: whether it takes pixels 0..255 as uint8, and normalises them
        itself; else floats that are normalised.
      images: how they are normalised; None in files that do not say it, as those of
        earlier versions.
    """

    run: Callable[[Array], Array]
    shape: tuple[int, int, int]
    takes_pixels: bool
    images: Images | None

    def __call__(self, images: Any) -> Array:
        """Logits ``[B, Y]`` of images ``[B, H, W, c]``.

        Raises:
          InputError: pixels that are not normalised where they must be, normalised
            ones where they must not, or images of another size.
        """
        if self.takes_pixels:
            kind = getattr(images, "dtype", type(images).__name__)
            batch, *size = np.shape(images) or (0,)
            if kind != np.uint8 or not batch or tuple(size) != self.shape:
                raise InputError(
                    f"images are {kind} {list(np.shape(images))}; this {self}"
                )
            return self.run(jnp.asarray(images))
        return self.run(check_fed(images, self.shape, self.images))

    def __str__(self) -> str:
        size = "[B, " + ", ".join(map(str, self.shape)) + "]"
        if self.takes_pixels:
            return f"program takes pixels 0..255, uint8 {size}, and normalises them"
        how = self.images or "normalised as in training; the file does not say how"
        return f"program takes floats {size}: {how}"


def load(path: str | os.PathLike[str]) -> Program:
    """Read a file of `save`.

    Returns:
      What can be called with images; it refuses those that the network does not take.

    Raises:
      InputError: no such file, or one that this version of JAX does not read.
    """
    try:
        program = export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
        (fed,) = program.in_avals
        height, width, channels = map(int, fed.shape[1:])
    except OSError as error:
        raise InputError(f"{path} is not read: {error.strerror}") from None
    except Exception as error:  # many kinds, of which none is documented
        raise InputError(
            f"{path} is not an exported network: {unsafe.one_line(error)}"
        ) from None
    images = None
    if program.fun_name.startswith(_NAME):
        try:
            images = from_json(program.fun_name.removeprefix(_NAME))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    takes_pixels = fed.dtype == jnp.uint8
    shape = height, width, channels
    return Program(jax.jit(program.call), shape, takes_pixels, images)
