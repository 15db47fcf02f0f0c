"""SIGTERM and SIGINT: a question the loop asks between dispatches, before it an end."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self

#: Exit code of a second SIGINT, which nothing waits for.
_INTERRUPTED = 130


class _Listener:
    """Hears SIGTERM and SIGINT at once, whatever the main thread waits for.

    Python runs its handlers only between two instructions of the main thread, which
    may wait for a long dispatch or for the compiler. So a thread of its own reads the
    signals as they come: it says what will happen, and it is what ends the process.

    Used as a context manager in the main thread.
    """

    def __enter__(self) -> Self:
        """Listen."""
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._writes, False)
        self._before = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        self._wakeup = signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._writes)  # which ends the thread
        self._thread.join()
        os.close(self._reads)

    def _watch(self) -> None:
        while number := os.read(self._reads, 1):
            self._heard(number[0])

    def _request(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, once it can."""

    def _heard(self, number: int) -> None:
        """In the thread that listens, at once."""
        raise NotImplementedError


class StopAtOnce(_Listener):
    """Ends the process at the first signal: for the time when nothing is to be saved.

    What has been started, such as processes that decode images, ends with it.
    """

    def __init__(self, doing: Callable[[], str]):
        """Be ready to say what was being done."""
        self._doing = doing

    def _heard(self, number: int) -> None:
        print(
            f"stopped while {self._doing()}, before the first step; the same command "
            "begins here again",
            file=sys.stderr,
            flush=True,
        )
        sys.stdout.flush()
        for child in multiprocessing.active_children():
            child.terminate()
        os._exit(128 + number)


class StopRequest(_Listener):
    """Remembers the first signal; a second SIGINT ends the process at once.

    Calling it tells whether to stop.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._interrupts = 0

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._remember(number)

    def _remember(self, number: int) -> None:
        if self.signal is None:
            self.signal = number

    def _heard(self, number: int) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            print("stopped at once, without a save", file=sys.stderr, flush=True)
            os._exit(_INTERRUPTED)
        if number == signal.SIGINT:
            print(
                "stopping after this dispatch and a save; again to stop at once",
                file=sys.stderr,
                flush=True,
            )
        self._remember(number)

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 plus the signal: 143 after SIGTERM, 130 after SIGINT."""
        return 128 + (self.signal or 0)
