"""One run made by several processes, on one machine or on many.

Each is started by the same command with the same flags. Which of how many it is, either
the cluster says (``--distributed``: JAX detects SLURM, Open MPI, GKE and Cloud TPU) or
the three flags ``--coordinator``, ``--num_processes`` and ``--process_id``. The first
process writes the workdir and prints; the others print only what goes wrong.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from absl import flags

from experiments.launch import app
from nasjax.base import InputError, RunError

DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "One run by all processes of this job of SLURM, Open MPI, GKE or Cloud TPU.",
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of the first of several processes, which a port is free for.",
)
NUMBER = flags.DEFINE_integer("num_processes", None, "How many make this run.")
INDEX = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds",
    30,
    "A process not heard of for so long is gone, and the others end.",
    lower_bound=2,
)
START = flags.DEFINE_integer(
    "start_seconds",
    300,
    "How long processes wait for each other at the start.",
    lower_bound=1,
)

#: Relays standard error, and says in one line why JAX has aborted the process.
_RELAY = r"""
import os, re, select, sys
line, held, calm = b"", b"", 0
LOG = re.compile(rb"[EWF]\d{4} [\d:.]+ +\d+ ")
OURS = re.compile(rb"coordination_service|preemption|client\.h|Terminating process")

def say(text):
    while text:
        text = text[os.write(2, text):]

while True:
    calm = 0 if select.select([0], [], [], 0.5)[0] else calm + 1
    data = b"" if calm else os.read(0, 65536)
    line += data
    whole, end, line = line.rpartition(b"\n")
    for each in (whole + end).splitlines(keepends=True):
        if each.startswith(b"[Gloo] Rank"):
            continue
        if held or (LOG.match(each) and OURS.search(each)):
            held += each
        else:
            say(each)
    if line and calm and not held:
        say(line)
        line = b""
    if held and calm > 6 and b"Terminating process" not in held:
        say(held)
        held = b""
    if not (data or calm):
        break
held += line
if b"Terminating process" not in held:
    say(held)
else:
    found = re.search(rb"sending heartbeats\):\s+(\d+)", held)
    found = found or re.search(rb"Task (\d+) heartbeat timeout", held)
    if b"RegisterTask" in held:
        told = sys.argv[2]
    else:
        who = "process " + found[1].decode() if found else sys.argv[1]
        told = who + " " + sys.argv[3]
    say(b"error: " + told.encode() + b"\n")
"""
#: Seconds that the first process gives the others to end by themselves.
_LAST = 2.0
_GONE = (
    "of this run is gone, and the others end with it; start all of them again, and the "
    "run goes on from its last checkpoint"
)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that the flags speak of; of none, do nothing.

    A process that fails leaves at once, without the others, which then end too.

    Raises:
      InputError: flags that do not go together, or no cluster.
    """
    explicit = _explicit()
    if not (explicit or DISTRIBUTED.value):
        yield
        return
    end_relay = _begin_relay()
    try:
        _initialise(explicit)
        if jax.process_index():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        yield
        jax.distributed.shutdown()  # waits for the others
    except BaseException as error:
        code = _told(error)
        end_relay()
        os._exit(code)
    end_relay()


def refuse(launcher: str) -> None:
    """Refuse the flags where a launcher runs in one process.

    Raises:
      InputError: naming the launcher.
    """
    if _explicit() or DISTRIBUTED.value:
        raise InputError(f"several processes: {launcher} runs in one")


def _explicit() -> dict[str, Any]:
    """The arguments that flags give of `jax.distributed.initialize`.

    Raises:
      InputError: not all three, or a value out of its range.
    """
    given: dict[str, Any] = {
        flag.name: flag.value for flag in (COORDINATOR, NUMBER, INDEX)
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return {}
    if DISTRIBUTED.value:
        raise InputError(
            "flag --distributed asks the cluster for what --coordinator, "
            "--num_processes and --process_id say; give it or them"
        )
    if missing:
        raise InputError(
            f"flag --{missing[0]} is missing: several processes need --coordinator, "
            "--num_processes and --process_id"
        )
    address, number, index = given.values()
    if number < 1:
        raise InputError(f"flag --num_processes is {number}; it must be at least 1")
    if not 0 <= index < number:
        raise InputError(
            f"flag --process_id is {index}; it must be from 0 to {number - 1}, below "
            "--num_processes"
        )
    port = re.fullmatch(r"(?:[^\s:\[\]]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", address)
    if not (port and 0 < int(port[1]) < 65536):
        raise InputError(f"flag --coordinator is {address!r}; it must be HOST:PORT")
    return {
        "coordinator_address": address,
        "num_processes": number,
        "process_id": index,
    }


def _initialise(explicit: Mapping[str, Any]) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would keep SIGTERM to itself; `nasjax.runtime.loop` agrees on when to stop.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            **explicit,
            initialization_timeout=START.value,
            heartbeat_timeout_seconds=HEARTBEAT.value,
        )
    except ValueError as error:
        if explicit:
            raise
        raise InputError(
            "flag --distributed: no job of SLURM, Open MPI, GKE or Cloud TPU is found; "
            "give --coordinator, --num_processes and --process_id"
        ) from error
    except (RuntimeError, jax.errors.JaxRuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"the processes do not come together: {reason}") from error


def _begin_relay() -> Callable[[], None]:
    """Read this process's standard error in another one, which outlives it.

    JAX answers the death of a process by aborting the others, with a stack; and Gloo
    writes to standard output, which is Python's alone here.

    Returns:
      What ends the relay, once it has said all.
    """
    import resource  # here: Windows has none, nor several processes that need it

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))
    together = f"not all processes have come within {START.value} s"
    arguments = ("the first process", f"{together} (--start_seconds)", _GONE)
    relay = subprocess.Popen(
        [sys.executable, "-ISc", _RELAY, *arguments],
        stdin=subprocess.PIPE,
        start_new_session=True,  # a terminal's signals are not for it
    )
    assert relay.stdin is not None
    sys.stdout.flush()
    out, err = os.dup(1), os.dup(2)
    os.dup2(relay.stdin.fileno(), 2)
    os.dup2(2, 1)
    relay.stdin.close()
    sys.stdout = os.fdopen(out, "w", buffering=1)

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(out, 1)
        os.dup2(err, 2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            relay.wait(5)

    return end


def _told(error: BaseException) -> int:
    """Tell an exception as `app.run` would; returns the exit code."""
    if _is_of_collective(error):
        # Another process is gone: JAX aborts this one as soon as it knows which.
        time.sleep(HEARTBEAT.value + 15)
    code = app.told(error)
    if code is None:
        traceback.print_exception(error)
        code = app.FAILED
    if jax.distributed.is_initialized() and jax.process_index() == 0:
        # With the first one the others are aborted: a mistake of all is told by all.
        time.sleep(_LAST)
    return code


def _is_of_collective(error: BaseException) -> bool:
    """Whether an exception is that the processes do not reach each other any more."""
    known = isinstance(error, (jax.errors.JaxRuntimeError, ValueError))
    words = r"Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED"
    return known and re.search(words, str(error)) is not None
