"""SIGTERM and SIGINT as a question the loop asks between dispatches."""

import os
import signal
import sys
import threading
from types import FrameType

#: Exit code of a second SIGINT, which nothing waits for.
_INTERRUPTED = 130


class StopRequest:
    """Remembers the first signal; a second SIGINT ends the process at once.

    Python runs its handlers only between two instructions of the main thread, which
    may wait for a long dispatch. So a thread of its own reads the signals as they
    come: it says what will happen, and it is what ends the process.

    Used as a context manager in the main thread; calling it tells whether to stop.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
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

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._remember(number)

    def _remember(self, number: int) -> None:
        if self.signal is None:
            self.signal = number

    def _watch(self) -> None:
        interrupts = 0
        while number := os.read(self._reads, 1):
            interrupts += number[0] == signal.SIGINT
            if interrupts > 1:
                print("stopped at once, without a save", file=sys.stderr, flush=True)
                os._exit(_INTERRUPTED)
            if number[0] == signal.SIGINT:
                print(
                    "stopping after this dispatch and a save; again to stop at once",
                    file=sys.stderr,
                    flush=True,
                )
            self._remember(number[0])

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 plus the signal: 143 after SIGTERM, 130 after SIGINT."""
        return 128 + (self.signal or 0)
