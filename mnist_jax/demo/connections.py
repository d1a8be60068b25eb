"""How many connections the demo holds open, and how long it waits for their clients to send and to take."""

import asyncio
import contextlib
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# A browser sends its headers at once.
_HEADER_SECONDS = 10.0
# Of a client that takes nothing of its answer.
_SEND_SECONDS = 30.0
_MAX_CONNECTIONS, _BACKLOG = 512, 128
# Each piece of a body costs time, whatever is in it; these are free, and then one for so many bytes.
_FREE_PIECES, _BYTES_OF_A_PIECE = 1000, 64
_HEADER_BYTES = 2**16
# Descriptors for everything but connections.
_SPARE_DESCRIPTORS = 64


class Connections:
    """The open connections: who keeps the server waiting is hung up on, and so is one too many."""

    def __init__(
        self, limit: int, header_seconds: float = _HEADER_SECONDS, send_seconds: float = _SEND_SECONDS
    ):
        """Starts with none.

        Args:
            limit: at more, the one whose client has been silent longest makes room.
            header_seconds: the time for the headers of a request.
            send_seconds: the time in which a client takes something of its answer.
        """
        self._limit = limit
        self._header_seconds = header_seconds
        self._send_seconds = send_seconds
        # Those whose client is to do something, the one that has been silent longest first.
        self._waiting: dict[H11Protocol, asyncio.TimerHandle | None] = {}
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
        self.wait_no_longer(connection)

    def await_headers(self, connection: H11Protocol) -> None:
        """Hangs up unless headers come in time."""
        self._await(connection, self._header_seconds)

    def await_reading(self, connection: H11Protocol) -> None:
        """Hangs up unless the client takes something of its answer in time."""
        self._await(connection, self._send_seconds)

    def await_body(self, connection: H11Protocol) -> None:
        """Waits for more of a body, of which a part has come just now; how long is not decided here."""
        self.wait_no_longer(connection)
        self._waiting[connection] = None

    def _await(self, connection: H11Protocol, seconds: float) -> None:
        self.wait_no_longer(connection)
        loop = asyncio.get_running_loop()
        self._waiting[connection] = loop.call_later(seconds, self.hang_up, connection)

    def wait_no_longer(self, connection: H11Protocol) -> None:
        """Notes that it is the server's turn."""
        timer = self._waiting.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def hang_up(self, connection: H11Protocol) -> None:
        """Closes a connection at once."""
        self.wait_no_longer(connection)
        if connection.transport is not None:
            connection.transport.abort()


class _Parser(h11.Connection):
    """h11's parser, which takes a body in crumbs for no HTTP."""

    _num_pieces = _num_bytes = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._num_pieces = self._num_bytes = 0
        elif isinstance(event, h11.Data):
            self._num_pieces += 1
            self._num_bytes += len(event.data)
            if self._num_pieces > _FREE_PIECES + self._num_bytes // _BYTES_OF_A_PIECE:
                raise h11.RemoteProtocolError("a body in crumbs")
        return event


class _Protocol(H11Protocol):
    """uvicorn's protocol, whose client is waited for only so long and sends no crumbs."""

    def __init__(self, connections: Connections, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._connections = connections
        self.conn = _Parser(h11.SERVER, _HEADER_BYTES)

    def send_400_response(self, msg: str) -> None:
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.abort()  # in the middle of an answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        # Headers of which a part has come are waited for no longer than before.
        if self.cycle is not before or not self._is_answered:
            self._note_whose_turn_it_is()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The next request of the same connection; idle ones are uvicorn's to end.
        if self._is_answered and not self.transport.is_closing():
            self._note_whose_turn_it_is()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.await_reading(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._note_whose_turn_it_is()

    @property
    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _note_whose_turn_it_is(self) -> None:
        if self.flow.write_paused:
            return  # whatever else has come: it is to take its answer first
        if self._is_answered:
            self._connections.await_headers(self)
        elif self.cycle.more_body:
            self._connections.await_body(self)
        else:
            self._connections.wait_no_longer(self)


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
