"""How many connections the demo holds open, and how long it waits for what they ask."""

import asyncio
import contextlib
import resource
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# A browser sends its headers at once.
_HEADER_SECONDS = 10.0
_MAX_CONNECTIONS, _BACKLOG = 512, 128
# Descriptors for everything but connections.
_SPARE_DESCRIPTORS = 64


class Connections:
    """The open connections: who does not send headers in time is hung up on, and so is one too many."""

    def __init__(self, limit: int, header_seconds: float = _HEADER_SECONDS):
        """Starts with none.

        Args:
            limit: at more, the one that has waited longest without a request makes room.
            header_seconds: the time for the headers of a request.
        """
        self._limit = limit
        self._header_seconds = header_seconds
        self._waiting: dict[H11Protocol, asyncio.TimerHandle] = {}
        self._count = 0

    def protocol(self, *args: Any, **options: Any) -> H11Protocol:
        """Makes the protocol of one connection; what uvicorn calls."""
        return _Protocol(self, *args, **options)

    def opened(self, connection: H11Protocol) -> None:
        """Counts a connection in, and waits for its headers."""
        self._count += 1
        self.await_headers(connection)
        if self._count > self._limit:
            longest = next(iter(self._waiting), connection)
            self.hang_up(longest)

    def closed(self, connection: H11Protocol) -> None:
        """Counts a connection out."""
        self._count -= 1
        self.got_headers(connection)

    def await_headers(self, connection: H11Protocol) -> None:
        """Hangs up unless headers come in time."""
        self.got_headers(connection)
        loop = asyncio.get_running_loop()
        self._waiting[connection] = loop.call_later(self._header_seconds, self.hang_up, connection)

    def got_headers(self, connection: H11Protocol) -> None:
        """Waits no longer."""
        timer = self._waiting.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def hang_up(self, connection: H11Protocol) -> None:
        """Closes a connection at once."""
        self.got_headers(connection)
        if connection.transport is not None:
            connection.transport.abort()


class _Protocol(H11Protocol):
    """uvicorn's protocol, whose headers are waited for only so long."""

    def __init__(self, connections: Connections, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._connections = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._connections.got_headers(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The next request of the same connection; idle ones are uvicorn's to end.
        if self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing():
            self._connections.await_headers(self)


def connection_limits() -> tuple[int, int]:
    """Returns how many connections may be open, and how many may come at once, by the descriptors there are.

    The limit on descriptors is raised as far as it goes.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_CONNECTIONS + _BACKLOG + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _MAX_CONNECTIONS, _BACKLOG
    backlog = min(_BACKLOG, soft // 4)
    return max(8, soft - backlog - _SPARE_DESCRIPTORS), backlog
