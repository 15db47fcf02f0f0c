"""TensorBoard events of a run, written as they come.

tensorboardX's own writer has a thread and a queue: a disk that is full ends the thread,
and what is queued after that waits for ever. Here a write that fails is told once, and
the run goes on without events. It is imported with the first value, for that takes as
long as the rest of this library.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

_FLUSH_SECONDS = 10.0


class Events:
    """Scalars of one process, in a file that is made with the first of them."""

    def __init__(self, folder: Path):
        """Name the folder."""
        self._folder = folder
        self._writer: Any = None  # an EventsWriter, from the first value on
        self._broken = False
        self._flushed = 0.0
        self._purged: int | None = None

    def purge_after(self, step: int) -> None:
        """Have TensorBoard leave out what earlier files hold after a step."""
        self._purged = step + 1

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Write scalars by their tags."""
        if self._broken:
            return
        try:
            if self._writer is None:
                self._writer = self._open()
            from tensorboardX import summary
            from tensorboardX.proto import event_pb2

            for tag, value in values.items():
                found = summary.scalar(tag, value)
                self._write(event_pb2.Event(summary=found, step=step))
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._writer.flush()
                self._flushed = time.monotonic()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Flush and close the file."""
        if self._writer is None or self._broken:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._give_up(error)
        self._writer = None

    def _open(self) -> "EventsWriter":
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        writer = EventsWriter(str(self._folder / "events"))
        if self._purged is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            event = event_pb2.Event(session_log=start, step=self._purged)
            event.wall_time = time.time()
            writer.write_event(event)
        return writer

    def _write(self, event: Any) -> None:
        assert self._writer is not None
        event.wall_time = time.time()
        self._writer.write_event(event)

    def _give_up(self, error: OSError) -> None:
        self._broken = True
        print(
            f"warning: no more TensorBoard events in {self._folder}: {error.strerror}",
            file=sys.stderr,
        )
