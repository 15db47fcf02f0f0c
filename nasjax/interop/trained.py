"""A trained network as one .safetensors file that says which network it is.

The arrays have the names of PyTorch's DARTS networks (`pytorch`), so that other
programs read them too; the genotype, the sizes and what images the network takes
stand in the file's metadata, so that nothing else is needed to run it.

    trained.save("weights.safetensors", variables, genotype, dataset="cifar10", …)
    variables, settings = trained.load("weights.safetensors")
    images = settings.images.normalise(pixels)  # uint8, 0..255
    logits = trained.apply(variables, images, settings)
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import numpy as np

from nasjax import network
from nasjax.base import Array, InputError, Tree
from nasjax.genotype import Genotype
from nasjax.genotype_text import read_json
from nasjax.interop import files, pytorch
from nasjax.interop.images import Images, check_fed, from_json, to_json
from nasjax.network.settings import NetworkSizes
from nasjax.spaces import Plan, Sizes, space_of

#: Key of the metadata; one alone, for of several the order in a file is by chance.
_KEY = "nasjax"


class Description(NamedTuple):
    """Which network some weights are of; the arguments of `network.apply`.

    Attributes:
      genotype: of a space of `spaces.SPACES`.
      dataset: decides the stem.
      channels: C of the first cells.
      num_cells: L; of a space of stages the cells per stage, N.
      num_classes: Y.
      auxiliary: whether there is an auxiliary head.
      images: which it takes; None in files that do not say it, as those of other
        programs and of earlier versions.
    """

    genotype: Genotype
    dataset: str
    channels: int
    num_cells: int
    num_classes: int
    auxiliary: bool = False
    images: Images | None = None

    def sizes(self) -> NetworkSizes:
        """What `network.apply` takes beside the genotype."""
        return NetworkSizes(
            dataset=self.dataset,
            channels=self.channels,
            num_cells=self.num_cells,
            num_classes=self.num_classes,
        )


def save(
    path: str | os.PathLike[str],
    variables: Tree,
    genotype: Genotype,
    *,
    images: Images | None = None,
    **sizes: Unpack[NetworkSizes],
) -> Description:
    """Write trained variables; an auxiliary head in them too.

    Args:
      path: ``.safetensors``, or ``.pt`` or ``.pth`` where PyTorch is installed;
        PyTorch's files do not say which network they are of.
      variables: of `network.init`.
      genotype: as for `network.apply`.
      images: which it takes; None where it is not known.
      **sizes: as for `network.apply`.

    Raises:
      InputError: variables of another network, another suffix, or a folder that
        cannot be written.
    """
    auxiliary = isinstance(variables, Mapping) and "auxiliary" in variables.get(
        "params", {}
    )
    described = Description(genotype, **sizes, auxiliary=auxiliary, images=images)
    state_dict = pytorch.to_state_dict(
        variables, genotype, **described.sizes(), auxiliary=auxiliary
    )
    files.write(path, state_dict, metadata={_KEY: _to_json(described)})
    return described


def load(
    path: str | os.PathLike[str], genotype: Genotype | None = None
) -> tuple[dict[str, Tree], Description]:
    """Variables and which network they are of.

    Args:
      path: ``.safetensors``, or a file of PyTorch's.
      genotype: of weights that do not say it, whose sizes are told by their shapes;
        where it is given it comes before what the file says.

    Raises:
      InputError: a file that is not of its form, weights of another network, or
        weights that do not say which network they are of without ``genotype``.
    """
    state_dict, metadata = files.read_with_metadata(path)
    said = _from_json(metadata[_KEY], path) if _KEY in metadata else None
    if genotype is not None:
        described = describe(state_dict, genotype)
        described = described._replace(images=said and said.images)
    elif said is not None:
        described = said
    else:
        raise InputError(
            f"{path} does not say which network its weights are of; give its genotype"
        )
    variables = pytorch.from_state_dict(
        state_dict,
        described.genotype,
        **described.sizes(),
        auxiliary=described.auxiliary,
    )
    return variables, described


def apply(variables: Tree, images: Array, description: Description) -> Array:
    """`network.apply` of what `load` returns: ``[B, H, W, c] -> [B, Y]``.

    Raises:
      InputError: images that are not as the description says, where it does: pixels
        that are not normalised, or of another size.
    """
    if description.images is not None:
        known = description.images
        images = check_fed(images, known.shape, known)
    sizes = description.sizes()
    return network.apply(variables, images, description.genotype, **sizes)


def describe(state_dict: Mapping[str, Any], genotype: Genotype) -> Description:
    """The network of a checkpoint, its sizes read off names and shapes.

    Raises:
      InputError: no stem, classifier or cells by PyTorch's names.
    """
    imagenet = "stem0.3.weight" in state_dict
    num_classes = _first_axis(state_dict, "classifier.weight")

    def plan(num_cells: int, channels: int = 2) -> Plan:
        stem = "imagenet" if imagenet else "cifar"
        sizes = Sizes(channels, num_cells, num_classes, stem=stem)
        return space_of(genotype).plan(sizes, lambda kind: 1)

    stem = plan(1).stem
    channels = _first_axis(state_dict, f"{stem.modules[-1][0]}.weight")
    per_channel = stem.channels[-1] // 2  # of the stem, whose cells have two
    found = (re.match(r"cells\.(\d+)\.", name) for name in state_dict)
    parts = 1 + max((int(match[1]) for match in found if match), default=-1)
    if not parts:
        raise InputError("the checkpoint has no 'cells.0.…', this network needs them")
    counts = range(1, parts + 1)
    num_cells = next((n for n in counts if len(plan(n).body) >= parts), parts)
    small = "cifar100" if num_classes == 100 else "cifar10"
    dataset = "imagenet" if imagenet else small
    auxiliary = any(name.startswith("auxiliary_head.") for name in state_dict)
    channels = max(1, channels // per_channel)
    return Description(genotype, dataset, channels, num_cells, num_classes, auxiliary)


def _first_axis(state_dict: Mapping[str, Any], name: str) -> int:
    shape = np.shape(state_dict[name]) if name in state_dict else ()
    if not shape:
        raise InputError(f"the checkpoint has no {name!r}, this network needs it")
    return int(shape[0])


def _to_json(description: Description) -> str:
    fields = description._asdict()
    del fields["images"]
    if description.images is not None:
        fields["images"] = json.loads(to_json(description.images.check()))
    fields["genotype"] = json.loads(description.genotype.to_json())
    return json.dumps(fields)


def _from_json(text: str, path: str | os.PathLike[str]) -> Description:
    try:
        fields = read_json(text)
        genotype = Genotype.from_json(json.dumps(fields.pop("genotype")))
        images = fields.pop("images", None)
        described = Description(genotype, **fields)
        if images is not None:
            described = described._replace(images=from_json(json.dumps(images)))
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not say which network it is: {error}") from None
    if not isinstance(described.auxiliary, bool):
        raise InputError(f"{path}: auxiliary is {described.auxiliary!r}")
    return described
