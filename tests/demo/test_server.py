"""The demo as a process: start, faults of the command line, many users at once, the end."""

import asyncio
import contextlib
import errno
import http.client
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mnist_jax.demo.connections import Connections
from mnist_jax.demo.server import _Faults, make_server, names_of, open_socket, url_of
from mnist_jax.errors import RunError
from tests.data.pictures.harmful import many_scans
from tests.demo.conftest import ROOT, plain_environment, start_demo, wait_for_demo
from tests.demo.pictures import encode, seven

NUM_CLIENTS = 32


def run_demo(*arguments, cwd=ROOT):
    command = [sys.executable, "-m", "mnist_jax.demo", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=plain_environment(), capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stderr


def test_a_port_in_use_is_one_line_before_anything_is_loaded():
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert run_demo("--workdir", "not loaded", f"--port={port}") == (
            1,
            f"error: port {port} on 127.0.0.1 is in use: give another, as in --port 0\n",
        )


def test_no_run_is_one_line(tmp_path):
    code, told = run_demo("--port=0", cwd=tmp_path)
    assert code == 1
    assert told.startswith(f"error: no run with a checkpoint below {tmp_path}/runs: give --workdir DIR, or")
    assert told.count("\n") == 1


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_a_host_that_is_not_here_is_refused(host):
    with pytest.raises(RunError, match=host):
        open_socket(host, 0)


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")]
)
def test_url_of(host, url):
    try:
        opened = open_socket(host, 0)
    except RunError:
        pytest.skip("this machine has no IPv6")
    with opened:
        assert url_of(opened) == f"http://{url}:{opened.getsockname()[1]}/"


def test_without_a_workdir_the_newest_run_is_shown_and_signals_end_it(run, tmp_path):
    shutil.copytree(run, tmp_path / "runs" / "mine")
    ends = {signal.SIGTERM: 143, signal.SIGINT: 130}
    # Both at once: most of the time is Python's start.
    processes = {number: start_demo(cwd=tmp_path) for number in ends}
    for number, process in processes.items():
        with process:
            demo = wait_for_demo(process)
            # A browser keeps its connection open; that must not hold the end up.
            idle = http.client.HTTPConnection("127.0.0.1", demo.port)
            idle.request("GET", "/api/model")
            assert json.loads(idle.getresponse().read())["run"] == "mine"
            process.send_signal(number)
            assert process.wait(20) == ends[number]
            assert process.stdout.read() == ""
            idle.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to see the handler")
def test_sigterm_while_loading(run):
    with start_demo("--workdir", run) as process:
        handled = 0
        while not handled & (1 << (signal.SIGTERM - 1)):
            status = Path(f"/proc/{process.pid}/status").read_text()
            handled = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == 143


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /%zz%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://elsewhere.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"POST /api/recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1e9\r\n\r\n",
        b"POST /api/recognise HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/recognise HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=range(14),
)
def test_what_is_no_http_is_not_the_servers_fault(demo, sent):
    with socket.create_connection(("127.0.0.1", demo.port), timeout=20) as connection:
        received = b""
        try:
            # The server may have hung up before the last of it was sent.
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        except OSError as error:
            assert error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
    assert not received or received[:9] == b"HTTP/1.1 "
    assert received[9:10] in (b"", b"2", b"4"), received[:200]


def test_a_client_that_hangs_up_halfway_harms_nobody(demo):
    head = b"POST /api/recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", demo.port), timeout=20) as connection:
            connection.sendall(head + b"x" * 10)
    assert recognize_for(demo, seconds=0)[0] == [200]


def recognize_for(demo, seconds):
    """One client's statuses and latencies, asking again and again for some seconds, at least once."""
    connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=60)
    body, statuses, latencies = encode(seven(168)), [], []
    end = time.monotonic() + seconds
    while not statuses or time.monotonic() < end:
        start = time.monotonic()
        connection.request("POST", "/api/recognise", body)
        response = connection.getresponse()
        answer = json.loads(response.read())
        latencies.append(time.monotonic() - start)
        statuses.append(response.status)
        assert len(answer["probabilities"]) == 10
    connection.close()
    return statuses, latencies


@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_many_users_at_once(demo, seconds, record_property):
    results = []

    def client():
        results.append(recognize_for(demo, seconds))

    threads = [threading.Thread(target=client) for _ in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == NUM_CLIENTS
    assert {status for statuses, _ in results for status in statuses} == {200}
    latencies = sorted(latency for _, each in results for latency in each)
    answered = f"{len(latencies)} answers in {seconds} s, median {latencies[len(latencies) // 2]:.3f} s"
    record_property("many_users", answered)
    print(answered, f"slowest {latencies[-1]:.3f} s, load average {os.getloadavg()[0]:.1f}")


# --- Clients that are slow on purpose ---

HALF = b"GET /api/model HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


def serve_for(client, limit, header_seconds, send_seconds=600.0):
    """Runs a server in this process while `client(port)` runs, and gives what that gives.

    It takes a body to its end, and gives for ``/large`` more than the system takes from it at once.
    """

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            for done in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{done}.complete"})
            return
        while (await receive()).get("more_body"):
            pass
        body = bytes(2**26) if scope["path"] == "/large" else b"ok"
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})

    async def run():
        with open_socket("127.0.0.1", 0) as opened:
            server = make_server(app, Connections(limit, header_seconds, send_seconds), 128)
            serving = asyncio.create_task(server.serve(sockets=[opened]))
            try:
                return await client(opened.getsockname()[1])
            finally:
                server.should_exit = True
                await serving

    return asyncio.run(run())


def test_headers_that_do_not_come_end_the_connection():
    async def client(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF)
        first = await reader.read()
        writer.close()
        # A second request of one connection is waited for no longer.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF + b"\r\n\r\n")
        await reader.readuntil(b"ok")
        writer.write(HALF)
        second = await reader.read()
        writer.close()
        return first, second

    assert serve_for(client, limit=10, header_seconds=0.3) == (b"", b"")


def test_one_connection_too_many_ends_the_one_that_has_waited_longest():
    async def client(port):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for _, writer in slow:
            writer.write(HALF)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF + b"\r\n\r\n")
        answer = await reader.readuntil(b"ok")
        ended = await slow[0][0].read()
        for _, each in (*slow, (reader, writer)):
            each.close()
        return answer[:15], ended

    assert serve_for(client, limit=3, header_seconds=600.0) == (b"HTTP/1.1 200 OK", b"")


LARGE = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
        LARGE,
        LARGE + LARGE + b"x",
    ],
    ids=["half a body", "a chunk", "an answer not taken", "more asked meanwhile"],
)
def test_one_connection_too_many_ends_one_that_has_asked_but_does_no_more(sent):
    async def client(port):
        slow = [await asyncio.open_connection("127.0.0.1", port, limit=1) for _ in range(3)]
        for _, writer in slow:
            writer.write(sent)
        await asyncio.sleep(0.3)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF + b"\r\n\r\n")
        answer = await reader.readuntil(b"ok")
        for _, each in (*slow, (reader, writer)):
            each.transport.abort()
        return answer[:15]

    assert serve_for(client, limit=3, header_seconds=600.0) == b"HTTP/1.1 200 OK"


def test_an_answer_that_is_not_taken_ends_the_connection():
    async def client(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(LARGE)
        await asyncio.sleep(0.6)
        received = 0
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(2**20):
                received += len(piece)
        writer.close()
        return received

    assert 0 < serve_for(client, limit=10, header_seconds=600.0, send_seconds=0.3) < 2**26


def test_a_body_that_comes_slowly_but_comes_is_answered():
    async def client(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(0.1)
            writer.write(b"x")
        answer = await reader.readuntil(b"ok")
        writer.close()
        return answer[:15]

    assert serve_for(client, limit=1, header_seconds=0.3, send_seconds=0.3) == b"HTTP/1.1 200 OK"


def test_a_body_in_crumbs_is_refused_and_one_in_pieces_is_not():
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def client(port):
        answers = []
        for pieces in (3000 * (b"64\r\n" + b"x" * 100 + b"\r\n"), 300_000 * b"1\r\nx\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request + pieces + b"0\r\n\r\n")
            answers.append(await reader.readline())
            writer.close()
        return answers

    refused = b"HTTP/1.1 400 Bad Request\r\n"
    assert serve_for(client, limit=10, header_seconds=600.0) == [b"HTTP/1.1 200 OK\r\n", refused]


def test_faults_of_the_loop_are_a_few_lines(capsys):
    tell = _Faults()
    for _ in range(1000):
        tell(
            None,
            {"message": "socket.accept() out of\x1b system resource", "exception": OSError(24, "Too many")},
        )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 20 and lines[-1].endswith("no more of these are told")
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "a fault", None, None)
    assert sum(tell.filter(record) for _ in range(1000)) == 20
    assert lines[0] == "socket.accept() out of\\x1b system resource: OSError: [Errno 24] Too many"


def test_slow_bodies_do_not_keep_others_waiting(demo):
    head = b"POST /api/recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"
    with contextlib.ExitStack() as opened:
        for _ in range(80):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", demo.port), timeout=20))
            connection.sendall(head)
        # Their bodies are waited for 30 s.
        client = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=20)
        client.request("POST", "/api/recognise", encode(seven(168)))
        assert client.getresponse().status == 200
        client.close()


def test_ctrl_c_ends_it_while_the_decoders_are_busy(run):
    body = many_scans()
    head = f"POST /api/recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with start_demo("--workdir", run) as process, contextlib.ExitStack() as opened:
        demo = wait_for_demo(process)
        for _ in range(3):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", demo.port), timeout=20))
            connection.sendall(head.encode() + body)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stdout.read() == ""


@pytest.mark.parametrize(
    ("allowed", "names"),
    [("", set()), ("proxy.example", {"proxy.example"}), ("A.example,b", {"a.example", "b"})],
)
def test_further_names_are_answered_where_they_are_allowed(allowed, names):
    assert names_of("127.0.0.1", allowed) == names
    assert names <= names_of("0.0.0.0", allowed)
