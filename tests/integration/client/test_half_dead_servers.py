"""The client beside servers that break off, talk nonsense or say nothing."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.connection import unix
from otter_ctl.errors import AgentFault, AgentUnreachable
from otter_ctl.http import HttpClient

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
_EVENT = api.Event(seq=1, time=0.0, mesh="m", kind="mesh", subject="m", text="", state="ready")
EVENT = api.encode(_EVENT) + b"\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def says(peer, hear, *parts: bytes):
    """Serve: after the head of a request, these bytes, and the connection is closed."""

    async def handle(reader, writer):
        await hear(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return peer.serving(handle)


async def test_nobody_listens(peer):
    async with AgentClient(peer.socket) as client:
        with pytest.raises(AgentUnreachable, match="No such file or directory"):
            await client.info()


async def test_nobody_listens_any_more(peer, hear):
    async with says(peer, hear):
        pass  # the socket stays behind
    async with AgentClient(peer.socket) as client:
        with pytest.raises(AgentUnreachable, match="Connection refused"):
            await client.info()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([], "closed the connection without an answer"),
        ([b"HTTP/1.1 20"], "connection broke"),
        ([OK + b"Content-Length: 100\r\n\r\n", b"{"], "connection broke .*complete message"),
        ([CHUNKED, chunk(b"{")], "connection broke .*complete message"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], "connection broke"),
        ([b"\x00\xff" * 5000], "connection broke"),
        ([OK + b"Content-Length: ten\r\n\r\n"], "connection broke"),
        ([CHUNKED + b"xyz\r\n"], "connection broke"),
        ([OK, b"X-Long: " + b"x" * (1 << 20)], "connection broke"),
        ([OK, b"X-Many: x\r\n" * 100_000], "connection broke"),
    ],
    ids=["closes", "half a status", "half a body", "half a chunk", "SSH", "binary", "length",
         "chunk size", "huge header", "many headers"],
)  # fmt: skip
async def test_answers_that_are_none(peer, hear, answer, why):
    async with says(peer, hear, *answer), AgentClient(peer.socket) as client:
        with pytest.raises(AgentUnreachable, match=why) as caught:
            await client.info()
    assert "\n" not in str(caught.value)


async def test_an_answer_that_never_comes(peer, hear):
    async def handle(reader, writer):
        await hear(reader)
        await reader.read()  # until the client gives up

    async with peer.serving(handle):
        http = HttpClient(unix(peer.socket), RuntimeError)
        with pytest.raises(RuntimeError, match="no answer in time"):
            async with http.request("GET", "/v1/info", answer_s=0.05):
                pass
        await asyncio.wait_for(peer.gone.wait(), 5)  # it let go of the connection


async def test_an_answer_that_never_ends(peer, hear, monkeypatch):
    monkeypatch.setattr("otter_ctl.http.MAX_BODY_BYTES", 1 << 20)

    async def handle(reader, writer):
        await hear(reader)
        writer.write(CHUNKED)
        while True:
            writer.write(chunk(b" " * 65536))
            await writer.drain()

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        with pytest.raises(AgentUnreachable, match="over 1048576 bytes"):
            await client.info()
        await asyncio.wait_for(peer.gone.wait(), 5)


async def test_a_line_that_never_ends(peer, hear):
    async def handle(reader, writer):
        await hear(reader)
        writer.write(CHUNKED + chunk(EVENT))
        while True:
            writer.write(chunk(b"x" * 65536))
            await writer.drain()

    async with (
        peer.serving(handle),
        AgentClient(peer.socket) as client,
        client.events(follow=True) as events,
    ):
        assert (await anext(events)).state == "ready"
        with pytest.raises(AgentUnreachable, match="a line of its answer is over"):
            await anext(events)


async def test_a_stream_that_breaks_off_gives_what_came_and_then_an_error(peer, hear):
    half = EVENT[: len(EVENT) // 2]
    async with (
        says(peer, hear, CHUNKED + chunk(EVENT + half)),
        AgentClient(peer.socket) as client,
        client.events(follow=True) as events,
    ):
        assert (await anext(events)).mesh == "m"
        with pytest.raises(AgentUnreachable, match="connection broke"):
            await anext(events)


async def test_lines_are_put_together_whatever_their_chunks(peer, hear):
    text = EVENT * 3 + b"\n\n" + EVENT[:-1]
    pieces = [chunk(bytes([byte])) for byte in text]
    async with (
        says(peer, hear, CHUNKED, *pieces, chunk(b"")),
        AgentClient(peer.socket) as client,
        client.events() as events,
    ):
        assert [e.state async for e in events] == ["ready"] * 4


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (b"500 Oh", b"<h1>Oh</h1>", "failed", "<h1>Oh</h1>"),
        (b"502 Bad Gateway", b"", "failed", "Bad Gateway"),
        (b"404 Not Found", b'{"code":"not-found","message":"no mesh x"}', "not-found", "no mesh x"),
        (b"200 OK", b'[{"mesh": 7}]', "version", "answer not understood"),
        (b"200 OK", b"", "version", "answer not understood"),
    ],
)
async def test_refusals_and_answers_of_another_version(peer, hear, status, body, code, text):
    head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    async with says(peer, hear, head + body), AgentClient(peer.socket) as client:
        with pytest.raises(AgentFault, match=text) as caught:
            await client.meshes()
    assert caught.value.code == code


async def test_a_kept_connection_is_used_again_and_replaced_when_it_was_closed(peer, hear):
    answer = OK + b"Content-Length: 2\r\n\r\n[]"
    served = []

    async def handle(reader, writer):
        for _ in range(2):  # each connection serves two requests, then hears a third and closes
            served.append(await hear(reader))
            writer.write(answer)
            await writer.drain()
        await hear(reader)

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        for _ in range(5):
            assert await client.meshes() == []
    assert len(served) == 5
    assert peer.connections == 3


async def test_a_post_is_never_sent_twice(peer, hear):
    async def handle(reader, writer):
        await hear(reader)
        writer.write(OK + b"Content-Length: 2\r\n\r\n[]")
        await hear(reader)

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        await client.meshes()
        with pytest.raises(AgentUnreachable, match="without an answer"):
            await client.prune()
    assert peer.connections == 1


async def test_a_get_is_tried_again_only_on_a_fresh_connection(peer, hear):
    async with says(peer, hear), AgentClient(peer.socket) as client:
        with pytest.raises(AgentUnreachable):
            await client.meshes()
    assert peer.connections == 1


# --- uploads -------------------------------------------------------------------------------------


async def test_an_upload_that_is_refused_half_way_says_why(peer, hear):
    problem = api.encode(api.Problem(code="failed", message="No space left on device"))
    left = asyncio.Event()

    async def handle(reader, writer):
        await hear(reader)
        await reader.readexactly(1 << 20)
        head = b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n" % len(problem)
        writer.write(head + problem)
        await writer.drain()
        await left.wait()  # reads no more

    async def endless():
        for _ in itertools.count():
            yield b"x" * 65536

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        with pytest.raises(AgentFault, match="No space left on device"):
            async with client.request("PUT", "/v1/blobs/x", body=endless()):
                pass
        left.set()


async def test_an_upload_to_a_server_that_hangs_up_ends(peer, hear):
    async def endless():
        for _ in itertools.count():
            yield b"x" * 65536

    async with says(peer, hear), AgentClient(peer.socket) as client:
        with pytest.raises(AgentUnreachable):
            async with client.request("PUT", "/v1/blobs/x", body=endless()):
                pass


async def test_a_file_that_shrinks_while_it_is_sent(peer, hear, tmp_path):
    file = tmp_path / "data"
    file.write_bytes(b"x" * (8 << 20))

    async def handle(reader, writer):
        await hear(reader)
        with file.open("r+b") as shrinking:
            shrinking.truncate(1 << 20)
        await reader.read()

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        with pytest.raises(AgentUnreachable, match="changed meanwhile"):
            async with client.request("PUT", "/v1/blobs/x", body=file):
                pass


async def test_a_body_that_fails_ends_the_request_with_its_own_error(peer, hear):
    async def failing():
        yield b"x" * 100
        raise LookupError("no more")

    async def handle(reader, writer):
        await hear(reader)
        await reader.read()

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        with pytest.raises(LookupError, match="no more"):
            async with client.request("PUT", "/v1/blobs/x", body=failing()):
                pass
        await asyncio.wait_for(peer.gone.wait(), 5)


async def test_leaving_a_stream_early_closes_its_connection(peer, hear):
    async def handle(reader, writer):
        await hear(reader)
        writer.write(CHUNKED + chunk(EVENT))
        await reader.read()

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        async with client.events(follow=True) as events:
            await anext(events)
        await asyncio.wait_for(peer.gone.wait(), 5)
