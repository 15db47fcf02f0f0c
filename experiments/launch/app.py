"""What every launcher starts with: a user's mistake is one line and exit code 2."""

import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from absl import app, flags

from experiments.launch import devices, paths
from experiments.launch.fields import missing_field
from nasjax.base import InputError, RunError

#: Exit codes; 0 is done, 130 stopped by SIGINT.
BAD_INPUT = 2
FAILED = 1
#: A disk that takes no more, wherever it is met.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_INTERRUPTED = 130


def run(
    main: Callable[[Sequence[str]], int | None],
    *,
    argv: Sequence[str] | None = None,
    defaults: Mapping[str, str] | None = None,
) -> NoReturn:
    """Parse the flags and run `main`, as `absl.app.run` does, for people to read.

    A mistake in the flags or in the fields of a config, an `InputError` out of
    `main` and an argument that is no flag come out as one line on stderr and exit
    code 2: no usage text, no traceback. A `RunError` is one line and 1. ``--help`` ends
    with 0 and an interrupt with 130; any other exception is a bug and keeps its
    traceback.

    Args:
      main: takes the program's name in a list; its result is the exit code.
      argv: the command line with the program's name; ``None`` for `sys.argv`.
      defaults: config file of each flag of ``DEFINE_config_file``. Given there, a
        default would be read, and fail, while the launcher is being imported.
    """

    def checked(arguments: Sequence[str]) -> int | None:
        try:
            if len(arguments) > 1:
                raise InputError(
                    f"only flags (--name=value) are allowed, got {arguments[1]!r}"
                )
            return main(arguments)
        except (Exception, KeyboardInterrupt) as error:
            code = told(error)
            if code is None:
                raise
            return code

    paths.in_variables(os.environ)
    arguments = paths.in_arguments(sys.argv if argv is None else argv)
    parse = functools.partial(_parse, defaults=defaults or {})
    app.run(checked, argv=arguments, flags_parser=parse)
    sys.exit(0)  # absl has left already; this tells the type checker


def told(error: BaseException) -> int | None:
    """Tell an exception in a line, and its exit code; of a bug, None and nothing."""
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    error = devices.not_there(error) or error
    if isinstance(error, (InputError, app.UsageError, flags.Error)):
        return _complain(error)
    full = isinstance(error, OSError) and error.errno in _NO_ROOM
    if full or isinstance(error, RunError):
        _complain(error)
        return FAILED
    return None


def _parse(argv: Sequence[str], *, defaults: Mapping[str, str]) -> Any:
    try:
        for name, file in defaults.items():
            flags.FLAGS.set_default(name, file)
        # Warnings and errors; libraries report every file they read as information,
        # which absl would turn on where the flag has its default.
        verbosity = flags.FLAGS["verbosity"]
        verbosity.value, verbosity.using_default_value = -1, False
        rest = flags.FLAGS(argv)
        for name in flags.FLAGS:
            # Any attribute of a config that failed to load raises its OSError.
            getattr(flags.FLAGS[name].value, "lock", None)
        paths.in_flags(flags.FLAGS)
        return rest
    except (AttributeError, KeyError) as error:
        # ml_collections names neither the flag nor the fields that exist.
        if "has no attribute 'get_config'" in str(error):
            _cannot_load(error)
        unknown = _unknown_field(argv, defaults)
        if unknown is None:
            raise
        raise SystemExit(_complain(unknown)) from error
    except SyntaxError as error:  # str() of it names the file and the line
        _cannot_load(error)
    except (flags.Error, ValueError) as error:  # ValueError: a config file raised it
        sys.exit(_complain(error))
    except OSError as error:
        _cannot_load(str(error).strip().splitlines()[-1])
    except SystemExit as error:
        # absl ends --help with 1, as if it were a failure.
        sys.exit(0 if error.code == 1 else error.code)


def _cannot_load(reason: object) -> NoReturn:
    sys.exit(_complain(InputError(f"the config file cannot be loaded: {reason}")))


def _unknown_field(
    argv: Sequence[str], defaults: Mapping[str, str]
) -> InputError | None:
    """Find the override ``--config.field=value`` that names no field."""
    files = dict(defaults)
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        chosen = re.fullmatch(r"--?(\w+)(?:=(.*))?", argument)
        if chosen and chosen[1] in flags.FLAGS:
            files[chosen[1]] = following if chosen[2] is None else chosen[2]
    for argument in argv:
        override = re.match(r"--?(\w+)\.([\w.]+)", argument)
        if override is None or override[1] not in files:
            continue
        config = flags.FLAGS[override[1]].parser.parse(files[override[1]])
        missing = missing_field(config, override[2])
        if missing:
            return InputError(f"flag {override[0]}: {missing}")
    return None


def _complain(error: BaseException) -> int:
    text = str(error).strip()
    if "Traceback (most recent call last)" in text:
        # ml_collections quotes the whole traceback of a config file that raised.
        flag, _, _ = text.partition("Error whilst")
        reason = text.splitlines()[-1]
        text = flag + re.sub(r"^[\w.]*(Input|Value)Error: ", "", reason)
    print("error: " + " ".join(text.split()), file=sys.stderr)
    return BAD_INPUT
