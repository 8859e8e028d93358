"""Makes images on an engine: by Dockerfile, by a command in a container, by pull, from a root tar.

Every way reports what it prints line by line and fails as `ImageError` with the last lines. Must
not know: what a module or a base is.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from otter_agent.engine import Engine, EngineError, filters
from otter_agent.errors import ImageError
from otter_agent.images.base import BuildLog
from otter_agent.images.rootfs import blocks
from otter_agent.images.steps import TAIL_LINES, Step
from otter_agent.runtimes.frames import Frames

BUILDER = "otter.builder"
"""Label of the containers in which images are made; what a killed agent left is found by it."""
_DISK_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_DISK_HINT = "free some space for the Docker engine, e.g. with 'otterctl image prune'"
_STEP = re.compile(r"Step \d+/\d+ : ")
_CHATTER = re.compile(r" ---> |Removing intermediate container |$")
"""What the engine itself says between the lines of a step."""
_STATUS = re.compile(r"returned a non-zero code: (\d+)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""The builder paints what a step writes to stderr."""
_TAR = "application/x-tar"


class Builder:
    """Makes images.

    Args:
        engine: Where.
        agent_id: For whom: a label on the containers that a making needs.
    """

    def __init__(self, engine: Engine, agent_id: str) -> None:
        self.engine = engine
        self.agent_id = agent_id

    async def inspect(self, reference: str) -> dict[str, Any] | None:
        """All facts of an image; None if it isn't there."""
        try:
            found: dict[str, Any] = await self.engine.json("GET", f"/images/{reference}/json")
        except EngineError as exc:
            if exc.status == 404:
                return None
            raise
        return found

    async def build(
        self,
        context: Path,
        tag: str,
        *,
        step: Step,
        log: BuildLog,
        args: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> None:
        """Build a context tar by its Dockerfile.

        Raises:
            ImageError: A step failed: its command and last lines are in the error.
        """
        params = {
            "t": tag, "rm": "1", "forcerm": "1",
            "buildargs": json.dumps(args), "labels": json.dumps(labels),
        }  # fmt: skip
        where, rest, tail = "", "", deque[str](maxlen=TAIL_LINES)
        async with self._post("/build", params, blocks(context)) as answers:
            async for answer in answers:
                *lines, rest = (rest + _COLOUR.sub("", answer.get("stream", ""))).split("\n")
                for line in lines:
                    if _STEP.match(line):
                        where = line
                        tail.clear()
                    _note(line, deque() if _CHATTER.match(line) else tail, log)
                if "error" in answer:
                    raise _failed(step, _why(where, str(answer["error"]), tail), tail)

    async def pull(self, reference: str, *, step: Step, log: BuildLog) -> None:
        """Pull an image.

        Raises:
            ImageError: It can't be had.
        """
        hint = "is the name right, and can this machine reach its registry?"
        name, _, tag = reference.rpartition(":")
        plain = not name or "/" in tag or "@" in reference
        params = {"fromImage": reference} if plain else {"fromImage": name, "tag": tag}
        if plain and "@" not in reference:
            params["tag"] = "latest"
        said = ""
        try:
            async with self._post("/images/create", params, None) as answers:
                async for answer in answers:
                    if "error" in answer:
                        raise _failed(step, str(answer["error"]), (), hint)
                    line = f"{answer.get('id', '')}: {answer.get('status', '')}".lstrip(": ")
                    if line != said:
                        said = line
                        log(line)
        except EngineError as exc:
            if exc.status == 0:
                raise
            raise _failed(step, exc.message, (), hint) from exc

    async def import_root(self, tar: Path, tag: str, *, labels: Mapping[str, str]) -> None:
        """Make an image of one layer from a tar."""
        name, _, version = tag.rpartition(":")
        changes = [("changes", f"LABEL {_labels(labels)}")]
        params = [("fromSrc", "-"), ("repo", name), ("tag", version), *changes]
        async with self._post("/images/create", params, blocks(tar)) as answers:
            async for answer in answers:
                if "error" in answer:
                    raise EngineError(500, str(answer["error"]))

    async def run_and_commit(
        self,
        base: str,
        tag: str,
        script: str,
        *,
        step: Step,
        log: BuildLog,
        changes: Sequence[str],
        labels: Mapping[str, str],
        mounts: Mapping[str, Path] | None = None,
        archive: tuple[str, bytes] | None = None,
    ) -> None:
        """Run a shell script in a container of `base` and make an image of what it leaves.

        One layer on top of `base`, and nothing of what the script only reads: a Dockerfile would
        keep a stage with the wheels in the builder's cache.

        Args:
            base: The image to start from.
            tag: The name of the new one.
            script: For `/bin/sh -ec`; it has no network.
            step: What the error says.
            log: Gets its output.
            changes: Dockerfile lines for the new image (ENV, CMD, WORKDIR).
            labels: Of the new image.
            mounts: Folders of this machine, shown read-only: path inside -> folder.
            archive: A tar to unpack before the script runs, and where.
        """
        async with self._container(base, script, mounts or {}) as container:
            if archive is not None:
                path, data = archive
                await self._put(container, path, data)
            await self._run(container, step, log)
            params = [("container", container), ("pause", "0"), ("repo", tag.rpartition(":")[0]),
                      ("tag", tag.rpartition(":")[2])]  # fmt: skip
            marks = {**labels, BUILDER: ""}
            params += [("changes", line) for line in (*changes, f"LABEL {_labels(marks)}")]
            try:
                async with self.engine.stream("POST", "/commit", params=params):
                    pass
            except EngineError as exc:
                if exc.status == 0:
                    raise
                raise _failed(step, exc.message, ()) from exc

    async def sweep(self) -> None:
        """Remove what makings of a killed agent left."""
        params = {"all": "1", **filters(label=[f"{BUILDER}={self.agent_id}"])}
        for left in await self.engine.json("GET", "/containers/json", params=params):
            await self._delete(left["Id"])

    # --- a container to work in -------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _container(
        self, image: str, script: str, mounts: Mapping[str, Path]
    ) -> AsyncIterator[str]:
        body = {
            "Image": image,
            "Cmd": ["/bin/sh", "-ec", script],
            "User": "0",
            "Labels": {BUILDER: self.agent_id},
            "HostConfig": {
                "NetworkMode": "none",
                "Mounts": [
                    {"Type": "bind", "Source": str(folder), "Target": target, "ReadOnly": True}
                    for target, folder in mounts.items()
                ],
                "LogConfig": {"Type": "json-file"},
            },
        }
        made = await self.engine.json("POST", "/containers/create", body=body)
        try:
            yield made["Id"]
        finally:
            await asyncio.shield(self._delete(made["Id"]))

    async def _run(self, container: str, step: Step, log: BuildLog) -> None:
        tail = deque[str](maxlen=TAIL_LINES)
        await self.engine.json("POST", f"/containers/{container}/start")
        params = {"stdout": "1", "stderr": "1", "follow": "1"}
        frames, rest = Frames(), b""
        path = f"/containers/{container}/logs"
        async with self.engine.stream("GET", path, params=params) as response:
            with self.engine.errors():
                async for block in response.content.iter_any():
                    *lines, rest = (rest + b"".join(d for _, d in frames.feed(block))).split(b"\n")
                    for line in lines:
                        _note(line.decode(errors="replace"), tail, log)
        done = await self.engine.json("POST", f"/containers/{container}/wait")
        if done["StatusCode"] != 0:
            why = f"ended with status {done['StatusCode']}"
            last = next((t for t in reversed(tail) if t.strip()), "")
            raise _failed(step, f"{why}: {last}" if last else why, tail)

    async def _put(self, container: str, path: str, data: bytes) -> None:
        target = f"/containers/{container}/archive"
        params, body = {"path": path}, io.BytesIO(data)  # in pieces: the loop isn't held up
        async with self.engine.stream("PUT", target, params=params, data=body, content_type=_TAR):
            pass

    async def _delete(self, container: str) -> None:
        try:
            params = {"force": "1", "v": "1"}
            await self.engine.json("DELETE", f"/containers/{container}", params=params)
        except EngineError as exc:
            if exc.status not in (404, 409):
                raise

    @contextlib.asynccontextmanager
    async def _post(
        self, path: str, params: Any, data: AsyncIterator[bytes] | None
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        async with self.engine.stream(
            "POST", path, params=params, data=data, content_type=_TAR
        ) as response:
            yield self.engine.objects(response)


def _note(line: str, tail: deque[str], log: BuildLog) -> None:
    tail.append(line)
    log(line)


def _why(where: str, error: str, tail: Sequence[str] | deque[str]) -> str:
    """The step, how it ended and its last words; the engine's message only repeats the step."""
    ended = _STATUS.search(error)
    if ended is None:
        return f"{where}: {error}".lstrip(": ")
    last = next((line for line in reversed(tail) if line != where), "")
    name = where.replace(" : ", " (", 1) + ")"
    return f"{name} ended with status {ended[1]}{': ' if last else ''}{last}"


def _failed(step: Step, why: str, tail: Sequence[str] | deque[str], hint: str = "") -> ImageError:
    why = " ".join(why.split())
    if any(_DISK_FULL.search(line) for line in (why, *tail)):
        return step.failed(f"the engine's disk is full ({why})", hint=_DISK_HINT, tail=[*tail])
    return step.failed(why[:500], hint=hint, tail=[*tail])


def _labels(labels: Mapping[str, str]) -> str:
    return " ".join(f'{name}="{value}"' for name, value in labels.items())
