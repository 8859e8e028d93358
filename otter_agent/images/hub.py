"""Fetches a model's files from the model hub, over plain HTTP: no client of its own is needed.

    GET /api/models/REPO/revision/REVISION?blobs=true    {"sha": …, "siblings": [{"rfilename": …,
                                                          "size": …, "blobId": …, "lfs": {…}}]}
    GET /REPO/resolve/SHA/FILE                            its content, maybe after redirects

Each file is checked against the digest that the hub names: SHA-256 of large ones, git's of others.
Only files that hold data are fetched: weights in safetensors, never pickles. What was cut is gone
on with. Source: huggingface.co/docs/hub/api. Must not know: where the files are kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import aiohttp

from otter_agent.errors import ImageError
from otter_agent.images.base import BuildLog
from otter_agent.images.steps import Step

ENDPOINT_VARIABLE, TOKEN_VARIABLE, OFFLINE_VARIABLE = "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"
"""As the hub's own clients have them; of the agent."""
ENDPOINT = "https://huggingface.co"
FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.jinja")
WEIGHTS = "*.safetensors"
MOST_FILES = 1000
MOST_LISTING_BYTES = 16 << 20
_COMMIT_CHARACTERS = 64
_SIGNED_IN = re.compile(r"//[^/]*@")
_TRIES = 4
_BLOCK = 1 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
_ELSEWHERE = "name a folder or a package instead: docs/data.md, 'Weights'"


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on the hub."""

    name: str
    size_bytes: int
    digest: str
    """`sha256:…`, or `git:…`: the SHA-1 of git's blob."""


class Hub:
    """One hub.

    Args:
        step: What errors say.
        log: Gets a line per file.
        environment: Variables; where it is, who asks.
    """

    def __init__(self, step: Step, log: BuildLog, environment: Mapping[str, str]) -> None:
        self._step, self._log = step, log
        self._endpoint = (environment.get(ENDPOINT_VARIABLE) or ENDPOINT).rstrip("/")
        self._where = _SIGNED_IN.sub("//", self._endpoint)
        """As it may be shown."""
        self._token = environment.get(TOKEN_VARIABLE, "").strip()  # a file's line has an end
        self._offline = environment.get(OFFLINE_VARIABLE, "").lower() in ("1", "true", "yes", "on")

    async def fetch(self, repo: str, revision: str, target: Path) -> str:
        """Bring a model's files into the empty folder `target`; returns the commit they are of.

        Raises:
            ImageError: The hub isn't reached, has no such model, or sends what isn't it.
        """
        if self._offline:
            why = f"{repo} isn't in the cache, and {OFFLINE_VARIABLE} says not to ask the hub"
            raise self._step.failed(why, hint=_ELSEWHERE)
        if not (self._token.isascii() and self._token.isprintable()):
            hint = "is it a token, and nothing else?"
            raise self._step.failed(f"{TOKEN_VARIABLE} holds what no token does", hint=hint)
        headers = {"Accept-Encoding": "identity"}  # sizes and ranges are those of the files
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        async with aiohttp.ClientSession(
            headers=headers, timeout=_TIMEOUT, trust_env=True
        ) as session:
            try:
                commit, files = await self._listing(session, repo, revision)
                for file in files:
                    await self._file(session, f"{repo}/resolve/{commit}", file, target)
            except ValueError as exc:  # what HTTP can't carry
                raise self._unreached(exc) from exc
        return commit

    async def _listing(
        self, session: aiohttp.ClientSession, repo: str, revision: str
    ) -> tuple[str, list[Remote]]:
        path = f"/api/models/{quote(repo)}/revision/{quote(revision, safe='')}"
        try:
            async with session.get(f"{self._endpoint}{path}", params={"blobs": "true"}) as answer:
                self._check(answer.status, f"{repo}@{revision}")
                data = await answer.content.read(MOST_LISTING_BYTES)
                while not answer.content.at_eof() and len(data) < MOST_LISTING_BYTES:
                    data += await answer.content.read(MOST_LISTING_BYTES - len(data))
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise self._unreached(exc) from exc
        try:
            commit, files = listing(data)
        except ValueError as exc:
            raise self._step.failed(f"{self._where} has no list of {repo}'s files: {exc}") from exc
        if not any(fnmatchcase(file.name, WEIGHTS) for file in files):
            raise self._step.failed(
                f"{repo}@{revision} has no weights in safetensors, and others aren't fetched",
                hint="pickled weights run code when they are loaded: convert them, name a folder",
            )
        return commit, files

    async def _file(
        self, session: aiohttp.ClientSession, base: str, file: Remote, target: Path
    ) -> None:
        url = f"{self._endpoint}/{quote(base)}/{quote(file.name)}"
        path = target / file.name
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        self._log(f"fetching {file.name}, {file.size_bytes} bytes")
        error: Exception = ValueError("no try")
        for _ in range(_TRIES):
            try:
                await self._more(session, url, file, path)
                break
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as exc:
                error = exc  # the next try goes on where this one was cut
        else:
            raise self._unreached(error) from error
        found = await asyncio.to_thread(digest_of, path, file.digest)
        if found != file.digest:
            why = f"{file.name} came damaged: {found or 'nothing'} instead of {file.digest}"
            raise self._step.failed(why, hint="try again")

    async def _more(
        self, session: aiohttp.ClientSession, url: str, file: Remote, path: Path
    ) -> None:
        """What is missing of a file; raises what aiohttp does if that is cut, too."""
        there = path.stat().st_size if path.exists() else 0
        if there >= file.size_bytes and path.exists():
            return
        headers = {"Range": f"bytes={there}-"} if there else {}
        async with session.get(url, headers=headers) as answer:
            self._check(answer.status, file.name)
            mode = "ab" if answer.status == 206 else "wb"
            with path.open(mode) as sink:
                async for block in answer.content.iter_chunked(_BLOCK):
                    await asyncio.to_thread(sink.write, block)
                    if sink.tell() > file.size_bytes:
                        raise self._step.failed(f"{file.name} is longer than the hub said")
        if path.stat().st_size < file.size_bytes:
            raise aiohttp.ClientPayloadError("cut short")

    def _check(self, status: int, what: str) -> None:
        if status < 400:
            return
        if status in (401, 403):
            why = f"{self._where} doesn't give {what} to everybody"
            hint = f'accept its terms there, and give the module secrets = ["{TOKEN_VARIABLE}"]'
        elif status == 404:
            why, hint = f"{self._where} has no {what}", "are its name and revision right?"
        else:
            why, hint = f"{self._where} answered {status} for {what}", _ELSEWHERE
        raise self._step.failed(why, hint=hint)

    def _unreached(self, exc: Exception) -> ImageError:
        said = _SIGNED_IN.sub("//", str(exc)) or type(exc).__name__
        why = f"{self._where} isn't reached: {said}"
        return self._step.failed(why[:400], hint=_ELSEWHERE)


def listing(data: bytes) -> tuple[str, list[Remote]]:
    """The commit, and the files to fetch, by what the hub says of a model.

    Raises:
        ValueError: It makes no sense; says how.
    """
    try:
        said = json.loads(data)
        commit, siblings = said["sha"], said["siblings"]
        if not isinstance(commit, str) or not commit.isalnum() or len(commit) > _COMMIT_CHARACTERS:
            raise ValueError(f"commit {commit!r:.60}")
        files = list(_wanted(siblings))
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as exc:
        raise ValueError(f"{type(exc).__name__}: {exc}") from exc
    if len(files) > MOST_FILES:
        raise ValueError(f"{len(files)} files")
    return commit, files


def _wanted(siblings: Iterable[Any]) -> Iterable[Remote]:
    for sibling in siblings:
        name = str(sibling["rfilename"])
        if not any(fnmatchcase(name, pattern) for pattern in FILES):
            continue
        path = PurePosixPath(name)
        climbs = path.is_absolute() or ".." in path.parts or len(path.parts) > 16
        if climbs or not name.isprintable():  # NUL, and halves of characters, that no path can have
            raise ValueError(f"a file called {name[:80]!r}")
        large = sibling.get("lfs")
        size = int(large["size"] if large else sibling["size"])
        if size < 0:
            raise ValueError(f"{name[:80]!r} of {size} bytes")
        digest = f"sha256:{large['sha256']}" if large else f"git:{sibling['blobId']}"
        yield Remote(str(path), size, digest)


def digest_of(file: Path, like: str) -> str:
    """The digest of a file, in the way that `like` is one; "" if it isn't there. Blocking."""
    if not file.is_file():
        return ""
    kind = like.partition(":")[0]
    if kind == "sha256":
        with file.open("rb") as source:
            return f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}"
    # Source: git-scm.com/book, "Git Objects": a header, then the content.
    seen = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with file.open("rb") as source:
        while block := source.read(_BLOCK):
            seen.update(block)
    return f"git:{seen.hexdigest()}"
