"""SIGTERM and SIGINT as a question the search loop asks between dispatches."""

import signal
from types import FrameType


class StopRequest:
    """Remembers the first signal; a second SIGINT interrupts at once.

    Used as a context manager; calling it tells whether to stop.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
        """Listen."""
        self._before = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 plus the signal: 143 after SIGTERM, 130 after SIGINT."""
        return 128 + (self.signal or 0)
