"""`[modules.NAME]` -> `Module`s: what runs them, and that what they name is there.

Looks at the file system: a missing build folder is best told with a line number.
Must not know: TOML, positions, addresses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from otter_ctl.topology.model import File, Host, Module, Ready
from otter_ctl.topology.reader import Fields, did_you_mean, shown

_WAYS = ("build", "image", "command")


def read_modules(
    written: dict[str, Fields],
    defaults: Fields | None,
    hosts: Mapping[str, Host] | None,
    folder: Path,
) -> tuple[Module, ...]:
    """All modules; `hosts` None: they couldn't be read, so none is looked up."""
    default_ready = _ready(defaults)
    modules = []
    for name, own in written.items():
        if hosts is not None and name in hosts:
            reason = f"{shown(name)} is the name of a host too"
            own.place.report(reason, "both are looked up in one list of names: rename one")
        merged = own.over(defaults)
        _check_way(own, merged)
        _check_host(own, merged, hosts)
        modules.append(
            Module(
                name=name,
                host=merged.get("host"),
                build=_build(own, folder),
                base=merged.get("base", "python"),
                image=own.get("image"),
                command=own.get("command"),
                runtime=merged.get("runtime"),
                cpu=merged.get("cpu"),
                memory_bytes=merged.get("memory"),
                env=merged.get("env", {}),
                files=_files(own, folder),
                outputs=merged.get("outputs", ()),
                ready=_ready(own) if "ready" in own.given else default_ready,
                restart=merged.get("restart", "on-failure"),
            )
        )
    return tuple(modules)


def _check_way(own: Fields, merged: Fields) -> None:
    """Exactly one of build, image, command alone; the last one only where no image is needed."""
    if "build" in own.given and "image" in own.given:
        own.place.child("image").report("goes not together with `build`: a module is one of both")
    elif not own.given & set(_WAYS):
        hint = 'name a folder (build = "../modules/hello") or an image'
        own.place.report("missing key `build`, `image` or `command`", hint)
    process = merged.get("runtime") in ("process", "fake")
    if "image" in own.given and merged.get("runtime") == "process":
        own.place.child("image").report("the process runtime runs no images", "use `build`")
    if "base" in own.given and "image" in own.given:
        own.place.child("base").report("goes only with `build`")
    alone = "command" in own.given and not own.given & {"build", "image"}
    broken = "runtime" in merged.given and "runtime" not in merged
    if alone and not process and not broken:
        hint = 'add runtime = "process", or a `build` or an `image`'
        own.place.child("command").report("needs something to run in", hint)


def _check_host(own: Fields, merged: Fields, hosts: Mapping[str, Host] | None) -> None:
    """The host exists and has what the module asks for by itself."""
    name = merged.get("host")
    if name is None or hosts is None:
        return
    place = own.place.child("host")
    host = hosts.get(name)
    if host is None:
        place.report(f"unknown host {shown(name)}{did_you_mean(name, hosts, place)}")
        return
    if host.cpu is not None and merged.get("cpu", 0) > host.cpu:
        reason = f"{merged['cpu']:g} is more than the {host.cpu:g} of host {shown(name)}"
        own.place.child("cpu").report(reason)
    if host.memory_bytes is not None and merged.get("memory", 0) > host.memory_bytes:
        own.place.child("memory").report(f"is more than host {shown(name)} has")


def _build(own: Fields, folder: Path) -> Path | None:
    """The build folder, absolute."""
    if "build" not in own:
        return None
    place = own.place.child("build")
    path = folder / own["build"]
    if not _is(path.is_dir):
        place.report(f"there is no folder {shown(os.path.normpath(path))}")
    elif not any(_is((path / name).is_file) for name in ("module.py", "Dockerfile")):
        place.report(f"{shown(os.path.normpath(path))} has neither module.py nor Dockerfile")
    return Path(os.path.normpath(path))


def _files(own: Fields, folder: Path) -> tuple[File, ...]:
    """The files to copy in, sources absolute."""
    files = []
    for target, (key, written) in own.get("files", {}).items():
        place = own.place.child("files", key)
        source = folder / written
        if _is(source.is_dir):
            place.report(f"{shown(written)} is a folder", "name the files in it one by one")
        elif not _is(source.is_file):
            place.report(f"there is no file {shown(os.path.normpath(source))}")
        files.append(File(target=target, source=Path(os.path.normpath(source))))
    return tuple(files)


def _is(question: Callable[[], bool]) -> bool:
    """Ask the file system; what it can't even be asked (name too long) isn't there."""
    try:
        return question()
    except (OSError, ValueError):
        return False


def _ready(own: Fields | None) -> Ready | None:
    """When it is ready: exactly one way."""
    if own is None or "ready" not in own:
        return None
    ready: Fields = own["ready"]
    ways = sorted(ready.given & {"tcp", "command", "sdk"})
    if not ways:
        ready.place.report("missing key `tcp`, `command` or `sdk`", "it says how one can tell")
    for extra in ways[1:]:
        ready.place.child(extra).report(f"goes not together with `{ways[0]}`")
    return Ready(
        tcp=ready.get("tcp"),
        command=ready.get("command"),
        sdk=ready.get("sdk", False),
        within_s=ready.get("within"),
    )
