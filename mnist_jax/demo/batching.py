"""Requests that arrive while the device is busy are answered together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Batcher(Generic[Request, Answer]):
    """Collects requests and has them answered in batches, one batch at a time, off the event loop.

    Nobody is made to wait for others: a batch is whatever has come in while the one before was computed.
    """

    def __init__(self, answer: Callable[[Sequence[Request]], Sequence[Answer]], max_size: int):
        """Takes what answers up to ``max_size`` requests, in a thread of its own; starts nothing yet."""
        self._answer = answer
        self._max_size = max_size
        self._waiting: asyncio.Queue[tuple[Request, asyncio.Future[Answer]]] = asyncio.Queue()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answers requests within this context; those that are open at its end are cancelled."""
        executor = ThreadPoolExecutor(1, "network")
        worker = asyncio.create_task(self._work(executor))
        try:
            yield
        finally:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker
            while not self._waiting.empty():
                self._waiting.get_nowait()[1].cancel()
            executor.shutdown(wait=False)

    async def ask(self, request: Request) -> Answer:
        """Waits for the answer to one request; raises what answering raised."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((request, future))
        return await future

    async def _work(self, executor: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._max_size and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            # Who has hung up meanwhile needs no answer.
            batch = [entry for entry in batch if not entry[1].done()]
            if not batch:
                continue
            try:
                answers = await loop.run_in_executor(
                    executor, self._answer, [request for request, _ in batch]
                )
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
