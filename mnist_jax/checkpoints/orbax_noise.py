"""Keeps a failed save or restore to one line: what Orbax and TensorStore print about it beside raising it."""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

_LONGEST_WAIT_SECONDS = 10.0


class OrbaxNoise:
    """Between ``start`` and ``stop``, holds back what only repeats an error that is raised anyway.

    A full disk makes Orbax log the same traceback about five times, TensorStore report each array still under
    way as an unraisable "Event loop is closed", and asyncio each future that nobody asked: together hundreds
    of lines. The raised error keeps its cause, so nothing is lost.
    """

    def __init__(self) -> None:
        self._old_hook: Callable[[Any], None] | None = None
        self._failed = False

    def start(self) -> None:
        """Begins; a second call does nothing."""
        if self._old_hook is None:
            logging.getLogger("absl").addFilter(_is_news)
            logging.getLogger("asyncio").addFilter(_is_not_forgotten)
            self._old_hook = sys.unraisablehook
            sys.unraisablehook = self._report

    def failed(self) -> None:
        """Waits until Orbax' threads gave up what failed; they work and log for a while after."""
        self._failed = True
        end = time.monotonic() + _LONGEST_WAIT_SECONDS
        for thread in threading.enumerate():
            if type(thread).__module__.startswith("orbax") and thread is not threading.current_thread():
                # Not the thread's own join: Orbax' raises the error once more.
                threading.Thread.join(thread, max(0.0, end - time.monotonic()))

    def stop(self) -> None:
        """Ends, and puts back what was there before.

        After a failure it goes on: the rest of that is reported only when Python collects it, by the end
        of the process.
        """
        if self._old_hook is not None and not self._failed:
            logging.getLogger("absl").removeFilter(_is_news)
            logging.getLogger("asyncio").removeFilter(_is_not_forgotten)
            sys.unraisablehook = self._old_hook
            self._old_hook = None

    def _report(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed") and self._old_hook:
            self._old_hook(unraisable)


def _is_not_forgotten(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()


def _is_news(record: logging.LogRecord) -> bool:
    # Orbax logs through absl, whose records do not name the caller; the traceback does.
    if not record.exc_info:
        return True
    frames = traceback.walk_tb(record.exc_info[2])
    return not any("orbax" in frame.f_code.co_filename for frame, _ in frames)
