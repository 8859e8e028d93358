"""Where recordings come from: files of a folder, and messages. They are heard in batches.

A file counts as there when the system tells that it was written whole, or once it looked the same
twice: whoever writes it may be in the middle. Must not know: models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from audio import Samples, WavError, load_wav, of_message  # type: ignore[import-not-found]
from written import Written  # type: ignore[import-not-found]

import net

LOOK_S = 0.05
"""How often the folder is looked at: any file system can do that, and it costs next to nothing."""
SETTLE_S = 0.005
"""A file that was written whole may get another time yet, by who copied it."""

Look = tuple[int, int]
"""Size and time of change."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Something to hear.

    Attributes:
        name: For the log.
        source: A file, or the message that brought it.
    """

    name: str
    source: Path | net.Message

    @property
    def message(self) -> net.Message | None:
        """The message that brought it."""
        return self.source if isinstance(self.source, net.Message) else None

    def samples(self, longest_s: float) -> Samples:
        """Its sound, mono float32 [n] at 16 kHz. Blocking.

        Raises:
            WavError: It is no recording that can be heard.
        """
        if isinstance(self.source, net.Message):
            return of_message(self.source.value, longest_s)
        try:
            return load_wav(self.source, longest_s)
        except OSError as exc:
            raise WavError(f"{self.name}: {exc.strerror}") from exc


class Recordings:
    """All recordings, in order of name and arrival.

    Args:
        mesh: Its input `audio` brings some, if a stream leads there.
        pattern: Which files of the work folder are recordings.
        stay: Whether more files may come.
    """

    def __init__(self, mesh: net.Mesh, pattern: str, *, stay: bool) -> None:
        self._mesh, self._pattern, self._stay = mesh, pattern, stay
        self._waiting: asyncio.Queue[Recording | None] = asyncio.Queue(64)
        self._looks: dict[Path, Look] = {}
        self._taken: dict[Path, Look] = {}

    async def collect(self) -> None:
        """Gather recordings until no more can come. Runs beside `batch`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._files())
            if "audio" in self._mesh.inputs:
                group.create_task(self._messages())
        await self._waiting.put(None)

    async def batch(self, most: int) -> list[Recording]:
        """The next ones, at most so many of those that wait; none: no more will come."""
        batch: list[Recording] = []
        one = await self._waiting.get()
        while one is not None:
            batch.append(one)
            if len(batch) == most or self._waiting.empty():
                return batch
            one = self._waiting.get_nowait()
        self._waiting.put_nowait(None)  # for who asks again
        return batch

    async def _files(self) -> None:
        loop = asyncio.get_running_loop()
        with Written((self._mesh.work / self._pattern).parent) as written:
            while True:
                await self._put(await asyncio.to_thread(self._look))
                if not self._stay and self._looks == self._taken:
                    return
                until = loop.time() + LOOK_S
                while (left := until - loop.time()) > 0:
                    if names := await written.within(left):
                        await self._put(await self._settled(names))

    async def _put(self, files: Iterable[Path]) -> None:
        for file in files:
            await self._waiting.put(Recording(file.name, file))

    async def _settled(self, names: Iterable[str]) -> list[Path]:
        """Those that are recordings, whole, and not taken yet."""
        pattern = self._mesh.work / self._pattern
        files = [pattern.parent / n for n in sorted(names) if fnmatchcase(n, pattern.name)]
        before = {file: _look_of(file) for file in files}
        await asyncio.sleep(SETTLE_S)
        whole = {
            file: look
            for file in files
            if (look := _look_of(file)) and before[file] == look != self._taken.get(file)
        }
        self._taken.update(whole)
        return [*whole]

    def _look(self) -> list[Path]:
        """Files that are new, or changed, and whole by all that can be told."""
        before, self._looks = self._looks, {}
        for file in sorted(self._mesh.work.glob(self._pattern)):
            if look := _look_of(file):
                self._looks[file] = look
        self._taken = {file: look for file, look in self._taken.items() if file in self._looks}
        whole = [
            f for f, look in self._looks.items() if before.get(f) == look != self._taken.get(f)
        ]
        self._taken.update((file, self._looks[file]) for file in whole)
        return whole

    async def _messages(self) -> None:
        audio = self._mesh.input("audio")
        audio.by_hand = True  # acknowledged when heard
        async for message in audio:
            await self._waiting.put(Recording(f"{message.source}'s recording", message))


def _look_of(file: Path) -> Look | None:
    """None: it has gone already."""
    try:
        facts = file.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns
