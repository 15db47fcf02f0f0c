"""What the two passes of a step minimise.

Cross-entropy of the relaxed supernet plus what the method adds, summed over the
method's sub-graphs.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nasjax import losses
from nasjax.base import Array, Key, Tree
from nasjax.base import Metrics as Metrics
from nasjax.data.batches import Batch
from nasjax.engine.subgraphs import summed
from nasjax.methods.base import (
    Alpha,
    Attack,
    Method,
    Recall,
    Relax,
    Rerun,
    Teach,
    Terms,
    no_recall,
    no_teacher,
    softmax_mixture,
)
from nasjax.supernet import Architecture, Supernet

#: Names of what a loss measures.
METRICS = ("loss", "accuracy", "added_loss", "count")


class StepContext(NamedTuple):
    """What both losses of a step read beside weights, alpha and batch.

    Attributes:
      memory: of the method, before the step.
      snapshots: of the method, before the step.
      progress: float32, fraction of the search.
      epoch: int32.
    """

    memory: Tree
    snapshots: Tree
    progress: Array
    epoch: Array


class LossAux(NamedTuple):
    """What a loss gives beside its value.

    Attributes:
      architecture: what was run, with a leading K.
      probs: ``[B, Y]`` softmax outputs, mean over the K sub-graphs.
      metrics: sums over examples.
    """

    architecture: Architecture
    probs: Array
    metrics: Metrics


class LossInputs(NamedTuple):
    """What the losses of all sub-graphs read and have no gradient of."""

    batch: Batch
    context: StepContext
    taught: Mapping[str, Tree]


class SubgraphAux(NamedTuple):
    """What the loss of one sub-graph gives beside its value.

    Attributes:
      logits: ``[B, Y]``.
      plain: the cross-entropy.
      added: what the method adds to it.
    """

    logits: Array
    plain: Array
    added: Array


#: ``(weights, alpha, *, batch, key, context) -> (value, aux)``.
LossFn = Callable[..., tuple[Array, LossAux]]
_Shared = tuple[Tree, Alpha, Any]  # weights, alpha, and what the stem has made


def validation_loss(net: Supernet, method: Method) -> LossFn:
    """The loss of alpha's pass."""
    return Loss(net, method, method.arch_loss).value


def training_loss(net: Supernet, method: Method) -> LossFn:
    """The loss of the weights' pass, with the method's teachers."""
    return Loss(
        net,
        method,
        method.weight_loss,
        method.teach,
        method.lead,
        method.recall,
        method.weight_relax or method.relax,
        method.attack,
    ).value


class Loss(NamedTuple):
    """A loss of one pass.

    Its sub-graphs are run one after the other.

    Attributes:
      net: the supernet.
      method: the search method.
      added: what the method adds to this loss.
      teach: what that reads.
      lead: the method's loss of the whole mixture, where this pass trains it too.
      recall: of the method, which `added` reads too.
      relax: from alpha to what is run; None takes the method's.
      attack: of the method, in this pass.
    """

    net: Supernet
    method: Method
    added: Callable[[Terms], Array]
    teach: Teach = no_teacher
    lead: Callable[[Terms], Array] | None = None
    recall: Recall = no_recall
    relax: Relax | None = None
    attack: Attack | None = None

    def value(
        self,
        weights: Tree,
        alpha: Alpha,
        *,
        batch: Batch,
        key: Key,
        context: StepContext,
    ) -> tuple[Array, LossAux]:
        """The value, and what it gives beside it. Consumes the key."""
        net, method = self.net, self.method
        shared = weights, alpha, net.stem(weights, batch.images)
        architecture = self._relaxed(key, alpha, context)
        if self.attack is not None:
            architecture = self._attacked(key, shared, batch, context, architecture)
        inputs = self._inputs(shared, batch, key, context)
        led = jnp.zeros(())
        if self.lead is not None:
            led, logits = self._led(self.lead, shared, inputs)
            inputs = inputs._replace(taught={**inputs.taught, "lead": logits})
        if method.subgraphs is None:
            value, aux = self._of_subgraph(shared, inputs, architecture)
            add_axis = partial(jax.tree.map, lambda leaf: leaf[None])
            architecture, aux = add_axis((architecture, aux))
        else:
            value, aux = summed(self._of_subgraph, shared, inputs, architecture)
        if self.lead is not None:
            value = led + value
            aux = aux._replace(added=aux.added + led / len(aux.added))
        return value, self._aux(architecture, aux, batch)

    def _relaxed(self, key: Key, alpha: Alpha, context: StepContext) -> Architecture:
        relax = self.relax or self.method.relax
        return relax(key, alpha, context.progress, self.net.space)

    def _attacked(
        self,
        key: Key,
        shared: _Shared,
        batch: Batch,
        context: StepContext,
        architecture: Architecture,
    ) -> Architecture:
        assert self.attack is not None
        forward = self._forward(shared)

        def loss(architecture: Architecture) -> Array:
            logits = forward(architecture)
            errors = losses.cross_entropy_per_example(logits, batch.labels)
            return losses.weighted_mean(
                errors, weights=batch.weights, axis_name=self._axis
            )

        start = lax.stop_gradient(architecture)
        own = jax.random.fold_in(key, 1)  # `relax` has consumed the key itself
        return lax.stop_gradient(
            self.attack(own, _averaged(loss, self._axis), start, context.progress)
        )

    def _inputs(
        self, shared: _Shared, batch: Batch, key: Key, context: StepContext
    ) -> LossInputs:
        """With what is taught, once for all sub-graphs."""
        fixed_alpha = lax.stop_gradient(shared[1])
        rerun = self._rerun(key, batch, context)
        taught = {
            **self.teach(self._forward(shared), fixed_alpha, self.net.space),
            **self.recall(context.snapshots, rerun, context.epoch),
        }
        # What was recalled is read; the snapshots themselves are not needed any more.
        return LossInputs(batch, context._replace(snapshots=()), taught)

    def _forward(self, shared: _Shared) -> Callable[[Architecture], Array]:
        weights, _, states = lax.stop_gradient(shared)
        return lambda architecture: self.net.cells(weights, architecture, states)

    def _rerun(self, key: Key, batch: Batch, context: StepContext) -> Rerun:
        """Another supernet on the batch, with the draws of the one that is trained.

        The key is that of the step's own relaxation, on purpose: with the same weights
        and alpha it says the same.
        """

        def rerun(weights: Tree, alpha: Alpha) -> Array:
            weights, alpha = lax.stop_gradient((weights, alpha))
            entry = self.net.stem(weights, batch.images)
            runs = self._relaxed(key, alpha, context)
            if self.method.subgraphs is None:
                return jax.nn.softmax(self.net.cells(weights, runs, entry))
            logits = lax.map(lambda one: self.net.cells(weights, one, entry), runs)
            return jax.nn.softmax(logits).mean(axis=0)

        return rerun

    def _led(
        self, lead: Callable[[Terms], Array], shared: _Shared, inputs: LossInputs
    ) -> tuple[Array, Array]:
        """The loss of the whole mixture, and its logits, which have no gradient.

        As that of a sub-graph its gradient is taken at once: nothing of the mixture is
        kept while the sub-graphs run.
        """

        def loss(
            shared: _Shared, inputs: LossInputs, number: Array
        ) -> tuple[Array, Array]:
            del number
            alpha = lax.stop_gradient(shared[1])
            mixture = softmax_mixture(alpha, self.net.space)
            terms = self._terms(shared, inputs, mixture)
            return lead(terms), terms.logits

        value, logits = summed(loss, shared, inputs, jnp.zeros(1))
        return value, logits[0]

    def _of_subgraph(
        self, shared: _Shared, inputs: LossInputs, architecture: Architecture
    ) -> tuple[Array, SubgraphAux]:
        terms = self._terms(shared, inputs, architecture)
        errors = losses.cross_entropy_per_example(terms.logits, inputs.batch.labels)
        plain, added = terms.mean(errors), self.added(terms)
        return plain + added, SubgraphAux(terms.logits, plain, added)

    def _terms(
        self, shared: _Shared, inputs: LossInputs, architecture: Architecture
    ) -> Terms:
        """What an added loss of an architecture may read, which is run for it."""
        weights, alpha, states = shared
        batch, context = inputs.batch, inputs.context
        return Terms(
            space=self.net.space,
            alpha=alpha,
            architecture=architecture,
            logits=self.net.cells(weights, architecture, states),
            batch=batch,
            memory=context.memory,
            progress=context.progress,
            epoch=context.epoch,
            forward=self._forward(shared),
            mean=partial(
                losses.weighted_mean, weights=batch.weights, axis_name=self._axis
            ),
            taught=inputs.taught,
        )

    def _aux(
        self, architecture: Architecture, aux: SubgraphAux, batch: Batch
    ) -> LossAux:
        hits = jax.vmap(losses.accuracy_hits, in_axes=(0, None))
        correct = hits(aux.logits, batch.labels).mean(axis=0)
        count = _total(batch.weights, self._axis)
        metrics = {
            "loss": aux.plain.mean() * count,
            "accuracy": _total(correct * batch.weights, self._axis),
            "added_loss": aux.added.mean() * count,
            "count": count,
        }
        return LossAux(architecture, jax.nn.softmax(aux.logits).mean(axis=0), metrics)

    @property
    def _axis(self) -> str | None:
        return self.net.settings.context.axis_name


def _averaged(
    loss: Callable[[Architecture], Array], axis_name: str | None
) -> Callable[[Architecture], Array]:
    """A loss whose gradient is that of all devices."""
    if axis_name is None:
        return loss

    def forward(at: Architecture) -> tuple[Array, Tree]:
        value, gradient = jax.value_and_grad(loss)(at)
        return value, lax.pmean(gradient, axis_name)

    def backward(gradient: Tree, bar: Array) -> tuple[Tree]:
        return (jax.tree.map(lambda leaf: bar * leaf, gradient),)

    averaged = jax.custom_vjp(loss)
    averaged.defvjp(forward, backward)
    return averaged


def _total(values: Array, axis_name: str | None) -> Array:
    """Sum over the batch of all devices."""
    own = values.sum()
    return own if axis_name is None else lax.psum(own, axis_name)
