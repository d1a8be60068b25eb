"""The page and its questions: which network is this, what is in this picture, what each layer sees."""

import asyncio
import base64
import contextlib
import functools
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
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

from mnist_jax.data.pictures.pages.answer import Digit, to_text
from mnist_jax.data.pictures.pages.find import Page
from mnist_jax.data.pictures.steps import Step
from mnist_jax.data.pictures.worker import PictureWorkers
from mnist_jax.demo.batching import Batcher
from mnist_jax.demo.guard import Bodies, Guard, error_response
from mnist_jax.demo.layers import LayerViewer
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
    bytes of a picture file as its body, and ``POST /api/digits`` those of a page of digits.
    ``POST /api/steps`` returns what each step of the preparation makes of a picture file.
    ``GET /api/layers`` describes the layers, ``POST /api/layers`` tells what each gives for a picture,
    ``GET /api/weights?layer=1&unit=0`` has the weights of a map or unit (`LayerViewer`). Every refusal is
    ``{"error": message}`` with a status of 4xx.

    Args:
        recognizer: answers the pictures; should be warmed up.
        about: facts about the network for the page, as plain JSON values.
        names: host names to answer to besides addresses and ``localhost``, in lower case.
    """
    batcher: Batcher[np.ndarray, Recognition] = Batcher(recognizer.recognize, BATCH_SIZES[-1])
    viewers: Batcher[Callable[[LayerViewer], Any], Any] = Batcher(_view_one(recognizer), 1)
    pages: Batcher[Page, list[Digit]] = Batcher(lambda page: [recognizer.recognize_page(page[0])], 1)
    decoders = ThreadPoolExecutor(NUM_DECODERS, "decode")
    bodies = Bodies(_SMALL_BODY_BYTES, _ALL_BODIES_BYTES, _BODY_SECONDS)

    async def tell_model(request: Request) -> Response:
        return JSONResponse(dict(about), headers={"Cache-Control": "no-store"})

    async def answer_picture(
        request: Request, read: Callable[[bytes], Any], answer: Callable[[Any], Awaitable[dict[str, Any]]]
    ) -> Response:
        try:
            async with bodies.read(request, MAX_BODY_BYTES) as content:
                loop = asyncio.get_running_loop()
                image = await loop.run_in_executor(decoders, read, content)
            answered = await answer(image)
        except ClientDisconnect:
            return error_response(400, "the client hung up")
        except DataError as error:
            return error_response(422, str(error))
        return JSONResponse(answered, headers={"Cache-Control": "no-store"})

    async def recognize(request: Request) -> Response:
        async def answer(image: np.ndarray) -> dict[str, Any]:
            return _as_json(await batcher.ask(image), recognizer)

        return await answer_picture(request, recognizer.read, answer)

    async def read_digits(request: Request) -> Response:
        async def answer(page: Page) -> dict[str, Any]:
            return _page_as_json(page, await pages.ask(page))

        if not recognizer.reads_pages:
            raise HTTPException(404, "this network does not read pages of digits")
        return await answer_picture(request, recognizer.read_page, answer)

    async def tell_steps(request: Request) -> Response:
        async def answer(steps: list[Step]) -> dict[str, Any]:
            return {"steps": [{"name": step.name, **_pixels(step.image)} for step in steps]}

        return await answer_picture(request, recognizer.read_steps, answer)

    async def view_layers(request: Request) -> Response:
        async def answer(image: np.ndarray) -> dict[str, Any]:
            view: dict[str, Any] = await viewers.ask(lambda viewer: viewer.view(image))
            return view

        return await answer_picture(request, recognizer.read, answer)

    async def tell_layers(request: Request) -> Response:
        layers = await viewers.ask(lambda viewer: viewer.description)
        return JSONResponse({"layers": layers}, headers={"Cache-Control": "no-store"})

    async def tell_weights(request: Request) -> Response:
        words = [request.query_params.get(name, "") for name in ("layer", "unit")]
        if not all(re.fullmatch("[0-9]{1,6}", word) for word in words):
            raise HTTPException(400, "expected numbers, as in ?layer=1&unit=0")
        layer, unit = map(int, words)
        weights = await viewers.ask(lambda viewer: viewer.weights(layer, unit))
        if weights is None:
            raise HTTPException(404, f"layer {layer} has no weights of a unit {unit}")
        return JSONResponse(weights, headers={"Cache-Control": "no-store"})

    app = Starlette(
        routes=[
            Route("/api/model", tell_model, methods=["GET"]),
            Route("/api/recognise", recognize, methods=["POST"]),
            Route("/api/digits", read_digits, methods=["POST"]),
            Route("/api/steps", tell_steps, methods=["POST"]),
            Route("/api/layers", tell_layers, methods=["GET"]),
            Route("/api/layers", view_layers, methods=["POST"]),
            Route("/api/weights", tell_weights, methods=["GET"]),
            *_asset_routes(),
        ],
        middleware=[Middleware(Guard, names=names)],
        exception_handlers={HTTPException: _tell_refusal, Exception: _tell_fault},
        lifespan=_lifespan((batcher, pages, viewers), decoders, recognizer.workers),
    )
    app.router.redirect_slashes = False
    return app


def _lifespan(
    batchers: Sequence[Batcher[Any, Any]], decoders: ThreadPoolExecutor, workers: PictureWorkers
) -> Lifespan[Starlette]:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        workers.start()
        try:
            async with contextlib.AsyncExitStack() as running:
                for batcher in batchers:
                    await running.enter_async_context(batcher.running())
                yield
        finally:
            decoders.shutdown(wait=False, cancel_futures=True)
            workers.close()

    return lifespan


def _view_one(recognizer: Recognizer) -> Callable[[Sequence[Callable[[LayerViewer], Any]]], list[Any]]:
    """Answers questions to a viewer, which is made when the first comes: few people look inside."""
    make = functools.cache(lambda: LayerViewer(recognizer.model))
    return lambda questions: [question(make()) for question in questions]


def _asset_routes() -> list[Route]:
    assets = resources.files("mnist_jax.demo").joinpath("assets")
    routes = []
    for folder, prefix in ((assets, "/"), (assets.joinpath("three"), "/three/")):
        for file in folder.iterdir():
            media_type = _MEDIA_TYPES.get(file.name.rpartition(".")[2])
            if media_type:
                path = "/" if file.name == "index.html" else f"{prefix}{file.name}"
                routes.append(Route(path, _asset(file.read_bytes(), media_type), methods=["GET"]))
    return routes


def _asset(content: bytes, media_type: str) -> Any:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    return answer


async def _tell_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    messages = {"Not Found": f"{what}: there is nothing here"}
    messages["Method Not Allowed"] = f"{what}: this method is not for this path"
    return error_response(
        error.status_code, messages.get(error.detail, error.detail), dict(error.headers or {})
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


def _page_as_json(page: Page, digits: Sequence[Digit]) -> dict[str, Any]:
    height, width = page.shape
    rows = [
        {
            "box": list(digit.box),
            "line": digit.line,
            "label": str(digit.label),
            "probability": round(float(digit.probabilities.max()), 6),
            "unsure": bool(digit.doubt),
            "reason": digit.doubt,
        }
        for digit in digits
    ]
    return {"height": height, "width": width, "text": to_text(digits), "digits": rows}


def _pixels(values: UInt8[np.ndarray, "height width *channels"]) -> dict[str, Any]:
    height, width, channels = values.reshape(*values.shape[:2], -1).shape
    data = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
    return {"height": height, "width": width, "channels": channels, "base64": data}
