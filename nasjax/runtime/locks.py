"""One process at a time holds a file; the system lets go when the process ends.

By ``flock`` where there is one, by a locked byte on Windows. Where there is neither,
nothing is locked, and `take` says so by an `OSError`.
"""

import errno
import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # all but Windows
    msvcrt = None  # type: ignore[assignment]

#: The byte that is locked on Windows, far behind the text: what is locked there cannot
#: be read, and the text says who holds the file.
_BYTE = 1 << 30


def take(file: int) -> bool:
    """Hold an open file until it is closed or the process ends.

    Args:
      file: its descriptor, open for reading and writing.

    Returns:
      Whether it is held; False where another holds it.

    Raises:
      OSError: the file system or the system has no locks.
    """
    return _try(file, shared=False)


def is_held(file: int) -> bool:
    """Whether another holds an open file; False where nothing can be locked.

    The descriptor must be closed afterwards.
    """
    try:
        return not _try(file, shared=True)
    except OSError:
        return False


def _try(file: int, *, shared: bool) -> bool:
    if fcntl is not None:
        try:
            fcntl.flock(
                file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
            )
        except BlockingIOError:
            return False
        return True
    if msvcrt is None:
        raise OSError(errno.ENOTSUP, "this system has neither fcntl nor msvcrt")
    place = os.lseek(file, 0, os.SEEK_CUR)
    try:
        os.lseek(file, _BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        if shared:  # only asked
            os.lseek(file, _BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EDEADLK):
            return False
        raise
    finally:
        os.lseek(file, place, os.SEEK_SET)
    return True
