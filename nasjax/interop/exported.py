"""A trained network as one file that JAX alone can run.

The file holds the program and the weights (StableHLO, by `jax.export`). It is for
deployment, not for the archive: JAX reads such files for a limited time. Keep the
weights as .safetensors and the genotype as JSON.
"""

import os
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import export

from nasjax import network
from nasjax.base import Array, InputError, Tree
from nasjax.genotype import Genotype

#: Where an exported network may run, as JAX names it.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def save(
    path: str | os.PathLike[str],
    variables: Tree,
    genotype: Genotype,
    *,
    dataset: str,
    channels: int,
    num_cells: int,
    num_classes: int,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    platforms: Sequence[str] | None = None,
) -> None:
    """Write `network.apply` of trained variables, for any batch size.

    Args:
      path: of the file.
      variables: of `network.init`.
      genotype: as for `network.apply`, and so are the next.
      dataset: likewise.
      channels: likewise.
      num_cells: likewise.
      num_classes: likewise.
      image_shape: ``(H, W, channels)`` of an image.
      platforms: to run on, of `PLATFORMS`; None for this one.

    Raises:
      InputError: variables of another network, an unknown platform, or a folder
        that cannot be written.
    """
    for platform in platforms or ():
        if platform not in PLATFORMS:
            raise InputError(
                f"platform {platform!r} is not one of {', '.join(PLATFORMS)}"
            )

    def run(images: Array) -> Array:
        return network.apply(
            variables,
            images,
            genotype,
            dataset=dataset,
            channels=channels,
            num_cells=num_cells,
            num_classes=num_classes,
        )

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    program = export.export(jax.jit(run), platforms=platforms)(images).serialize()
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(program)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Callable[[Array], Array]:
    """Read a file of `save`.

    Returns:
      ``images [B, H, W, c] float32 -> logits [B, Y]``.

    Raises:
      InputError: no such file, or one that this version of JAX does not read.
    """
    try:
        program = export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
    except OSError as error:
        raise InputError(f"{path} is not read: {error.strerror}") from None
    except Exception as error:  # many kinds, of which none is documented
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not an exported network: {first}") from None
    return jax.jit(program.call)
