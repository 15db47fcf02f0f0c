"""What a search method is: pure functions over architecture parameters.

A method says how alpha starts, how it relaxes, what is added to either loss, how
alpha is projected after its update, what it remembers of each example and how a
genotype is read off. It never runs a loop: `nasjax.bilevel` has the one step that
all methods share. Every field but the first two has a default that does nothing,
so a method is the few fields in which it differs, and two methods compose by
``method._replace(...)`` or `add_weight_loss` and `add_arch_loss`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from nasjax import genotype, relaxations
from nasjax.base import Array, Key, Schedule, Tree
from nasjax.data.batches import Batch
from nasjax.space import SearchSpace
from nasjax.supernet import Architecture

#: Architecture parameters: ``{cell type: [E, O]}``, float32.
Alpha = Mapping[str, Array]


class Terms(NamedTuple):
    """What an added loss or a memory may read in one step.

    Attributes:
      space: the search space, as the method adapted it.
      alpha: architecture parameters.
      architecture: what was run, relaxed from them.
      logits: ``[B, Y]`` the supernet's outputs.
      batch: the batch they belong to.
      memory: the method's memory before this step.
      progress: fraction of the search.
      epoch: int32 scalar.
      forward: ``architecture -> logits`` of the same weights and batch, inside an
        added loss.
    """

    space: Any
    alpha: Alpha
    architecture: Architecture
    logits: Array
    batch: Batch
    memory: Tree
    progress: Array
    epoch: Array
    forward: Any


def no_loss(terms: Terms) -> Array:
    """Nothing to add."""
    del terms
    return jnp.zeros(())


def no_projection(alpha: Alpha, architecture: Architecture) -> Alpha:
    """Alpha as the optimizer left it."""
    del architecture
    return alpha


def no_memory(num_examples: int, num_classes: int) -> Tree:
    """Nothing to remember."""
    del num_examples, num_classes
    return ()


def keep_memory(terms: Terms) -> Tree:
    """The memory unchanged."""
    return terms.memory


def same_space(space: SearchSpace) -> SearchSpace:
    """The space as it is."""
    return space


class Method(NamedTuple):
    """A search method.

    Attributes:
      name: the field's name of it.
      init: ``(key, space) -> alpha``. Consumes the key.
      relax: ``(key, alpha, progress, space) -> architecture``. Consumes the key.
      strengths: ``[..., O] alpha -> [..., O]``, comparable between edges, by which
        a genotype is derived.
      adapt: the space the method searches in, given the one asked for.
      weight_loss: added to the training loss of the weights.
      arch_loss: added to the validation loss of alpha.
      project: ``(alpha, architecture) -> alpha`` after alpha's update, with the
        architecture its gradient was taken at.
      init_memory: ``(num_examples, num_classes) -> tree`` kept on the device.
      remember: the memory after a weight step.
      order: 1, or 2 for the gradient through the weights' own step.
      schedules: what changes with progress, by name, for logs and report.
    """

    name: str
    init: Callable[[Key, SearchSpace], Alpha]
    relax: Callable[[Key, Alpha, Array, SearchSpace], Architecture]
    strengths: Callable[[Array], Array] = relaxations.softmax
    adapt: Callable[[SearchSpace], SearchSpace] = same_space
    weight_loss: Callable[[Terms], Array] = no_loss
    arch_loss: Callable[[Terms], Array] = no_loss
    project: Callable[[Alpha, Architecture], Alpha] = no_projection
    init_memory: Callable[[int, int], Tree] = no_memory
    remember: Callable[[Terms], Tree] = keep_memory
    order: int = 1
    schedules: Mapping[str, Schedule] = {}

    def derive(self, space: SearchSpace, alpha: Mapping[str, Any]) -> genotype.Genotype:
        """The genotype alpha stands for, by the method's strengths.

        Raises:
          ValueError: alpha is not of the space, or not finite.
        """
        genotype.check_alpha(space, alpha)
        strengths = {name: self.strengths(jnp.asarray(a)) for name, a in alpha.items()}
        return genotype.derive(space, strengths)


def add_weight_loss(method: Method, loss: Callable[[Terms], Array]) -> Method:
    """The method with one more term in the weights' loss."""
    first = method.weight_loss
    return method._replace(weight_loss=lambda terms: first(terms) + loss(terms))


def add_arch_loss(method: Method, loss: Callable[[Terms], Array]) -> Method:
    """The method with one more term in alpha's loss."""
    first = method.arch_loss
    return method._replace(arch_loss=lambda terms: first(terms) + loss(terms))
