"""The environment of a launch, readied in its main before JAX is imported.

A command whose work is a computation begins with these lines, above its imports::

    from experiments.launch import environment

    if __name__ == "__main__":
        environment.ready()

An import of the command, by a test or another program, changes nothing.
"""

from experiments.launch import hugepages, xla_flags


def ready() -> None:
    """Ask for huge pages and for shared calls, each where it is offered and not set.

    May start the process once more, with the same number (`hugepages.take`).
    """
    xla_flags.share()
    hugepages.take()
