"""What a container prints, through all its lives.

Must not know: how containers are made, labels.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from otter_agent.api import LogLine
from otter_agent.engine import Engine, EngineError, filters, translated
from otter_agent.errors import ContainerError
from otter_agent.runtimes.base import Key, LogPlace
from otter_agent.runtimes.frames import Frames, Lines, moment, seconds

FindId = Callable[[Key], Awaitable[str | None]]


async def follow_logs(
    engine: Engine,
    find_id: FindId,
    key: Key,
    *,
    tail: int | None,
    follow: bool,
    since: float | None = None,
    until: float | None = None,
    place: LogPlace,
) -> AsyncIterator[LogLine]:
    """Lines of a container's log; `follow` goes on through its restarts until it is removed."""
    with translated(ContainerError, "read the log", key):
        container = await find_id(key)
        if container is None:
            return
        params = _params(tail, since, until, place)
        if place.at is None and tail == 0:
            place.at = _now()
        last = await _last(engine, container, params) if follow else ""
        while life := await _life(engine, container):
            seen = str(place.at or "")  # `since` includes its moment
            if not last:
                place.caught_up()
            lines = _read(engine, container, params, follow=follow, last=last, place=place)
            async for stamp, text in lines:
                if stamp <= seen:
                    continue
                # Two outputs are stamped apart: order isn't strict.
                place.at = max(str(place.at or ""), stamp)
                yield LogLine(module=key.module, text=text, time=seconds(stamp))
            if not follow:
                return
            last = ""
            place.caught_up()
            if not await _lives_again(engine, container, life):
                return
            params = _params(None, since, until, place)


def _params(
    tail: int | None, since: float | None, until: float | None, place: LogPlace
) -> dict[str, str]:
    """What to ask for, so that nothing that was read is asked for again."""
    params = {"tail": "all" if tail is None else str(tail)}
    if place.at is not None:
        params["since"] = moment(str(place.at))
    elif since is not None:
        params["since"] = f"{since:.9f}"
    if until is not None:
        params["until"] = f"{until:.9f}"
    return params


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


async def _last(engine: Engine, container: str, params: dict[str, str]) -> str:
    """The time of the last that is there; empty: nothing is. Who follows isn't told where it ends.

    One after the other (first without, then with following) would lose what two outputs have been
    given out of order in between.
    """
    if params["tail"] == "0":
        return ""
    only = {**params, "tail": "1"}
    stamps = [_stamp(data) async for _, data in _frames(engine, container, only, follow=False)]
    return max(stamps, default="")


async def _read(
    engine: Engine,
    container: str,
    params: dict[str, str],
    *,
    follow: bool,
    last: str,
    place: LogPlace,
) -> AsyncIterator[tuple[str, str]]:
    lines = Lines()
    async for fd, data in _frames(engine, container, params, follow=follow):
        if line := lines.feed(fd, data):
            yield line
        if last and _stamp(data) >= last:
            place.caught_up()
            last = ""
    for line in lines.rest():
        yield line


async def _frames(
    engine: Engine, container: str, params: dict[str, str], *, follow: bool
) -> AsyncIterator[tuple[int, bytes]]:
    wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": str(int(follow)), **params}
    frames = Frames()
    path = f"/containers/{container}/logs"
    async with engine.stream("GET", path, params=wanted) as response:
        with engine.errors():
            async for block in response.content.iter_any():
                for frame in frames.feed(block):
                    yield frame


def _stamp(data: bytes) -> str:
    return data.partition(b" ")[0].decode(errors="replace")


async def _life(engine: Engine, container: str) -> str | None:
    """Names a container's current life; None once it is removed."""
    try:
        state: dict[str, Any] = (await engine.json("GET", f"/containers/{container}/json"))["State"]
    except EngineError as exc:
        if exc.status == 404:
            return None
        raise
    return f"{state['Status']} {state['StartedAt']}"


async def _lives_again(engine: Engine, container: str, life: str) -> bool:
    """Wait until the container is started anew (True) or removed (False)."""
    wanted = filters(type=["container"], container=[container], event=["start", "destroy"])
    async with engine.stream("GET", "/events", params=wanted) as response:
        now = await _life(engine, container)  # it may have come back before we listened
        if now is None:
            return False
        if now.startswith("running") or now.split()[1] != life.split()[1]:
            return True
        async for event in engine.objects(response):
            return bool(event["Action"] == "start")
    raise EngineError(0, f"the engine at {engine.url} went away")
