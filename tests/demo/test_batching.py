"""Batches form while the one before is computed, and nobody is forgotten."""

import asyncio
import threading

import pytest

from mnist_jax.demo.batching import Batcher


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 20))


def test_what_arrives_meanwhile_is_answered_together():
    sizes, free = [], threading.Event()

    def double(questions):
        sizes.append(len(questions))
        free.wait(10)
        return [2 * question for question in questions]

    async def scenario():
        batcher = Batcher(double, max_size=4)
        async with batcher.running():
            first = asyncio.create_task(batcher.ask(0))
            while not sizes:
                await asyncio.sleep(0.001)
            others = [asyncio.create_task(batcher.ask(i)) for i in range(1, 7)]
            await asyncio.sleep(0.01)
            free.set()
            return await asyncio.gather(first, *others)

    assert run(scenario()) == [0, 2, 4, 6, 8, 10, 12]
    assert sizes == [1, 4, 2]


def test_a_fault_reaches_those_who_asked_and_the_next_are_answered():
    def invert(questions):
        return [1 / question for question in questions]

    async def scenario():
        batcher = Batcher(invert, max_size=1)
        async with batcher.running():
            with pytest.raises(ZeroDivisionError):
                await batcher.ask(0)
            return await batcher.ask(4)

    assert run(scenario()) == 0.25


def test_who_hangs_up_is_left_out():
    seen = []

    def answer(questions):
        seen.extend(questions)
        return questions

    async def scenario():
        batcher = Batcher(answer, max_size=4)
        gone = asyncio.create_task(batcher.ask("gone"))
        await asyncio.sleep(0)
        gone.cancel()
        async with batcher.running():
            return await batcher.ask("here")

    assert run(scenario()) == "here"
    assert seen == ["here"]


def test_open_questions_are_cancelled_at_the_end():
    started, free = threading.Event(), threading.Event()

    def answer(questions):
        started.set()
        free.wait(10)
        return questions

    async def scenario():
        batcher = Batcher(answer, max_size=1)
        async with batcher.running():
            asked = [asyncio.create_task(batcher.ask(i)) for i in range(3)]
            while not started.is_set():
                await asyncio.sleep(0.001)
            asyncio.get_running_loop().call_later(0.05, free.set)
        return await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in run(scenario()))
