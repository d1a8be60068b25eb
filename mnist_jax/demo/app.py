"""The page and its two questions: which network is this, and what is in this picture."""

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import UInt8
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from mnist_jax.data.pictures.worker import PictureWorkers
from mnist_jax.demo.batching import Batcher
from mnist_jax.demo.guard import Bodies, Guard, error_response
from mnist_jax.demo.recognition import BATCH_SIZES, NUM_DECODERS, Recognition, Recognizer
from mnist_jax.errors import DataError

MAX_BODY_BYTES = 16 * 2**20
_BODY_SECONDS = 30.0

# Bodies together while they arrive and wait for a decoder. Drawings are a few kilobytes: what is larger than
# a small body makes room for them.
_ALL_BODIES_BYTES = 2**29
_SMALL_BODY_BYTES = 2**20

_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

_logger = logging.getLogger(__name__)


def create_app(
    recognizer: Recognizer, about: Mapping[str, Any], names: frozenset[str] = frozenset()
) -> Starlette:
    """Builds the ASGI app.

    ``GET /`` is the page; ``GET /api/model`` returns `about`; ``POST /api/recognise`` takes the
    bytes of a picture file as its body. Every refusal is ``{"error": message}`` with a status of 4xx.

    Args:
        recognizer: answers the pictures; should be warmed up.
        about: facts about the network for the page, as plain JSON values.
        names: host names to answer to besides addresses and ``localhost``, in lower case.
    """
    batcher: Batcher[np.ndarray, Recognition] = Batcher(recognizer.recognize, BATCH_SIZES[-1])
    decoders = ThreadPoolExecutor(NUM_DECODERS, "decode")
    bodies = Bodies(_SMALL_BODY_BYTES, _ALL_BODIES_BYTES, _BODY_SECONDS)

    async def tell_model(request: Request) -> Response:
        return JSONResponse(dict(about), headers={"Cache-Control": "no-store"})

    async def recognize(request: Request) -> Response:
        try:
            async with bodies.read(request, MAX_BODY_BYTES) as content:
                loop = asyncio.get_running_loop()
                image = await loop.run_in_executor(decoders, recognizer.read, content)
            answer = await batcher.ask(image)
        except ClientDisconnect:
            return error_response(400, "the client hung up")
        except DataError as error:
            return error_response(422, str(error))
        return JSONResponse(_as_json(answer, recognizer), headers={"Cache-Control": "no-store"})

    app = Starlette(
        routes=[
            *_asset_routes(),
            Route("/api/model", tell_model, methods=["GET"]),
            Route("/api/recognise", recognize, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, names=names)],
        exception_handlers={HTTPException: _tell_refusal, Exception: _tell_fault},
        lifespan=_lifespan(batcher, decoders, recognizer.workers),
    )
    app.router.redirect_slashes = False
    return app


def _lifespan(
    batcher: Batcher[Any, Any], decoders: ThreadPoolExecutor, workers: PictureWorkers
) -> Lifespan[Starlette]:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        workers.start()
        try:
            async with batcher.running():
                yield
        finally:
            decoders.shutdown(wait=False, cancel_futures=True)
            workers.close()

    return lifespan


def _asset_routes() -> list[Route]:
    routes = []
    for file in resources.files("mnist_jax.demo").joinpath("assets").iterdir():
        media_type = _MEDIA_TYPES.get(file.name.rpartition(".")[2])
        if media_type:
            path = "/" if file.name == "index.html" else f"/{file.name}"
            routes.append(Route(path, _asset(file.read_bytes(), media_type), methods=["GET"]))
    return routes


def _asset(content: bytes, media_type: str) -> Any:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    return answer


async def _tell_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    messages = {404: f"{what}: there is nothing here", 405: f"{what}: this method is not for this path"}
    return error_response(
        error.status_code, messages.get(error.status_code, error.detail), dict(error.headers or {})
    )


async def _tell_fault(request: Request, error: Exception) -> Response:
    _logger.error("%s %s failed: %s: %s", request.method, request.url.path, type(error).__name__, error)
    return error_response(500, "a fault of the server; its log says more")


def _as_json(answer: Recognition, recognizer: Recognizer) -> dict[str, Any]:
    return {
        "label": recognizer.model.class_names[int(answer.probabilities.argmax())],
        "probabilities": [round(float(p), 6) for p in answer.probabilities],
        "unsure": bool(answer.doubt),
        "reason": answer.doubt,
        "image": _pixels(answer.image),
        "activations": None if answer.activations is None else _pixels(answer.activations),
    }


def _pixels(values: UInt8[np.ndarray, "height width channels"]) -> dict[str, Any]:
    height, width, channels = values.shape
    data = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
    return {"height": height, "width": width, "channels": channels, "base64": data}
