"""What a machine's facts mean: what is fine, what is missing, what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from net.units import format_duration
from otter_agent import api
from otter_ctl.machine.facts import WIDE, Facts
from otter_ctl.machine.steps import ROOM_BYTES

CLOCK_S = 0.5
"""Beyond this a clock is worth a word; meshes take offsets into account."""
_FEATURES = {
    "vxlan": ("links to other machines", "modprobe vxlan; else they go over UDP, by a process"),
    "htb": (
        "`network` of hosts and modules, and rates in the kernel",
        "modprobe sch_htb; else no `network`, and links are shaped in user space",
    ),
    "netem": ("delays in the kernel", "modprobe sch_netem; else links are shaped in user space"),
    "nftables": ("nothing of OTTER's", "not needed"),
    "bridge": ("Docker's own networks", "not needed: start dockerd with --bridge=none"),
    "tun": ("links in user space, and to other machines over UDP", "modprobe tun"),
}
_CONTROLLERS = ("cpu", "memory", "pids")
"""Of control groups, what budgets need."""
_NO_BUDGETS = "meshes that ask for no cpu and memory need none"
_NO_MEMORY = (
    "end the line in /boot/firmware/cmdline.txt with cgroup_enable=memory cgroup_memory=1, and"
    " reboot (on a Raspberry Pi; elsewhere the kernel's command line)"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One line. `ok` None: worth knowing, not wrong."""

    name: str
    ok: bool | None
    detail: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was asked of a machine.

    Attributes:
        offset_s: Of its clock to ours; None: unknown.
        offset_error_s: Half of the time that asking took.
        info: What its agent says; None: none answers.
        silence: Why none does.
        own: Release of this otterctl.
        own_version: Its version alone.
        ssh: What a user would type to go there.
    """

    facts: Facts
    offset_s: float | None
    offset_error_s: float
    info: api.Info | None
    silence: str
    own: str
    own_version: str
    ssh: str = "ssh HOST"


def checks(name: str, seen: Seen) -> list[Check]:
    """Everything, the gravest first."""
    facts = seen.facts
    found = [
        _system(facts),
        _python(name, facts),
        _root(facts),
        _otter(name, seen),
        _agent(name, seen),
    ]
    found += [_docker(facts), _space(facts), _clock(seen), _cgroup(seen)]
    for feature, (use, todo) in _FEATURES.items():
        found.append(_feature(feature, *_state(seen, feature), use, todo))
    if seen.info is not None and seen.info.gateways:
        found.append(Check("gateways", None, seen.info.gateways))
    there = ", ".join(_accelerators(seen))
    found.append(Check("accelerators", True if there else None, there or "none seen"))
    return found


def _state(seen: Seen, feature: str) -> tuple[str, str]:
    """yes, no or unknown, and why: the agent has tried, where there is one."""
    for one in seen.info.features if seen.info is not None else ():
        if one.name == feature:
            return ("yes" if one.usable else "no"), one.detail
    return seen.facts.features.get(feature, "unknown"), ""


def _accelerators(seen: Seen) -> Iterable[str]:
    told = seen.info.devices if seen.info is not None else ()
    yield from (f"{one.kind} {one.device} {one.name}".strip() for one in told)
    if not told:
        yield from seen.facts.accelerators


def usable(found: list[Check]) -> bool:
    """Whether meshes can run there now."""
    return all(check.ok is not False for check in found)


def _system(facts: Facts) -> Check:
    memory = f"{facts.memory_bytes / 2**30:.1f} GiB"
    detail = (
        f"{facts.system} {facts.kernel}, {facts.arch}, {facts.os or 'unknown system'},"
        f" {facts.cpus} CPUs, {memory}"
    )
    if facts.system != "Linux":
        return Check("system", False, detail, "agents run on Linux; on Windows in WSL2")
    if facts.narrow:
        return Check("system", False, f"{detail}; {facts.narrow}", WIDE)
    known = facts.arch in ("x86_64", "aarch64")
    return Check("system", True if known else None, detail, "" if known else "untried processor")


def _python(name: str, facts: Facts) -> Check:
    python = facts.python
    if facts.container:
        return Check("python", True, "that of its container")
    if python is not None:
        return Check("python", True, f"{'.'.join(map(str, python.version))} at {python.path}")
    old = [f"{'.'.join(map(str, p.version)) or 'broken'} at {p.path}" for p in facts.pythons]
    detail = f"none is 3.11 or newer ({', '.join(old)})" if old else "there is none"
    return Check("python", False, detail, python_todo(facts, f"otterctl machine add {name}"))


def python_todo(facts: Facts, add: str) -> str:
    """What to do where no interpreter is new enough.

    Args:
        facts: Of the machine.
        add: What brings one along.
    """
    brings = f"bring one along: {add} --python FILE (docs/machines.md says which)"
    packages = _python_packages(facts)
    return f"{packages}; or {brings}" if packages else brings


def _python_packages(facts: Facts) -> str:
    """The system's own that are new enough; "": it has none."""
    system, _, number = facts.os.partition(" ")
    release = tuple(int(part) for part in number.split(".") if part.isdecimal())
    if system == "ubuntu" and release < (22, 4):
        return ""  # the archive below has none for it any more
    if system == "ubuntu" and release < (24, 4):
        return "add-apt-repository ppa:deadsnakes/ppa && apt-get install python3.12 python3.12-venv"
    if system == "debian" and release and release < (12,):  # testing and sid have no number
        return ""
    if system in ("debian", "ubuntu"):
        return "apt-get install python3"
    if "apt-get" in facts.tools:
        return "apt-get install python3, if that is 3.11 or newer"
    return "install Python 3.11 or newer so that `python3` or `python3.11` finds it"


def _root(facts: Facts) -> Check:
    words = {
        "root": "root logs in",
        "sudo": f"{facts.user}, sudo without a password",
        "password": f"{facts.user}, sudo with a password",
    }
    if facts.root in words:
        return Check("privileges", True, words[facts.root])
    if facts.container:
        return Check("privileges", True, f"{facts.user}, who may use Docker")
    ok = None if facts.socket or facts.docker_usable else False
    todo = "log in as root or as a sudoer"
    if facts.docker_usable:
        todo += ", or otterctl machine add --via docker"
    return Check("privileges", ok, f"{facts.user}, without sudo", todo)


def _otter(name: str, seen: Seen) -> Check:
    there = seen.facts.release or seen.facts.container
    if there and there == seen.facts.container:
        return _other_build(name, seen, there) or Check("otter", True, f"{there}, as a container")
    if there == seen.own and seen.facts.served != there:
        detail = f"{there} is there, but {seen.facts.served} runs: an upgrade was cut short"
        return Check("otter", False, detail, f"otterctl machine upgrade {name}")
    if there == seen.own:
        return Check("otter", True, there)
    if other := _other_build(name, seen, there):
        return other
    if seen.info is None:
        return Check("otter", False, "not installed", f"otterctl machine add {name}")
    if seen.info.version != seen.own_version:
        detail = f"{seen.info.version}, this otterctl is {seen.own_version}"
        return Check("otter", False, detail, "it was installed by hand: upgrade it so")
    return Check("otter", True, f"{seen.info.version}, not installed by otterctl machine")


def _other_build(name: str, seen: Seen, there: str) -> Check | None:
    if not there or there == seen.own:
        return None
    detail = f"{there}, this otterctl is {seen.own}"
    return Check("otter", False, detail, f"otterctl machine upgrade {name}")


def _agent(name: str, seen: Seen) -> Check:
    if seen.info is None:
        todo = f"otterctl machine add {name}"
        if seen.facts.release or seen.facts.container:
            todo = f"see its log: {_log(seen)}"
        if seen.facts.socket and "may not use it" in seen.silence:
            todo = "log in again: membership of group otter counts from the next login"
        return Check("agent", False, seen.silence, todo)
    info = seen.info
    if info.api_version != api.API_VERSION:
        detail = f"speaks API {info.api_version}, this otterctl {api.API_VERSION}"
        return Check("agent", False, detail, f"otterctl machine upgrade {name}")
    driver = f"links by {info.link_driver}" if info.link_driver != "none" else "no link driver"
    return Check("agent", True, f"version {info.version}, pid {info.pid}, {driver}")


def _log(seen: Seen) -> str:
    """The command that shows what the agent said last."""
    if seen.facts.container and not seen.facts.release:
        return f"{seen.ssh} docker logs --tail 50 otter-agent"
    if not seen.facts.systemd:
        return f"{seen.ssh} tail -n 50 /var/log/otter-agent.log"
    if seen.facts.root == "root":
        return f"{seen.ssh} journalctl -u otter-agent -n 50"
    return f"{seen.ssh.replace('ssh', 'ssh -t', 1)} sudo journalctl -u otter-agent -n 50"


def _docker(facts: Facts) -> Check:
    if not facts.docker and not facts.docker_socket:
        todo = "apt-get install docker.io, or otterctl machine add --docker; processes need none"
        return Check("docker", None, "not installed", todo)
    if facts.docker_usable:
        return Check("docker", True, facts.docker)
    detail = facts.docker or "no client"
    if facts.docker_socket and "permission denied" in detail.lower():
        return Check("docker", None, f"{facts.user} may not use it, the agent may")
    todo = "start it: systemctl start docker (or dockerd); processes need none"
    return Check("docker", None, detail, todo)


def _space(facts: Facts) -> Check:
    ok = facts.free_bytes >= ROOM_BYTES or bool(facts.release or facts.container)
    detail = f"{facts.free_bytes / 2**30:.1f} GiB free for /opt/otter"
    return Check("space", ok, detail, "" if ok else f"{ROOM_BYTES >> 20} MiB are needed")


def _clock(seen: Seen) -> Check:
    if seen.offset_s is None:
        return Check("clock", None, "unknown")
    ahead = "ahead" if seen.offset_s >= 0 else "behind"
    detail = (
        f"{format_duration(round(abs(seen.offset_s), 4))} {ahead},"
        f" give or take {format_duration(round(seen.offset_error_s, 4))}"
    )
    fine = abs(seen.offset_s) <= CLOCK_S + seen.offset_error_s
    return Check(
        "clock", True if fine else None, detail, "" if fine else "run chrony or ntpd there"
    )


def _cgroup(seen: Seen) -> Check:
    """By what its agent has found, where one answers."""
    facts = seen.facts
    state, why = _state(seen, "cgroup")
    if state == "yes":
        return Check("cgroups", True, why or facts.cgroup)
    if state == "no":
        return Check("cgroups", None, why, _NO_BUDGETS)
    if facts.cgroup == "none":
        todo = f"mount version 1 or 2; {_NO_BUDGETS}"
        return Check("cgroups", None, facts.cgroup, todo)
    lacking = [one for one in _CONTROLLERS if facts.controllers and one not in facts.controllers]
    if not lacking:
        return Check("cgroups", True, facts.cgroup)
    mend = _NO_MEMORY if lacking == ["memory"] else "boot with these controllers"
    detail = f"{facts.cgroup} lacks {', '.join(lacking)}"
    return Check("cgroups", None, detail, f"{mend}; {_NO_BUDGETS}")


def _feature(name: str, state: str, why: str, use: str, todo: str) -> Check:
    ok = {"yes": True, "no": None}.get(state)
    words = {"yes": "there", "no": "missing"}.get(state, "unknown: root tries it, with its tool")
    told = f"; {why}" if why and state == "no" else ""
    return Check(name, ok, f"{words} (for {use}){told}", todo if state == "no" else "")
