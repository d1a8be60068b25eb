"""What stands between the network and the app: whose requests are answered, and how much is read of them."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing is loaded from elsewhere, framed, or sent on.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# A body that is too large is still taken in, and thrown away, up to this multiple of the limit: who hangs up
# on a client that is sending cannot tell it why.
_DRAIN_FACTOR = 4


class Guard:
    """ASGI middleware: answers only who asks for this server by its name, and adds the security headers.

    A page elsewhere can let its own name point to 127.0.0.1 and so reach servers of the person who looks at
    it (DNS rebinding); the browser then sends that name as ``Host``. An address cannot be rebound, so any
    address passes, a name only if it is known.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]):
        """Takes the host names to answer to, in lower case."""
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> JSONResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_known_host(host, self._names):
            return error_response(421, f"host {host!r} is not served here; use http://127.0.0.1 or localhost")
        if method not in ("GET", "HEAD") and origin is not None and _netloc(origin) != host:
            return error_response(403, f"requests from pages of {origin!r} are not answered")
        return None


def is_known_host(host: str, names: frozenset[str]) -> bool:
    """Whether a ``Host`` header is an address, ``localhost`` or one of ``names``; its port does not count."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names or name == "localhost"
    return True


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Returns an error as ``{"error": message}``."""
    return JSONResponse({"error": message}, status, headers)


class Bodies:
    """Reads bodies of limited size within limited time, all of them together within limited memory."""

    def __init__(self, small_bytes: int, all_bytes: int, seconds: float):
        """Takes the limits.

        Args:
            small_bytes: a body up to this size is read however much the others hold.
            all_bytes: what all bodies may hold before larger ones are refused.
            seconds: the time that a body may take to arrive.
        """
        self._small_bytes = small_bytes
        self._all_bytes = all_bytes
        self._seconds = seconds
        self._held = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request, max_bytes: int) -> AsyncIterator[bytes]:
        """Reads a body of up to ``max_bytes``, which counts as held until the context ends.

        Raises:
            HTTPException: 400 for an empty body, 408 for a slow one, 413 for a large one, 429 for one that is
                not small while the others hold all there is.
            ClientDisconnect: the client has hung up.
        """
        chunks: list[bytes] = []
        size = held = 0
        try:
            try:
                async with asyncio.timeout(self._seconds):
                    async for chunk in request.stream():
                        size += len(chunk)
                        if size <= max_bytes:
                            chunks.append(chunk)
                            held += len(chunk)
                            self._held += len(chunk)
                        else:
                            chunks.clear()
                            self._held, held = self._held - held, 0
                        if size > _DRAIN_FACTOR * max_bytes:
                            break
                        if size > self._small_bytes and self._held > self._all_bytes:
                            raise HTTPException(429, "too many large pictures at once; try again soon")
            except TimeoutError:
                raise HTTPException(
                    408, f"the picture did not arrive within {self._seconds:g} seconds"
                ) from None
            if size > max_bytes:
                raise HTTPException(413, f"the picture is larger than the {max_bytes // 2**20} MiB accepted")
            if not size:
                raise HTTPException(400, "the body is empty; send a picture file as the body")
            content = b"".join(chunks)
            chunks.clear()
            yield content
        finally:
            self._held -= held


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
