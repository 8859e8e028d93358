"""`[hosts.NAME]` -> `Host`s: defaults, profiles, counts, and what goes not together.

Must not know: TOML, positions, what machines can do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from otter_ctl.topology.kinds import checked_name
from otter_ctl.topology.machines import Machines
from otter_ctl.topology.model import HOSTS_LIMIT, Expansion, Gpu, Host, Io, Net, On
from otter_ctl.topology.profiles import check_profile, over_profile
from otter_ctl.topology.reader import Bad, Fields, shown
from otter_ctl.topology.traces import Traces

_BUDGET = ("profile", "cpu", "memory", "speed", "gpu", "io", "network", "trace")


def read_hosts(
    written: Mapping[str, Fields],
    defaults: Fields | None,
    machines: Machines,
    expansion: list[Expansion],
    traces: Traces,
) -> dict[str, Host]:
    """Hosts by name, in the order of the file."""
    check_profile(defaults, "hosts")
    below = over_profile(defaults, "hosts")
    hosts: dict[str, Host] = {}
    wholes: dict[str, str] = {}
    for name, own in written.items():
        check_profile(own, "hosts")
        host = _host(name, own, below, machines)
        trace = traces.budget(own.get("trace"), host=True, speed=host.speed)
        host = replace(host, trace=trace)
        _check_whole(own, host, wholes)
        made = len(hosts)
        if "count" in own:
            _repeat(own, host, hosts, expansion, written)
        elif name not in hosts:
            hosts[name] = host
        if host.trace is not None:  # what is drawn is drawn for each by itself
            for one in list(hosts)[made:]:
                hosts[one] = replace(hosts[one], trace=traces.drawn(host.trace, one))
        if len(hosts) > HOSTS_LIMIT:
            own.place.report(f"makes more than {HOSTS_LIMIT} hosts")
            break
    return hosts


def _host(name: str, own: Fields, below: Fields | None, machines: Machines) -> Host:
    upon = over_profile(own, "hosts")
    assert upon is not None
    merged = upon.over(below)
    whole = merged.get("whole", False)
    # The whole machine has no budget, whatever all others have by default.
    budget = upon if whole else merged
    on = read_on(merged)
    machine = merged.get("machine")
    if "machine" in own and "on" in own:
        own.place.child("on").report("goes not together with `machine`: that names one already")
    elif "among" in own and "machine" in own:
        own.place.child("among").report("goes not together with `machine`: that names one already")
    elif own.given & {"on", "among"} and "machine" not in own.given:
        machine = None
    among = None if machine else _among(merged, own, machines)
    machines.check(machine, None if machine else on, own, among)
    return Host(
        name=name,
        cpu=budget.get("cpu"),
        memory_bytes=budget.get("memory"),
        speed=budget.get("speed"),
        profile=budget.get("profile"),
        machine=machine,
        on=None if machine else on,
        among=among,
        gpu=read_gpu(budget),
        io=read_io(budget),
        net=read_net(budget),
        whole=whole,
        gateway=merged.get("gateway", False),
    )


def _among(merged: Fields, own: Fields, machines: Machines) -> tuple[str, ...] | None:
    """The machines that its globs stand for."""
    words: Sequence[str] = merged.get("among", ())
    place = own.place.child("among") if "among" in own.given else own.place
    found = (name for word in words for name in machines.matching(word, place))
    return tuple(dict.fromkeys(found)) or None


def _check_whole(own: Fields, host: Host, wholes: dict[str, str]) -> None:
    """A whole machine has no budget of its own, and carries no second such host."""
    if not host.whole:
        return
    for key in _BUDGET:
        if key in own.given:
            own.place.child(key).report("goes not together with `whole`: the machine is the budget")
    if host.machine is None and host.on is None and host.among is None:
        hint = 'add machine = "NAME"; `local` is this one'
        own.place.child("whole").report("needs a `machine` that the host is", hint)
    if host.machine is not None:
        if own.get("count", 1) > 1:
            reason = f"machine {shown(host.machine)} can't be {own['count']} hosts"
            own.place.child("count").report(reason)
        first = wholes.setdefault(host.machine, host.name)
        if first != host.name:
            reason = f"machine {shown(host.machine)} is host {shown(first)} already"
            own.place.child("whole").report(reason)


def _repeat(
    own: Fields,
    host: Host,
    hosts: dict[str, Host],
    expansion: list[Expansion],
    written: Mapping[str, Fields],
) -> None:
    """Make NAME-1, NAME-2 and so on."""
    count = own["count"]
    if len(hosts) + count > HOSTS_LIMIT:
        own.place.child("count").report(f"makes more than {HOSTS_LIMIT} hosts")
        return
    names = instance_names(own, host.name, [str(i) for i in range(1, count + 1)])
    for name in names:
        if name in written or name in hosts:
            reason = f"makes host {shown(name)}, which there is already"
            own.place.child("count").report(reason, "rename one of the two")
            return
        hosts[name] = replace(host, name=name, made_from=host.name)
    expansion.append(
        Expansion(subject="hosts", written=host.name, rule="count", names=tuple(names))
    )


def instance_names(own: Fields, name: str, parts: list[str]) -> list[str]:
    """`NAME-PART` of each part; none after reporting that the longest is no name."""
    names = [f"{name}-{part}" for part in parts]
    try:
        checked_name(max(names, key=len))
    except Bad as bad:
        own.place.report(bad.reason)
        return []
    return names


def read_on(fields: Fields) -> On | None:
    """What the machine must have; None: nothing."""
    on: Fields | None = fields.get("on")
    if on is None:
        return None
    if not on.given:
        on.place.report("must say `arch` or `label`")
    return On(arch=on.get("arch"), labels=on.get("label", ()))


def read_gpu(fields: Fields) -> Gpu | None:
    """A `gpu` table."""
    gpu: Fields | None = fields.get("gpu")
    if gpu is None:
        return None
    if not gpu.given:
        gpu.place.report("must say `count`, `memory` or `share`")
    return Gpu(count=gpu.get("count"), memory_bytes=gpu.get("memory"), share=gpu.get("share"))


def read_io(fields: Fields) -> Io | None:
    """An `io` table."""
    io: Fields | None = fields.get("io")
    if io is None:
        return None
    if not io.given:
        io.place.report("must say `read`, `write`, `read_iops` or `write_iops`")
    return Io(
        read_bytes_per_s=io.get("read"),
        write_bytes_per_s=io.get("write"),
        read_iops=io.get("read_iops"),
        write_iops=io.get("write_iops"),
    )


def read_net(fields: Fields) -> Net | None:
    """A `network` table."""
    net: Fields | None = fields.get("network")
    if net is None:
        return None
    if not net.given:
        net.place.report("must say `in` or `out`")
    return Net(in_bps=net.get("in"), out_bps=net.get("out"))
