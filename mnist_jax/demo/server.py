"""A socket of our own, served until a signal says stop."""

import asyncio
import contextlib
import errno
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from mnist_jax.errors import RunError

# What is being answered when the signal comes may finish.
_GRACE_SECONDS = 1


def open_socket(host: str, port: int) -> socket.socket:
    """Binds and listens at once, so that a port in use is known before anything is loaded.

    Raises:
        RunError: the host is not one of this machine, or the port is in use or not ours to use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise RunError(f"--host {host!r} is no host name or address that is known here ({error})") from error
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise RunError(f"port {port} on {host} is in use: give another, as in --port 0") from error
        if error.errno == errno.EACCES:
            raise RunError(f"port {port} on {host} may not be used: give one above 1023") from error
        raise RunError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return opened


def url_of(opened: socket.socket) -> str:
    """The address to type into a browser on this machine."""
    host, port = opened.getsockname()[:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def names_of(host: str) -> frozenset[str]:
    """The names by which browsers may ask for this server: on the loopback only ``localhost``."""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if is_local:
        return frozenset()
    own = socket.gethostname()
    return frozenset(name.lower() for name in (host, own, f"{own}.local"))


def serve(app: ASGIApp, opened: socket.socket, on_ready: Callable[[], None]) -> int:
    """Serves until SIGTERM or SIGINT; a second one ends at once.

    Returns:
        the exit code: 143 or 130.
    """
    return asyncio.run(_serve(app, opened, on_ready))


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes none: uvicorn would end by the signal itself instead of an exit code."""
        yield


async def _serve(app: ASGIApp, opened: socket.socket, on_ready: Callable[[], None]) -> int:
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="on",
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    received: list[int] = []

    def stop(number: int) -> None:
        server.force_exit = bool(received)
        server.should_exit = True
        received.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    serving = asyncio.create_task(server.serve(sockets=[opened]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        on_ready()
    await serving
    if not received:
        raise RunError("the server stopped by itself; its log says why")
    return 128 + received[0]
