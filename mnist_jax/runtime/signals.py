"""SIGTERM, SIGUSR1 and Ctrl-C as a request the training loop answers between two chunks."""

import contextlib
import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

# SIGUSR1 is the warning that batch systems such as SLURM send before their time limit.
_EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143}

# `timeout` and `make` hand the same signal on twice, to the process and to its group: that is one request.
_SAME_REQUEST_SECONDS = 0.1


class StopRequest:
    """Inside this context the first SIGTERM, SIGUSR1 or SIGINT asks the run to stop, a second exits at once.

    Before ``work_begins`` there is nothing to save, and the first signal exits at once as well: compiling can
    take longer than anyone waits. That exit is ``os._exit``, which works while the main thread waits for the
    device. Nothing is cleaned up, so what is on disk must be sound at every moment (see ``checkpoints``).
    Outside the main thread Python cannot handle signals; there the context does nothing and ``requested``
    stays False.
    """

    def __init__(self, *, work_begun: bool = True) -> None:
        """With ``work_begun=False`` the first signal exits at once until ``work_begins`` is called."""
        self.signal: signal.Signals | None = None  # the one received first
        self._active = False
        self._work_begun = work_begun

    @property
    def requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self.signal is not None

    @property
    def work_begun(self) -> bool:
        """Whether there is something to save."""
        return self._work_begun

    def request(self, number: int) -> None:
        """Takes over a signal that another process of the run received; 0 = none did."""
        if number and self.signal is None:
            self.signal = signal.Signals(number)

    def work_begins(self) -> None:
        """From here on there is something to save, so the first signal waits for the run to do so."""
        self._work_begun = True

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM or SIGUSR1, 130 after SIGINT, 0 where nothing was received."""
        return 0 if self.signal is None else _EXIT_CODES[self.signal]

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self
        # A Python handler runs only once the main thread is back from the device, and two signals in the
        # meantime become one. The wake-up descriptor is written at once, and a thread of its own reads it.
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._old_wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old_handlers: dict[signal.Signals, Any] = {
            number: signal.signal(number, self._handle) for number in _EXIT_CODES
        }
        self._watcher = threading.Thread(target=self._watch, name="stop_request", daemon=True)
        self._watcher.start()
        self._active = True
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._active:
            return
        self._active = False
        for number, handler in self._old_handlers.items():
            # None: the handler was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._old_wakeup)
        self._writer.close()
        self._watcher.join()
        self._reader.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Makes `requested` true before the main thread's next line; only the watcher counts, for the two may
        # run in either order and far apart.
        if self.signal is None:
            self.signal = signal.Signals(number)

    def _watch(self) -> None:
        first_seen: float | None = None
        while numbers := self._reader.recv(64):
            for number in numbers:
                if number not in _EXIT_CODES:
                    continue
                self._handle(number, None)
                if not self._work_begun:
                    self._exit(f"stopped by {self._name(number)} before the first step: nothing to save")
                elif first_seen is None:
                    first_seen = time.monotonic()
                elif time.monotonic() - first_seen > _SAME_REQUEST_SECONDS:
                    self._exit(f"second {self._name(number)}: exiting at once, without saving")

    @staticmethod
    def _name(number: int) -> str:
        return signal.Signals(number).name

    def _exit(self, message: str) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"{message}\n".encode())
        os._exit(self.exit_code)


class Interrupt(StopRequest):
    """As `StopRequest`, for a training inside somebody's program: Ctrl-C asks it to stop, and nothing exits.

    Before ``work_begins`` the first Ctrl-C raises KeyboardInterrupt, and after it the second one does.
    SIGTERM is left to the program.
    """

    def __init__(self) -> None:
        super().__init__(work_begun=False)

    def __enter__(self) -> "Interrupt":
        """Takes Ctrl-C over."""
        if threading.current_thread() is threading.main_thread():
            self._old_handlers = {signal.SIGINT: signal.signal(signal.SIGINT, self._handle)}
            self._active = True
        return self

    def __exit__(self, *exception: object) -> None:
        """Restores the handler of before."""
        if self._active:
            self._active = False
            handler = self._old_handlers[signal.SIGINT]
            signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._work_begun or self.requested:
            raise KeyboardInterrupt
        super()._handle(number, frame)
