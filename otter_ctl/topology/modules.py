"""`[modules.NAME]` -> `Module`s: what runs them, where, how many, and that what they name is there.

Looks at the file system: a missing build folder is best told with a line number.
Must not know: TOML, positions, addresses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from otter_ctl.topology.globs import Names, is_glob
from otter_ctl.topology.hosts import instance_names, read_gpu, read_io, read_net, read_on
from otter_ctl.topology.model import MODULES_LIMIT, Expansion, File, Host, Module, Ready, Weights
from otter_ctl.topology.outside import Published, read_mounts, read_publish
from otter_ctl.topology.reader import Fields, shown
from otter_ctl.topology.reader import Path as KeyPath
from otter_ctl.topology.traces import Traces
from otter_ctl.topology.words import check_words

_WAYS = ("build", "image", "command")
Folder = Callable[[KeyPath], Path]
"""Path of a key -> the folder that a relative path there starts from."""


def read_modules(
    written: dict[str, Fields],
    defaults: Fields | None,
    hosts: Mapping[str, Host] | None,
    names: Names | None,
    folder: Folder,
    expansion: list[Expansion],
    traces: Traces,
) -> dict[str, Module]:
    """All modules by name; `hosts` None: they couldn't be read, so none is looked up."""
    default_ready = _ready(defaults)
    published = Published(hosts)
    modules: dict[str, Module] = {}
    for name, own in written.items():
        merged = own.over(defaults)
        ready = _ready(own) if "ready" in own.given else default_ready
        module = _module(name, own, merged, ready, folder)
        trace = traces.budget(own.get("trace"), host=False)
        seats = _seats(name, own, merged, names, MODULES_LIMIT - len(modules))
        for instance, host in seats:
            if (instance != name and instance in written) or instance in modules:
                reason = f"makes module {shown(instance)}, which there is already"
                own.place.report(reason, "rename one of the two")
                break
            if hosts is not None and instance in hosts:
                reason = f"{shown(instance)} is the name of a host too"
                own.place.report(reason, "both are looked up in one list of names: rename one")
                break
            several = instance != name
            modules[instance] = replace(
                module,
                name=instance,
                host=host,
                made_from=name if several else "",
                trace=traces.drawn(trace, instance),
            )
            published.add(modules[instance], own)
        _check_hosts(own, merged, [host for _, host in seats if host is not None], hosts)
        if seats and seats[0][0] != name:
            rule = "count" if "count" in own else "one per host"
            made = tuple(instance for instance, _ in seats)
            expansion.append(Expansion(subject="modules", written=name, rule=rule, names=made))
    if hosts is not None:
        known = modules.keys() | hosts.keys()
        for fields in (*written.values(), *([defaults] if defaults is not None else [])):
            check_words(fields, known)
    return modules


def _module(name: str, own: Fields, merged: Fields, ready: Ready | None, folder: Folder) -> Module:
    """What all instances have in common."""
    _check_way(own, merged)
    env, secrets = merged.get("env", {}), merged.get("secrets", ())
    for secret in secrets:
        if secret in env:
            place = own.place.child("secrets") if "secrets" in own.given else own.place
            place.report(f"{shown(secret)} is in `env` too", "a secret is a file, no variable")
    return Module(
        name=name,
        build=_build(own, folder),
        base=merged.get("base", "python"),
        accelerator=merged.get("accelerator", "cpu"),
        image=own.get("image"),
        command=own.get("command"),
        runtime=merged.get("runtime"),
        cpu=merged.get("cpu"),
        memory_bytes=merged.get("memory"),
        on=read_on(own),
        gpu=read_gpu(merged),
        io=read_io(merged),
        net=read_net(merged),
        storage_bytes=merged.get("storage"),
        env=env,
        files=_files(own, folder),
        mounts=read_mounts(merged.get("mounts", {})),
        weights=_weights(own, folder),
        devices=merged.get("devices", ()),
        secrets=tuple(dict.fromkeys(secrets)),
        outputs=merged.get("outputs", ()),
        publish=read_publish(own.get("publish", ())),
        ready=ready,
        restart=merged.get("restart", "on-failure"),
    )


def _seats(
    name: str, own: Fields, merged: Fields, names: Names | None, room: int
) -> list[tuple[str, str | None]]:
    """(instance, its host) of each instance, `room` at most; host None: placed by the planner.

    A `count` numbers them; a glob of hosts names each after its host, so that a host that comes or
    goes renames no other instance; both together must agree.
    """
    word, count = merged.get("host"), own.get("count")
    place = own.place.child("host") if "host" in own.given else own.place
    found: tuple[str, ...] = ()
    if word is not None and names is not None:
        found = names.find(word, place)
    if "count" in own.given and count is None:
        return []
    if (count or len(found) or 1) > room:
        own.place.report(f"makes more than {MODULES_LIMIT} modules")
        return []
    if word is not None and is_glob(word):
        if not found:
            return []
        if count is None:
            return list(zip(instance_names(own, name, list(found)), found, strict=False))
        if count != len(found):
            reason = f"{count} and {shown(word)} don't pair: that matches {len(found)} hosts"
            own.place.child("count").report(reason)
            return []
        parts = [str(i) for i in range(1, count + 1)]
        return list(zip(instance_names(own, name, parts), found, strict=False))
    host = found[0] if found else None
    if count is None:
        return [(name, host)]
    parts = [str(i) for i in range(1, count + 1)]
    return [(instance, host) for instance in instance_names(own, name, parts)]


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


def _check_hosts(
    own: Fields, merged: Fields, seats: list[str], hosts: Mapping[str, Host] | None
) -> None:
    """Each host has what the module asks for by itself; hosts of one table are alike."""
    tables = {} if hosts is None else {hosts[s].made_from or s: hosts[s] for s in seats}
    for host in tables.values():
        if host.cpu is not None and merged.get("cpu", 0) > host.cpu:
            reason = f"{merged['cpu']:g} is more than the {host.cpu:g} of host {shown(host.name)}"
            own.place.child("cpu").report(reason)
        if host.memory_bytes is not None and merged.get("memory", 0) > host.memory_bytes:
            own.place.child("memory").report(f"is more than host {shown(host.name)} has")


def _build(own: Fields, folder: Folder) -> Path | None:
    """The build folder, absolute."""
    if "build" not in own:
        return None
    place = own.place.child("build")
    path = folder(place.path) / own["build"]
    if not _is(path.is_dir):
        place.report(f"there is no folder {shown(os.path.normpath(path))}")
    elif not any(_is((path / name).is_file) for name in ("module.py", "Dockerfile")):
        place.report(f"{shown(os.path.normpath(path))} has neither module.py nor Dockerfile")
    return Path(os.path.normpath(path))


def _weights(own: Fields, folder: Folder) -> tuple[Weights, ...]:
    """The models that it is shown, folders absolute."""
    found = []
    for weights in own.get("weights", ()):
        if weights.folder:
            place = own.place.child("weights", weights.name)
            path = os.path.normpath(folder(place.path) / weights.folder)
            if not _is(Path(path).is_dir):
                hint = '"hub:OWNER/NAME" and "package:NAME==VERSION" are others'
                place.report(f"there is no folder {shown(path)}", hint)
            found.append(replace(weights, folder=path))
        else:
            found.append(weights)
    return tuple(found)


def _files(own: Fields, folder: Folder) -> tuple[File, ...]:
    """The files to copy in, sources absolute."""
    files = []
    for target, (key, written) in own.get("files", {}).items():
        place = own.place.child("files", key)
        source = folder(place.path) / written
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
