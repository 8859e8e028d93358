"""The client beside the real agent: uploads, results, streams, a command's input and output."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from dataclasses import replace

import pytest

from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.connection import unix
from otter_ctl.errors import AgentFault
from otter_ctl.http import HttpClient

pytestmark = pytest.mark.netns
MODULE = """
name = "talk"
[hosts.h]
[modules.m]
host = "h"
runtime = "process"
command = ["sh", "-c", "echo one; echo x > out.txt; echo two; exec sleep 1000"]
outputs = ["out.txt"]
"""


@pytest.fixture
def client(shared_otter):
    if shared_otter.agent_pid is None:
        shared_otter.serve()
    return AgentClient(shared_otter.root / "a" / "run" / "agent.sock")


async def pieces(data):
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


@pytest.mark.parametrize("kind", ["bytes", "file", "iterator", "nothing"])
async def test_uploads_arrive_whole(client, shared_otter, tmp_path, kind):
    content = b"" if kind == "nothing" else os.urandom(5 << 20)
    (tmp_path / "content").write_bytes(content)
    body = {"file": tmp_path / "content", "iterator": pieces(content)}.get(kind, content)
    digest = hashlib.sha256(content).hexdigest()
    async with client:
        async with client.request("PUT", f"/v1/blobs/{digest}", body=body) as answer:
            assert answer.status == 201
        async with client.request("HEAD", f"/v1/blobs/{digest}") as answer:
            assert answer.status == 200
            assert await answer.read() == b""


@pytest.mark.parametrize("kind", ["text", "noise"])
async def test_what_goes_to_another_machine_is_compressed_where_that_is_worth_it(client, kind):
    """By the way there alone: the agent has what was sent, by its digest."""
    sent = 0

    async def open_():
        near = await unix(client.socket)()

        class Counted:
            drain = near.writer.drain

            @staticmethod
            def write(data):
                nonlocal sent
                sent += len(data)
                near.writer.write(data)

        return replace(near, writer=Counted)

    content = b"".join(b"line %d of a file\n" % n for n in range(50_000))
    content = os.urandom(len(content)) if kind == "noise" else content
    digest = hashlib.sha256(content).hexdigest()
    async with AgentClient(client.socket, "pi", open_) as far:
        await far.bring({digest: lambda: content})
        async with far.request("HEAD", f"/v1/blobs/{digest}") as answer:
            assert answer.status == 200
    assert (sent < len(content) / 3) == (kind == "text"), (sent, len(content))


async def test_a_refused_upload_says_why(client):
    async with client:
        with pytest.raises(AgentFault, match="another digest"):
            async with client.request("PUT", f"/v1/blobs/{'0' * 64}", body=b"x" * (3 << 20)):
                pass
        assert (await client.info()).machine


DEEP = b'{"name": "m", "run": "r", "timeline": {"events": [{"at_s": 0, "change": {"x": '


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"no gzip at all", "gzip"), (DEEP + b"[" * 200_000, "")],
    ids=["damaged", "deep"],
)
async def test_a_body_that_makes_no_sense_is_refused_in_a_line(client, body, encoding):
    http = HttpClient(unix(client.socket), RuntimeError)
    async with http.request("PUT", "/v1/meshes/m", body=body, encoding=encoding) as answer:
        assert answer.status == 400
        assert api.decode(await answer.read(), api.Problem).message.startswith("request body: ")
    http.close()


async def test_what_was_compressed_to_next_to_nothing_arrives_whole(client):
    """More than is read ahead comes out of the last bytes that are sent."""
    content = bytes(48 << 20)
    digest = hashlib.sha256(content).hexdigest()
    async with AgentClient(client.socket, "pi", unix(client.socket)) as far:
        await far.bring({digest: lambda: content})
        async with far.request("HEAD", f"/v1/blobs/{digest}") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("name", ["../../v1/info", "a/b", "ü?x=1#y", "x" * 3000, "%2e%2e", ".."])
async def test_hostile_names_are_names(client, name):
    async with client:
        with pytest.raises(AgentFault) as caught:
            await client.mesh(name)
        assert caught.value.code == "not-found"


async def test_logs_results_events_and_commands(client, shared_otter):
    async with client:
        async with client.events(mesh="talk", follow=True) as events:
            await asyncio.to_thread(shared_otter, "apply", shared_otter.topology(MODULE))
            async for event in events:
                if event.state == "settled":
                    break
        lines = []
        async with asyncio.timeout(60):  # "settled" is that it lives: its words follow
            while "two" not in lines:
                log = client.logs("talk", ["m"], tail=None, follow=False)
                lines = [line.text async for line in log]
        assert lines == ["one", "two"]
        results = b"".join([chunk async for chunk in client.files("talk", "m")])
        assert b"outputs/out.txt" in results
        with pytest.raises(AgentFault, match="no module 'n'"):
            async with client.exec("talk", "n", api.ExecRequest(argv=("true",))):
                pass
        await converse(client)


async def converse(client):
    """16 MiB through `cat` and back, while both sides push."""
    data = os.urandom(1 << 16)
    heard = hashlib.sha256()
    async with (
        client.exec("talk", "m", api.ExecRequest(argv=("cat",))) as duplex,
        asyncio.TaskGroup() as group,
    ):

        async def feed():
            for _ in range(256):
                await duplex.send(data)
            await duplex.send(b"")

        group.create_task(feed())
        async for message in duplex:
            if message[0] == 0:
                assert json.loads(message[1:]) == {"exit": 0}, message
            else:
                heard.update(message[1:])
    assert heard.digest() == hashlib.sha256(data * 256).digest()
