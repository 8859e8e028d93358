"""`otterctl doctor`."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

import click

from net.units import format_duration
from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, Session
from otter_ctl.cli.common import ask_here, json_option, pass_session, print_json
from otter_ctl.cli.saying import say
from otter_ctl.client import AgentClient
from otter_ctl.printable import printable_lines
from otter_ctl.system import no_agent, where_instead


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `ok` None: worth knowing, not wrong."""

    name: str
    ok: bool | None
    detail: str
    mend: str = ""


@click.command(epilog="Example: otterctl doctor --json | jq '.checks[] | select(.ok == false)'")
@json_option
@pass_session
def command(session: Session, as_json: bool) -> int:
    """Check what this machine can do, and say what to mend. Changes nothing.

    Exits with 1 if no runtime can be used.
    """
    if why := no_agent():
        return _of_a_controller(why, as_json=as_json)
    running = session.agent.answers()
    info = _ask_info(session) if running else session.agent.facts()
    checks = [_python(), _privileges(info), _agent(session, info if running else None)]
    checks += _machine(info)
    usable = info is not None and any(r.usable for r in info.runtimes if r.name != "fake")
    if as_json:
        print_json({"usable": usable, "checks": [_plain(c) for c in checks]})
    else:
        _show(checks)
        click.echo("\nready to apply" if usable else "\nno runtime can be used here yet")
    return 0 if usable else EXIT_FAILED


def _of_a_controller(why: str, *, as_json: bool) -> int:
    """Where no agent can be there is little to check, and nothing wrong."""
    checks = [_python(), Check("agent", None, why, where_instead())]
    if as_json:
        print_json({"usable": False, "checks": [_plain(c) for c in checks]})
    else:
        _show(checks)
        click.echo(
            "\nready to apply on other machines: `otterctl machine check NAME` looks at them"
        )
    return 0


def _ask_info(session: Session) -> api.Info:
    async def question(client: AgentClient) -> api.Info:
        return await client.info()

    return ask_here(session, question)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), version, "3.11 or newer is needed")


def _privileges(info: api.Info | None) -> Check:
    """As whom meshes run: the agent tells, which may be another's than who asks."""
    if info is None or not info.user:
        return Check("privileges", True, "root")
    network = next((line for line in info.lacks if line.startswith("network: ")), "")
    if network:
        why = network.removeprefix("network: ")
        return Check("privileges", False, f"{info.user}, without namespaces", why)
    return Check("privileges", True, f"without root: in namespaces of {info.user}")


def _agent(session: Session, info: api.Info | None) -> Check:
    where = session.agent.socket
    if info is None:
        return Check("agent", None, f"none answers at {where}", "`otterctl apply` starts one")
    from importlib.metadata import version

    mine = version("otter-mesh")
    if info.version != mine or info.api_version != api.API_VERSION:
        return Check(
            "agent",
            False,
            f"version {info.version}, this otterctl is {mine}",
            f"restart it: kill {info.pid}; meshes live on, the next apply starts a new one",
        )
    return Check("agent", True, f"version {info.version}, pid {info.pid}, at {where}")


def _machine(info: api.Info | None) -> list[Check]:
    if info is None:
        return [
            Check("machine", False, "`otter-agent facts` failed", "reinstall otter-mesh[agent]")
        ]
    memory = f"{info.memory_bytes / 2**30:.1f} GiB"
    checks = [
        Check(
            "machine",
            True,
            f"{info.cpus} CPUs, {memory}, {info.arch}, Linux {info.kernel}",
        ),
        _budgets(info),
    ]
    mends = {
        "docker": "install and start an engine (apt-get install docker.io), or use the process "
        "runtime: it needs none",
        "process": "run as root, or where ordinary users may make user namespaces",
    }
    for runtime in info.runtimes:
        if runtime.name == "fake":
            continue
        ok = runtime.usable or (None if runtime.name == "docker" else False)
        mend = "" if runtime.usable or info.user else mends.get(runtime.name, "")
        checks.append(Check(f"runtime {runtime.name}", ok, runtime.detail or "usable", mend))
    checks.append(Check("gateways", None if info.gateways else True, info.gateways or "usable"))
    checks += _links(info)
    debootstrap = shutil.which("debootstrap")
    checks.append(
        Check(
            "debootstrap",
            True if debootstrap else None,
            debootstrap or "not installed",
            "" if debootstrap else "needed only where base images can't be pulled",
        )
    )
    return checks


_LINK_MENDS = {
    "netem": "a kernel with sch_netem (`modprobe sch_netem`); links in user space need none",
    "tun": "`modprobe tun`, and an agent that may make network devices",
}


def _budgets(info: api.Info) -> Check:
    if info.cgroup != "none":
        return Check("cgroups", True, info.cgroup)
    mend = "ask for no cpu and memory, or say `allow_degraded = true` in the topology"
    return Check("cgroups", None, info.cgroup_why or "none", mend)


def _links(info: api.Info) -> list[Check]:
    """What makes links scarce, and how exactly."""
    checks = []
    any_ = any(driver.chosen for driver in info.link_drivers)
    for driver in info.link_drivers:
        words = [driver.detail or "usable"]
        if driver.error_s is not None:
            words.append(f"delays are off by {format_duration(driver.error_s)} (median)")
        if driver.chosen:
            words.append("chosen for this machine's links")
        ok = driver.usable or (None if any_ else False)
        mend = "" if driver.usable else _LINK_MENDS.get(driver.name, "")
        checks.append(Check(f"links {driver.name}", ok, "; ".join(words), mend))
    for name, why in (("vxlan", info.tunnels), ("udp", info.udp_tunnels)):
        checks.append(Check(f"between machines {name}", not why or None, why or "usable"))
    if not info.link_drivers:
        checks.append(Check("links", False, info.link_driver_why or "no driver", "run as root"))
    return checks


def _show(checks: list[Check]) -> None:
    marks = {True: ("ok", "green"), False: ("BAD", "red"), None: ("--", "yellow")}
    for check in checks:
        mark, colour = marks[check.ok]
        told = printable_lines(f"{check.name}: {check.detail}")
        click.echo(f"{click.style(f'{mark:>3}', fg=colour)}  {told}")
        if check.ok is not True and check.mend:
            say(f"       try: {check.mend}")


def _plain(check: Check) -> dict[str, object]:
    return {"name": check.name, "ok": check.ok, "detail": check.detail, "mend": check.mend}
