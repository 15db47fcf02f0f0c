"""Several devices, of one process or of several: the only module that maps them.

A step is written against an axis name; here `jax.pmap` gives it that axis. The batch
is shared out by slots (`data.batches`), each device owns the memory rows of its slots,
and everything else, snapshots of supernets too, is the same on all devices, to the bit.

Of several processes each has the same number of devices and holds their parts alone:
what has a leading device axis has it for the devices here.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nasjax.base import Array, InputError
from nasjax.bilevel import SearchState
from nasjax.data.batches import Split
from nasjax.runtime import processes

State = TypeVar("State")
Data = TypeVar("Data")

#: The devices that share a batch; `supernet.build` takes it where there are several.
AXIS = "devices"
#: JAX keeps compiled programs from one process to the next.
_CACHE = "jax_enable_compilation_cache"


class Devices(NamedTuple):
    """The devices of a search.

    Attributes:
      number: n, of all processes; 1 maps nothing.
      batch_size: B of all devices together.
    """

    number: int
    batch_size: int

    @property
    def axis_name(self) -> str | None:
        """What the supernet and the dispatch are to be built with."""
        return AXIS if self.number > 1 else None

    def check(self) -> None:
        """Refuse a batch that cannot be shared out evenly, or devices not there.

        Raises:
          InputError: with both numbers.
        """
        several, there = jax.process_count(), most_devices()
        if not several <= self.number <= there or self.number % several:
            each = f"a multiple of the {several} processes, " if several > 1 else ""
            raise InputError(
                f"num_devices is {self.number}; it must be {each}from {several} to "
                f"{there}, the devices {'of all' if several > 1 else 'here'}"
            )
        if self.batch_size % self.number:
            raise InputError(
                f"batch_size is {self.batch_size}; it must be a multiple of the "
                f"{self.number} devices"
            )

    @property
    def local_count(self) -> int:
        """How many are of this process: m."""
        return self.number // jax.process_count()

    def jit(
        self, run: Callable[..., Any], *, others: int = 1, updates: bool = False
    ) -> Any:
        """Compile ``run(state, data, *others) -> result`` for these devices.

        Args:
          run: written against `axis_name`.
          others: how many arguments follow; they are the same for all devices.
          updates: whether the result is ``(state, result)``; then the state is
            donated. A result must be the same on all devices.

        Returns:
          A function of states and data as `shard_state` and `spread_data` leave
          them; it can be lowered as that of `jax.jit` can.
        """
        donated = (0,) if updates else ()
        if self.number == 1:
            return jax.jit(run, donate_argnums=donated)
        mapped = jax.pmap(
            run,
            axis_name=AXIS,
            in_axes=(0, 0, *[None] * others),
            out_axes=(0, None) if updates else None,
            devices=[device for each in self._devices() for device in each],
            donate_argnums=donated,
        )
        return _Mapped(mapped)

    def shard_state(self, state: State) -> State:
        """A state with a leading device axis: copies, but each its own memory rows."""
        if self.number == 1:
            return state
        if not isinstance(state, SearchState):
            return jax.tree.map(self._copies, state)
        copies = jax.tree.map(self._copies, state._replace(memory=()))
        return copies._replace(memory=jax.tree.map(self._rows, state.memory))

    def gather_state(self, state: State) -> State:
        """The state of one device, or a part that is not memory, from that of several.

        Where there is memory, all processes must ask at the same point.
        """
        if self.number == 1:
            return state
        if not isinstance(state, SearchState):
            return jax.tree.map(_first_copy, state)
        one = jax.tree.map(_first_copy, state._replace(memory=()))
        return one._replace(memory=jax.tree.map(self._merge, state.memory))

    def spread_data(self, data: Data) -> Data:
        """Data with a leading device axis: each device has its slots of a `Split`."""
        if self.number == 1:
            return data

        def slots(array: Array) -> Array:
            steps, width = array.shape[:2]
            parts = array.reshape(
                steps, self.number, width // self.number, *array.shape[2:]
            )
            return self._put(jnp.moveaxis(self._own(parts, axis=1), 1, 0))

        def spread(part: Split | Array) -> Any:
            if isinstance(part, Split):
                return jax.tree.map(slots, part)
            return self._copies(part)

        return jax.tree.map(spread, data, is_leaf=lambda part: isinstance(part, Split))

    def spread_batch(self, batch: Data) -> Data:
        """Arrays ``[B, ...]`` with a leading device axis: each has its rows.

        Of one device, the arrays are put on it.
        """
        if self.number == 1:
            return jax.device_put(batch)

        def rows(array: Any) -> Array:
            parts = array.reshape(self.number, -1, *array.shape[1:])
            return self._put(self._own(parts))

        return jax.tree.map(rows, batch)

    def gather_slots(self, part: Array) -> Array:
        """``[T, B, ...]`` of a `Split`, from what `spread_data` has made of it."""
        if self.number == 1:
            return part
        parts = jnp.moveaxis(_together(part), 0, 1)  # [T, n, B/n, ...]
        return parts.reshape(parts.shape[0], -1, *parts.shape[3:])

    def _devices(self) -> list[list[jax.Device]]:
        """``[P][m]``, those of each process."""
        return [there[: self.local_count] for there in _by_process()]

    def _own(self, parts: Array, axis: int = 0) -> Array:
        """Of n parts the m of this process."""
        first = jax.process_index() * self.local_count
        index = (slice(None),) * axis + (slice(first, first + self.local_count),)
        return parts[index]

    def _put(self, stacked: Array) -> Array:
        """``[m, ...]``, each on its device."""
        devices = self._devices()[jax.process_index()]
        mesh = Mesh(np.array(devices), (AXIS,))
        return jax.device_put(stacked, NamedSharding(mesh, PartitionSpec(AXIS)))

    def _copies(self, leaf: Array) -> Array:
        return self._put(jnp.broadcast_to(leaf[None], (self.local_count, *leaf.shape)))

    def _rows(self, memory: Array) -> Array:
        """``[slots, T B, ...]`` to ``[m, slots, T B/n, ...]``."""
        first, rows, *rest = memory.shape
        width = self.batch_size // self.number
        parts = memory.reshape(first, -1, self.number, width, *rest)
        parts = jnp.moveaxis(self._own(parts, axis=2), 2, 0)
        return self._put(
            parts.reshape(self.local_count, first, rows // self.number, *rest)
        )

    def _merge(self, memory: Array) -> Array:
        """The inverse of `_rows`."""
        memory = _together(memory)
        _, first, rows, *rest = memory.shape
        width = self.batch_size // self.number
        parts = memory.reshape(self.number, first, -1, width, *rest)
        parts = jnp.moveaxis(parts, 0, 2)
        return parts.reshape(first, rows * self.number, *rest)


class _Mapped:
    """A pmap, which can be lowered and compiled as that of `jax.jit` can.

    What a pmap of several processes lowers to takes arrays of all of them. Which parts
    are here only pmap itself knows: it is called, and finds its program compiled.
    """

    def __init__(self, mapped: Any, stage: Any = None):
        self._mapped, self._stage = mapped, stage

    def __call__(self, *arguments: Any) -> Any:
        if self._stage is not None and not processes.are_several():
            result = self._stage(*arguments)
        else:
            with _compiled_anew():
                result = self._mapped(*arguments)
        if jax.default_backend() == "cpu":
            # Devices that wait for each other hold their threads meanwhile: another
            # program may leave none for the last of them, and the runtime aborts after
            # 40 seconds. Gloo mixes up the messages of two programs at a time.
            jax.block_until_ready(result)
        return result

    def lower(self, *arguments: Any) -> "_Mapped":
        return _Mapped(self._mapped, self._mapped.lower(*arguments))

    def compile(self, compiler_options: dict[str, Any] | None = None) -> "_Mapped":
        with _compiled_anew():
            return _Mapped(self._mapped, self._stage.compile(compiler_options))

    def memory_analysis(self) -> Any:
        return self._stage.memory_analysis()


@contextlib.contextmanager
def _compiled_anew() -> Iterator[None]:
    """On a CPU, compile without the persistent cache.

    In XLA's source a collective that is read from it has a communicator of its own:
    those that do not depend on each other may begin in another order on each device,
    which wait for each other until the runtime aborts. With jaxlib 0.10.2 MSG-DAS on
    four devices did at every launch that read its step, and at none that compiled it.
    """
    if jax.default_backend() != "cpu" or not getattr(jax.config, _CACHE):
        yield
        return
    jax.config.update(_CACHE, False)
    reset_cache()  # whether there is one is asked only once
    try:
        yield
    finally:
        jax.config.update(_CACHE, True)
        reset_cache()


# What comes off several devices goes by copies. As a program over all of them, which it
# is for an array of theirs, it would be a collective, and several begun at a time may
# wait for each other's threads (see above); the sum in it loses the sign of zeros, too.


def _first_copy(leaf: Array) -> Array:
    """``[m, ...]`` to the ``[...]`` of the first device."""
    return leaf.addressable_data(0)[0]


def _together(leaf: Array) -> Array:
    """``[m, ...]`` of each process to the ``[n, ...]`` of all, on the first device."""
    if processes.are_several():
        return processes.gather(leaf)
    return jax.device_put(leaf, jax.devices()[0])


def most_devices() -> int:
    """How many can share a batch: as many of each process as the poorest has."""
    found = _by_process()
    return len(found) * min(map(len, found))


def _by_process() -> list[list[jax.Device]]:
    found: dict[int, list[jax.Device]] = defaultdict(list)
    for device in jax.devices():
        found[device.process_index].append(device)
    return [found[index] for index in sorted(found)]
