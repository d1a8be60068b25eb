"""Keeps a failed save to one line: what Orbax and TensorStore print about it beside raising it (floor 0)."""

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

    A full disk makes Orbax log the same traceback about five times, and TensorStore report each write still
    under way as an unraisable "Event loop is closed": together hundreds of lines. The raised error keeps
    its cause, so nothing is lost.
    """

    def __init__(self) -> None:
        self._old_hook: Callable[[Any], None] | None = None

    def start(self) -> None:
        """Begins; a second call does nothing."""
        if self._old_hook is None:
            logging.getLogger("absl").addFilter(_is_news)
            self._old_hook = sys.unraisablehook
            sys.unraisablehook = self._report

    def stop(self) -> None:
        """Ends, and puts back what was there before."""
        if self._old_hook is not None:
            _wait_for_orbax()
            logging.getLogger("absl").removeFilter(_is_news)
            sys.unraisablehook = self._old_hook
            self._old_hook = None

    def _report(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed") and self._old_hook:
            self._old_hook(unraisable)


def _wait_for_orbax() -> None:
    # After a failed save the threads that Orbax started for it may still be about to log that.
    end = time.monotonic() + _LONGEST_WAIT_SECONDS
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("orbax") and thread is not threading.current_thread():
            thread.join(max(0.0, end - time.monotonic()))


def _is_news(record: logging.LogRecord) -> bool:
    # Orbax logs through absl, whose records do not name the caller; the traceback does.
    if not record.exc_info:
        return True
    frames = traceback.walk_tb(record.exc_info[2])
    return not any("orbax" in frame.f_code.co_filename for frame, _ in frames)
