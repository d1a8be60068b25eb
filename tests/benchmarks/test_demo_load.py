"""The parts of the demo's load that need no demo; the whole takes half a minute."""

import asyncio
import io

import pytest
from PIL import Image

from benchmarks import demo_load


def read(content):
    async def go():
        reader = asyncio.StreamReader()
        reader.feed_data(content)
        reader.feed_eof()
        return await demo_load.read_answer(reader)

    return asyncio.run(go())


def test_an_answer_is_its_status_once_all_of_it_is_there():
    assert read(b'HTTP/1.1 422 What\r\nContent-Length: 11\r\n\r\n{"error":1}') == 422
    with pytest.raises(asyncio.IncompleteReadError):
        read(b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"error":1}')


def test_drawings_are_dark_digits_on_white():
    first, second = demo_load.drawings(2)
    image = Image.open(io.BytesIO(first))
    assert (image.size, image.mode) == ((280, 280), "L") and image.getpixel((0, 0)) == 255
    assert image.getextrema()[0] < 50 and first != second


def test_slow_clients_send_headers_or_a_body_and_never_an_end():
    received = {}

    async def keep(reader, writer):
        head = await reader.read(200)
        received[head.startswith(b"POST")] = head
        writer.close()

    async def go():
        server = await asyncio.start_server(keep, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        tasks = [asyncio.create_task(demo_load.dawdle(port, number)) for number in range(2)]
        while len(received) < 2:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        server.close()

    asyncio.run(go())
    assert b"\r\n\r\n" not in received[False] and received[True].count(b"\r\n\r\n") == 1
