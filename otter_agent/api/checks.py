"""Refuses a spec that is dangerous or makes no sense, whatever the controller checked. Pure."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Container, Mapping

import msgspec

from net.conditions import MOST_CONDITIONS, Condition
from net.links.changes import FIELDS as _FIELDS
from net.links.limits import Run
from net.links.possible import impossible
from net.links.spec import LinkSpec
from otter_agent.api.gpus import MOST_GPUS, MOST_WEIGHT
from otter_agent.api.machine import Problem
from otter_agent.api.many import Away, Tunnel
from otter_agent.api.seeing import all_hosts, sees
from otter_agent.api.spec import Cell, HostSpec, Link, MeshSpec, ModuleSpec
from otter_agent.api.speeds import DISKS, MAX_SPEED, RATES, asked_of, asks_disks, asks_rates
from otter_agent.api.status import Budget
from otter_agent.api.timeline import TimelineEvent

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MACHINE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_RUN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[0-9a-f]{32}")
_MTUS = range(576, 65536)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_MODEL_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}")
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}==[A-Za-z0-9.+!_-]{1,64}")
_TAKEN = (
    "/run/otter", "/run/otter-state", "/run/otter-shm", "/run/otter-weights", "/.otter",
    "/run/secrets", "/work",
    "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/proc", "/sys", "/dev",
)  # fmt: skip
"""Where the runtimes put things of their own: nothing goes there, or above, hiding them."""
MAX_CORES = 10_000.0
MAX_EVENTS = 1000
"""Of one direction or host: each is looked at for every change, each millisecond at worst."""


def check(spec: MeshSpec) -> None:
    """Refuse what would be dangerous or make no sense, whatever the controller checked.

    Names become paths and namespaces, addresses a line of /etc/hosts; a file's target must stay in
    the work folder.

    Raises:
        msgspec.ValidationError: Says which name or value.
    """
    hosts = {host.name: host for host in spec.hosts}
    modules = [module.name for module in spec.modules]
    _need(spec.mtu in _MTUS, f"an MTU of {spec.mtu} bytes")
    _need(not spec.machine or _MACHINE.fullmatch(spec.machine), "a machine's name is none")
    _need(not spec.clock or _MACHINE.fullmatch(spec.clock), "the machine of its clock is none")
    for other in spec.away:
        _away(other, spec)
    listed = not spec.directory or (_DIGEST.fullmatch(spec.directory) and not spec.names)
    _need(listed, f"{spec.directory[:80]!r} names no directory")
    for name in (spec.name, *hosts, *modules):
        _need(_NAME.fullmatch(name), f"{name[:80]!r} is not a valid name")
    check_names(spec.names)
    _need(_RUN.fullmatch(spec.run), f"{spec.run[:80]!r} is not a valid run id")
    _need(len(hosts) == len(spec.hosts), "two hosts have one name")
    _need(len({*modules}) == len(modules), "two modules have one name")
    for host in spec.hosts:
        _address(host.address)
        _budget(f"host {host.name}", asked_of(host))
        share = host.gpu_share
        _need(share is None or 0 < share <= 1, f"host {host.name}: a GPU share of {share}")
    for module in spec.modules:
        _need(module.host in hosts, f"module {module.name}: no host {module.host[:80]!r}")
        _module(module)
        _shared(module, spec)
        _publish(module, hosts)
    for link in spec.links:
        away = _tunnel(link, hosts, spec)
        known = all(end in hosts or end == away for end in (link.a, link.b))
        _need(known, f"link {link.name[:80]!r}: unknown host")
        _need(link.name.isprintable() and 0 < len(link.name) <= 200, "a link's name is no name")
        for asked in (link.forward, link.reverse):
            for name, why in asked.problems().items() if asked else ():
                _need(None, f"link {link.name}: {name} {why}")
    _routes(spec)
    for cell in spec.cells:
        _cell(cell, spec)
    _timeline(spec)


def check_names(names: Mapping[str, str]) -> None:
    """Refuse what would be more than a line of /etc/hosts each.

    Raises:
        msgspec.ValidationError: Says which name or address.
    """
    for name, address in names.items():
        _need(_NAME.fullmatch(name), f"{name[:80]!r} is not a valid name")
        _address(address)


def _tunnel(link: Link, hosts: Container[str], spec: MeshSpec) -> str:
    """The end of a link that is on another machine; empty: none."""
    tunnel, where = link.tunnel, f"link {link.name[:80]!r}"
    if tunnel is None:
        return ""
    _way(tunnel, where)
    good = tunnel.host in (link.a, link.b) and tunnel.host not in hosts
    known = spec.directory or tunnel.host in spec.names
    _need(good and known, f"{where}: {tunnel.host[:80]!r} is not elsewhere")
    return tunnel.host


def _way(tunnel: Tunnel, where: str) -> None:
    _address(tunnel.local)
    _address(tunnel.remote)
    _need(tunnel.local != tunnel.remote, f"{where}: both ends at {tunnel.local}")
    _need(0 < tunnel.vni < 1 << 24 and 0 < tunnel.port < 65536, f"{where}: no such tunnel")
    _need(0 <= tunnel.remote_port < 65536, f"{where}: no such tunnel")
    _need(0 <= tunnel.less_s < 3600, f"{where}: {tunnel.less_s} s less")
    _need(_KEY.fullmatch(tunnel.key), f"{where}: its key is none")


def _away(other: Away, spec: MeshSpec) -> None:
    """Another machine of the mesh: its name becomes that of a namespace."""
    _need(_MACHINE.fullmatch(other.machine), f"{other.machine[:80]!r} is no machine's name")
    if other.talk is not None:
        _way(other.talk, f"machine {other.machine}")
    for host, block in other.blocks.items():
        where = f"host {host[:80]!r} on {other.machine}"
        _need(host in other.hosts and host in spec.names, f"{where}: it has no address")
        address, _, bits = block.partition("/")
        _address(address)
        _need(bits.isascii() and bits.isdigit() and int(bits) <= 32, f"{where}: {block[:40]!r}")
    _need({*other.gateways} <= {*other.hosts}, f"machine {other.machine}: no such gateway")


def _routes(spec: MeshSpec) -> None:
    """What they are worked out from has to be known, also of other machines."""
    if spec.routing == "static":
        _need(not spec.beyond, "links elsewhere, and routes that don't follow them")
        return
    known = all_hosts(spec)
    for link in (*spec.links, *spec.beyond):
        why = f"routes can't follow link {link.name[:80]!r}: it leads to a host of unknown place"
        _need(link.a in known and link.b in known, why)


class _LimitChange(msgspec.Struct, forbid_unknown_fields=True):
    cpu: float | None = None
    speed: float | None = None
    memory_bytes: int | None = None
    gpu_share: float | None = None
    read_bytes_per_s: int | None = None
    write_bytes_per_s: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None
    in_bps: float | None = None
    out_bps: float | None = None
    run: Run | None = None


def _cell(cell: Cell, spec: MeshSpec) -> None:
    """It only tells of links, which have to be there."""
    _need(_NAME.fullmatch(cell.name), f"cell {cell.name[:80]!r} is not a valid name")
    ends = {link.name: (link.a, link.b) for link in spec.links}
    for member in cell.members:
        where = f"cell {cell.name}: member {member.host[:80]!r}"
        _need(ends.get(member.link) == (member.host, cell.host), f"{where}: no such link")
        _need(
            0 < member.weight < 1e9 and 0 < member.efficiency < 1e9, f"{where}: a part of nothing"
        )


def _timeline(spec: MeshSpec) -> None:
    """Each change by itself; whether all of them go together is for whoever plays them."""
    links = {link.name: link for link in spec.links}
    hosts = {host.name for host in spec.hosts}
    modules = {module.name for module in spec.modules}
    streams = {end.stream for module in spec.modules for end in module.streams_in}
    there = {"stream": streams, "module": modules, "link": links, "host": hosts}
    for trace in spec.timeline.traces:
        link, where = links.get(trace.link), f"trace {trace.name[:80]!r}"
        if trace.host or trace.module:
            mine = not (trace.link or trace.opportunities or (trace.host and trace.module))
            there_is = trace.host in hosts if trace.host else trace.module in modules
            _need(mine and there_is, f"{where}: no {trace.subject[:80]!r}")
        else:
            asked = link and (link.forward if trace.way == "forward" else link.reverse)
            _need(asked is not None, f"{where}: no link {trace.link[:80]!r} that way")
        _need(_SHA256.fullmatch(trace.blob), f"{where}: blob {trace.blob[:80]!r}")
        _need(0 <= trace.offset_s < 1e9, f"{where}: an offset of {trace.offset_s} s")
        good = all(0 <= factor < 1e9 for factor in trace.scale.values())
        _need(good and trace.scale.get("time", 1.0) > 1e-6, f"{where}: scale {trace.scale}"[:200])
    for move in spec.timeline.moves:
        link, where = links.get(move.link), f"host {move.host[:80]!r} moves"
        known = link and link.a == move.host
        known = known or (link is None and move.host in spec.names and move.middle in spec.names)
        _need(known, f"{where}: it has no link {move.link[:80]!r}")
        good = 0 <= move.at_s < 1e9 and (move.every_s is None or 1e-3 <= move.every_s < 1e9)
        _need(good, f"{where}: at {move.at_s} s, every {move.every_s} s")
    _count_events(spec)
    for number, event in enumerate(spec.timeline.events):
        where = f"event {event.text[:80]!r}"
        ways = (*event.both, *event.forward, *event.reverse)
        for name in ways:
            _need(name in links, f"{where}: no link {name[:80]!r}")
        _need(sum(map(bool, (ways, event.hosts, event.modules))) <= 1, where)
        _need(all(name in hosts for name in event.hosts), f"{where}: no such host")
        _need(all(name in modules for name in event.modules), f"{where}: no such module")
        if event.when is None or event.targets:  # else it is only looked at here
            _changed(event, where)
        if event.when is not None and (sees(spec, event.when) or not spec.away):
            _condition(event.when, there, where)
        problem = event.timed(number).problem()
        _need(problem is None, f"{where}: {problem}")
    waiting = sum(event.when is not None for event in spec.timeline.events)
    _need(waiting <= MOST_CONDITIONS, f"{waiting} conditions, at most {MOST_CONDITIONS}")


def _changed(event: TimelineEvent, where: str) -> None:
    """What an event sets, of the types that it is for."""
    if event.hosts or event.modules:
        change = msgspec.convert(event.change, _LimitChange)
        _budget(where, change)
        _need(event.hosts or change.speed is None, f"{where}: a speed is a host's")
        only = "only modules can be made to run, or not"
        _need(event.modules or (change.run is None and not event.action), f"{where}: {only}")
        share = change.gpu_share
        _need(share is None or 0 < share <= MOST_WEIGHT, f"{where}: a GPU share of {share}")
        return
    _need(not event.action, f"{where}: {event.action} of a link")
    _need(not event.change.keys() - _FIELDS, f"{where}: no such property")
    said = {k: v for k, v in event.change.items() if v is not None}
    typed = msgspec.convert(said, LinkSpec)
    for field, why in impossible({name: getattr(typed, name) for name in said}).items():
        _need(None, f"{where}: {field} {why}")


def _condition(when: Condition, there: Mapping[str, Container[str]], where: str) -> None:
    """What it looks at has to be there."""
    _need(when.name in there[when.kind], f"{where}: when: no {when.kind} {when.name[:80]!r}")
    problem = when.problem()
    _need(not problem, f"{where}: when: {problem}")


def _count_events(spec: MeshSpec) -> None:
    count = Counter(f"link {move.link}" for move in spec.timeline.moves)
    for event in spec.timeline.events:
        count.update(f"link {name}" for name in {*event.both, *event.forward, *event.reverse})
        count.update(f"host {name}" for name in {*event.hosts})
        count.update(f"module {name}" for name in {*event.modules})
    for name, events in count.items():
        why = f"{events} events, at most {MAX_EVENTS}: what changes that often is a trace"
        _need(events <= MAX_EVENTS, f"{name[:80]}: {why}")


def _module(module: ModuleSpec) -> None:
    where = f"module {module.name}"
    _address(module.address)
    _budget(where, asked_of(module))
    space = module.storage_bytes
    _need(space is None or 1 << 22 <= space < 1 << 60, f"{where}: a storage of {space} bytes")
    share = module.gpu_share
    _need(share is None or 0 < share <= 1, f"{where}: a GPU share of {share}")
    if module.gpu is not None:
        _need(0 < module.gpu.count <= MOST_GPUS, f"{where}: {module.gpu.count} GPUs")
        _budget(f"{where}: gpu", Budget(memory_bytes=module.gpu.memory_bytes))
    ready = module.ready
    _need(ready.tcp is None or 0 < ready.tcp < 65536, f"{where}: port {ready.tcp}")
    _need(0 < ready.within_s < 1e7, f"{where}: ready within {ready.within_s} s")
    for file in module.files:
        parts = file.target.split("/")
        good = file.target.isprintable() and not {"", ".", ".."} & {*parts}
        _need(good, f"{where}: file {file.target[:80]!r} must stay in the work folder")
    _extras(module, where)
    for end in (*module.streams_in, *module.streams_out):
        _need(not end.path, f"{where}: {end.path[:80]!r}: only the agent says where a socket is")
        _need(0 <= end.fec_ratio <= 1, f"{where}: fec of {end.fec_ratio}")
        _need(0 <= end.rate_bps < 1e15, f"{where}: a rate of {end.rate_bps} bit/s")
        _need(0 <= end.deadline_s < 1e9, f"{where}: a deadline of {end.deadline_s} s")
    for blob in module.blobs():
        _need(_SHA256.fullmatch(blob), f"{where}: blob {blob[:80]!r}")
    words = (*(module.command or ()), *module.env, *module.env.values())
    _need(not any("\0" in word for word in words), f"{where}: a NUL in its command or environment")


def _shared(module: ModuleSpec, spec: MeshSpec) -> None:
    """Shared memory would bypass the links between two hosts."""
    for end in (*module.streams_in, *module.streams_out):
        if end.transport == "shm":
            good = any(m.name == end.peer and m.host == module.host for m in spec.modules)
            _need(good, f"module {module.name}: shm joins modules of one host: {end.stream[:80]!r}")


def _extras(module: ModuleSpec, where: str) -> None:
    """Mounts, volumes, devices, secrets."""
    targets = [m.target for m in module.mounts] + [v.target for v in module.volumes]
    for target in targets:
        _need(_is_path(target), f"{where}: mount target {target[:80]!r} is not a plain path")
        taken = next((t for t in _TAKEN if _overlap(target, t)), None)
        free = taken is None or target.startswith("/work/")
        _need(free, f'{where}: mounts."{target[:80]}": not free: OTTER uses {taken} itself')
    _nested(where, targets)
    if module.source is not None and (target := module.source.target):
        free = _is_path(target) and not any(_overlap(target, taken) for taken in _TAKEN)
        _need(free, f"{where}: its source can't be shown at {target[:80]!r}")
    for path in (*(m.source for m in module.mounts), *module.devices):
        _need(_is_path(path), f"{where}: {path[:80]!r} is not a plain absolute path")
    for device in module.devices:
        _need(device.startswith("/dev/"), f"{where}: device {device[:80]!r} is not under /dev")
    for volume in module.volumes:
        _need(_NAME.fullmatch(volume.volume), f"{where}: volume {volume.volume[:80]!r} is no name")
    _weights(module, where)
    for secret in module.secrets:
        _need(_VARIABLE.fullmatch(secret), f"{where}: secret {secret[:80]!r} is no variable's name")


def _weights(module: ModuleSpec, where: str) -> None:
    """Names become folders, sources paths of URLs and arguments of pip."""
    names = [weights.name for weights in module.weights]
    _need(len(set(names)) == len(names), f"{where}: weights of one name twice")
    for one in module.weights:
        what = f"{where}: weights {one.name[:80]!r}"
        _need(_MODEL_PART.fullmatch(one.name), f"{what}: no plain name")
        given = [source for source in (one.hub, one.package, one.blob) if source]
        _need(len(given) == 1, f"{what}: one of hub, package and blob")
        parts = one.hub.split("/") if one.hub else []
        good = len(parts) <= 2 and all(map(_MODEL_PART.fullmatch, parts))
        _need(good, f"{what}: {one.hub[:80]!r} is no model's name")
        _need(bool(one.hub) == bool(one.revision), f"{what}: a revision goes with hub")
        _need(not one.revision or _REVISION.fullmatch(one.revision), f"{what}: no revision")
        _need(not one.package or _PINNED.fullmatch(one.package), f"{what}: no NAME==VERSION")


def _nested(where: str, targets: list[str]) -> None:
    """One mount inside another would need the other's folder to have, or to get, its name."""
    ordered = sorted(target.split("/") for target in targets)
    for above, below in itertools.pairwise(ordered):
        a, b = "/".join(above)[:80], "/".join(below)[:80]
        _need(above != below, f'{where}: mounts."{a}": mounted twice')
        inside = below[: len(above)] == above
        _need(not inside, f'{where}: mounts."{b}": inside of another mount, {a}')


def _overlap(a: str, b: str) -> bool:
    """Whether one path is the other, or below it."""
    return a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/")


def _publish(module: ModuleSpec, hosts: Container[str]) -> None:
    where = f"module {module.name}"
    for port in module.publish:
        _address(port.listen)
        good = 0 < port.port < 65536 and 0 < port.listen_port < 65536
        _need(good, f"{where}: publish {port.port} at {port.listen_port}: no such port")
        _need(port.host in hosts, f"{where}: publish: no host {port.host[:80]!r}")


def _is_path(text: str) -> bool:
    """Absolute, printable, without `..`, `.` or doubled slashes; not the root itself."""
    parts = text.split("/")[1:]
    return text.startswith("/") and text.isprintable() and not {"", ".", ".."} & {*parts}


def _budget(where: str, asked: Budget | _LimitChange) -> None:
    cpu, speed, memory_bytes = asked.cpu, asked.speed, asked.memory_bytes
    _need(cpu is None or 0 < cpu <= MAX_CORES, f"{where}: {cpu} cores")
    _need(speed is None or 0 < speed <= MAX_SPEED, f"{where}: a speed of {speed}")
    good = memory_bytes is None or 0 < memory_bytes < 1 << 60
    _need(good, f"{where}: {str(memory_bytes)[:40]} bytes of memory")
    for name in DISKS:
        value = getattr(asked, name)
        _need(value is None or 0 < value < 1 << 60, f"{where}: {name} of {str(value)[:40]}")
    for bps in (asked.in_bps, asked.out_bps):
        _need(bps is None or 8 <= bps <= 1e13, f"{where}: a rate of {bps} bit/s")


def _address(text: str) -> None:
    parts = text.split(".")
    good = len(text) <= 15 and len(parts) == 4
    good = good and all(p.isascii() and p.isdigit() and int(p) < 256 for p in parts)
    _need(good, f"{text[:80]!r} is not an IPv4 address")


def _need(good: object, otherwise: str) -> None:
    if not good:
        raise msgspec.ValidationError(otherwise)


def no_budgets(spec: MeshSpec, why: str) -> Problem | None:
    """What to say of a mesh on a machine that has no budgets to give; None: it may run without.

    Args:
        spec: The mesh. Modules that aren't real need none.
        why: Why the machine has none.
    """
    real = [module for module in spec.modules if module.runtime != "fake"]
    hosts = {module.host for module in real}
    asking = [
        *(f"host {h.name}" for h in spec.hosts if h.name in hosts and _limits(h)),
        *(f"module {m.name}" for m in real if _limits(m)),
    ]
    if spec.allow_degraded or not asking:
        return None
    others = f" and {len(asking) - 1} more" if len(asking) > 1 else ""
    return Problem(
        code="unsupported-budget",
        message=f"mesh {spec.name}: {asking[0]}{others} can't have the cpu or memory asked: {why}",
        hint="ask for none, or say `allow_degraded = true` in the topology to run it without",
    )


def _limits(item: HostSpec | ModuleSpec) -> bool:
    """Whether it asks for what needs control groups."""
    asked = asked_of(item)
    return bool(asked.cpu or asked.speed or asked.memory_bytes or asks_disks(asked))


def no_disks(spec: MeshSpec, why: str) -> Problem | None:
    """What to say of a mesh on a machine that can't limit its disks; None: it may run without."""
    asking = [
        *(f"host {h.name}" for h in spec.hosts if asks_disks(asked_of(h))),
        *(f"module {m.name}" for m in spec.modules if asks_disks(asked_of(m))),
    ]
    if spec.allow_degraded or not asking or all(m.runtime == "fake" for m in spec.modules):
        return None
    return Problem(
        code="unsupported-budget",
        message=f"mesh {spec.name}: {asking[0]} can't have the io asked: {why}",
        hint="ask for none, or say `allow_degraded = true` in the topology to run it without",
    )


def no_rates(spec: MeshSpec, why: str) -> Problem | None:
    """What to say of a mesh where nothing limits what modules send; None: it may run without."""
    asking = [
        *(f"host {h.name}" for h in spec.hosts if asks_rates(asked_of(h))),
        *(f"module {m.name}" for m in spec.modules if asks_rates(asked_of(m))),
        *(
            f"event {e.text}"
            for e in spec.timeline.events
            if (e.hosts or e.modules) and not e.change.keys().isdisjoint(RATES)
        ),
    ]
    if spec.allow_degraded or not asking or all(m.runtime == "fake" for m in spec.modules):
        return None
    return Problem(
        code="unsupported-budget",
        message=f"mesh {spec.name}: {asking[0]} can't have the network asked: {why}",
        hint="ask for none, or say `allow_degraded = true` in the topology to run it without",
    )
