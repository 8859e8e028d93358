"""`otterctl plan`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, Session
from otter_ctl.cli.common import (
    json_option,
    pass_session,
    print_json,
    run,
    set_option,
    without_option,
)
from otter_ctl.cli.links import by_hand, network
from otter_ctl.cli.preparing import (
    located,
    machines_of,
    new_run,
    prepared_for,
    reaching,
    refusals,
    unusable,
)
from otter_ctl.cli.reasons import placed_lines, reasons_document, show_reasons
from otter_ctl.cli.saying import say
from otter_ctl.cli.words import causes
from otter_ctl.concerns import things
from otter_ctl.deploy import Prepared, prepare, with_secrets
from otter_ctl.errors import AgentFault
from otter_ctl.planning.describe import quantity_text
from otter_ctl.planning.diff import Change
from otter_ctl.planning.expansion import expansion_lines
from otter_ctl.planning.machines import left_out
from otter_ctl.planning.prediction import Forecast
from otter_ctl.printable import printable, printable_lines
from otter_ctl.secrets import present
from otter_ctl.system import no_agent, where_instead
from otter_ctl.topology import Topology, load
from otter_ctl.topology.model import LOCAL

if TYPE_CHECKING:
    from otter_ctl.spread import Fleet

EXIT_CHANGES = 2
"""With `--detailed-exitcode`; wrong usage and bad topologies end with 1 then (`__main__`)."""
DEGRADED = "degraded"
"""What the agent says of a property that the topology allows to be lacking."""
NOWHERE = "no-agent-here"
"""Of a system that no agent runs on: what was planned may be right all the same."""


@click.command(
    epilog="""\b
Examples:
  otterctl plan topology.toml
  otterctl plan topology.toml --set hosts.edge.cpu=0.5
  otterctl plan topology.toml --explain             # why modules are where they are
  otterctl plan topology.toml --detailed-exitcode   # 0 nothing to do, 1 error or refused, 2 changes
  otterctl plan topology.toml --graph plan.svg      # a picture, with what changes in colour
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@set_option
@click.option(
    "--detailed-exitcode",
    is_flag=True,
    help="Exit with 2 if something would change, 1 on any error, wrong usage too.",
)
@click.option(
    "--explain", is_flag=True, help="Say why modules are where they are, and what to expect."
)
@without_option
@click.option(
    "--graph",
    metavar="WHERE",
    help="Draw it as well, into NAME.svg or NAME.mmd; `mermaid` or `svg`: on stdout instead.",
)
@json_option
@pass_session
def command(
    session: Session,
    file: Path,
    overrides: tuple[str, ...],
    detailed_exitcode: bool,
    explain: bool,
    without: tuple[str, ...],
    graph: str | None,
    as_json: bool,
) -> int:
    """Show what apply would change, field by field. Changes nothing and starts nothing.

    Exits with 1 if apply would be refused. So it does where a machine gives no answer: the plan
    is of the others then, with what was last known of that one.
    """
    prepared, refused = run(_prepare(session, file, overrides, without, explain=explain))
    drawn = graph is not None and _draw(prepared, graph)
    if as_json:
        lacks = [fault.problem.message for fault in refused if fault.code == DEGRADED]
        faults = [str(fault) for fault in refused if fault.code != DEGRADED]
        document = {**_document(prepared), "refused": faults, "degraded": lacks}
        print_json({**document, **(reasons_document(prepared.plan) if explain else {})})
    elif not drawn:
        show(prepared)
        if explain:
            show_reasons(prepared.plan)
    for fault in refused:
        if fault.code == DEGRADED:
            say(f"warning: {fault.problem.message}", fg="yellow", err=True)
        else:
            say(f"apply will be refused: {fault}", fg="red", err=True)
    if prepared.unheard:
        from otter_ctl.many import together

        raise together({name: one.error for name, one in prepared.unheard.items()})
    sure = [fault for fault in refused if fault.code not in (DEGRADED, NOWHERE)]
    if sure or prepared.plan.unsupported:
        return EXIT_FAILED
    return EXIT_CHANGES if detailed_exitcode and prepared.changes else 0


async def _prepare(
    session: Session,
    file: Path,
    overrides: tuple[str, ...],
    without: tuple[str, ...],
    *,
    explain: bool,
) -> tuple[Prepared, list[AgentFault]]:
    """The plan, and why the agent would refuse it."""
    topology = load(file, overrides)
    with located(topology):
        return await _planned(session, file, overrides, topology, without, explain=explain)


async def _planned(
    session: Session,
    file: Path,
    overrides: tuple[str, ...],
    written: Topology,
    without: tuple[str, ...],
    *,
    explain: bool,
) -> tuple[Prepared, list[AgentFault]]:
    topology = left_out(written, without)
    if not without and machines_of(topology) == {LOCAL} and not session.agent.answers():
        facts = session.agent.facts()
        new = new_run(session, topology.name)
        prepared = prepare(file, overrides, None, facts, run=new, topology=topology)
        return prepared, without_agent(prepared.plan.spec, facts)
    async with reaching(session, written, without=without, reads_only=True) as client:

        async def look() -> Prepared:
            return await prepared_for(
                session, client, file, overrides, topology, without=without, partly=True
            )

        prepared = await look()
        predicts = explain and prepared.plan.forecast.streams
        if predicts and await _measured(session, client, prepared):
            prepared = await look()
        if not prepared.parts and not session.agent.answers():
            return prepared, without_agent(prepared.plan.spec, session.agent.facts())
        refused = await refusals(client, prepared)
        try:
            values = present(prepared.plan.spec, os.environ)
            prepared = await with_secrets(client, prepared, values)
        except AgentFault as fault:
            refused.append(fault)
    return prepared, refused


async def _measured(session: Session, fleet: Fleet, prepared: Prepared) -> bool:
    """Have machines measure what predictions rest on; whether any has told it for the first time.

    One that can't, or is silent, is predicted like the others were before.
    """
    names = {n for n in prepared.plan.machines.values() if n not in prepared.unheard}
    if LOCAL in names and not session.agent.answers():
        names.remove(LOCAL)
    from otter_ctl.many import each

    agents = await fleet.agents.of(sorted(names))
    told = prepared.infos or (await each(agents, lambda name, agent: agent.info())).good
    unknown = {n: agents[n] for n in agents if n in told and told[n].waking_s is None}
    after = (await each(unknown, lambda name, agent: agent.info(measured=True))).good
    return any(info.waking_s is not None for info in after.values())


def without_agent(spec: api.MeshSpec, facts: api.Info | None) -> list[AgentFault]:
    """Why an agent that `apply` starts here would refuse a mesh, as far as that is known before."""
    if why := no_agent():
        elsewhere = api.Problem(code=NOWHERE, message=why, hint=where_instead())
        return [AgentFault(LOCAL, elsewhere)]
    if facts is not None and (faults := unusable(spec, facts)):
        return faults
    if facts is not None and (lack := api.no_gpus(spec, facts.gpu_facts, facts.gpu_why)):
        return [AgentFault(facts.machine, lack)]
    if facts is None or spec.allow_degraded:
        return []
    if spec.modules and all(module.runtime == "fake" for module in spec.modules):
        return []  # it has no network to shape
    if facts.cgroup == "none" and (lack := api.no_budgets(spec, facts.cgroup_why)):
        return [AgentFault(facts.machine, lack)]
    scarce = api.too_slow(spec, facts.hardness)
    if scarce is None and facts.disks_why:
        scarce = api.no_disks(spec, facts.disks_why)
    if scarce is None and (why := api.lack(facts.features, "htb")):
        scarce = api.no_rates(spec, why)
    if scarce is not None:
        return [AgentFault(facts.machine, scarce)]
    if facts.link_driver != "none":
        return []
    for link in spec.links:
        if any(asked is not None and asked.asked() for asked in (link.forward, link.reverse)):
            why = f"link {link.name}: no link driver works here ({facts.link_driver_why})"
            problem = api.Problem(code="unsupported-link", message=why, hint="otterctl doctor")
            return [AgentFault(facts.machine, problem)]
    return []


def _draw(prepared: Prepared, where: str) -> bool:
    """Draw the plan; True if it went to stdout, in place of the words."""
    from otter_ctl.cli.graph import FORMATS, drawn, kind_of, write
    from otter_ctl.graph.build import of_plan
    from otter_ctl.graph.fold import fold

    current = prepared.current.spec if prepared.current else None
    picture = of_plan(prepared.topology, prepared.plan.spec, current, prepared.changes)
    on_stdout = where in FORMATS
    kind = where if on_stdout else kind_of(Path(where))
    write(drawn(fold(picture), kind), None if on_stdout else Path(where))
    return on_stdout


def show(prepared: Prepared) -> None:
    """Print the changes for people."""
    spec = prepared.plan.spec
    for warning in prepared.plan.warnings:
        say(f"warning: {warning}", fg="yellow", err=True)
    for line in prepared.plan.unsupported:
        say(f"apply will refuse: {line}", fg="red", err=True)
    for line in by_hand(prepared.current.links) if prepared.current else ():
        say(line, fg="yellow", err=True)
    for line in expansion_lines(prepared.plan.expansion):
        say(line)
    plan = prepared.plan
    for line in (*placed_lines(plan), *plan.speeds, *plan.crowding):
        say(line)
    if not prepared.changes:
        where = " on the machines that answer" if prepared.unheard else ""
        click.echo(f"mesh {spec.name}: nothing to change{where}")
        _show_unheard(prepared)
        return
    click.echo(f"mesh {spec.name}:")
    _show_unheard(prepared)
    _show_tunnels(prepared)
    # At once: a call for each of 100,000 lines takes a second.
    click.echo("\n".join(line for change in prepared.changes for line in _change_lines(change)))
    counts = [
        f"{sum(c.kind == k for c in prepared.changes)} to {k}"
        for k in _SIGNS
        if any(c.kind == k for c in prepared.changes)
    ]
    click.echo(", ".join(counts))
    running = {m.name for m in prepared.current.modules if m.pid} if prepared.current else set()
    ended = [c.name for c in prepared.changes if c.restart and c.name in running]
    if running:
        click.echo(f"of {len(running)} running modules {len(ended)} will be restarted")


@dataclass(frozen=True, slots=True)
class Unknown:
    """A machine that gives no answer, so that nobody knows what would change there.

    Attributes:
        hosts: Those that it had, as the others tell.
        asked_hosts: Those that it shall have.
    """

    machine: str
    why: str
    hosts: tuple[str, ...]
    modules: tuple[str, ...]
    asked_hosts: tuple[str, ...]
    asked_modules: tuple[str, ...]


def unknown(prepared: Prepared) -> Iterator[Unknown]:
    """What is known of machines that give no answer."""
    plan = prepared.plan
    for name, one in sorted(prepared.unheard.items()):
        asked = tuple(host for host, machine in plan.machines.items() if machine == name)
        yield Unknown(
            machine=name,
            why=one.why,
            hosts=tuple(host.name for host in one.part.hosts) if one.part else (),
            modules=tuple(module.name for module in one.part.modules) if one.part else (),
            asked_hosts=asked,
            asked_modules=tuple(m.name for m in plan.spec.modules if m.host in asked),
        )


def _show_unheard(prepared: Prepared) -> None:
    for one in unknown(prepared):
        text = f"  ? machine {one.machine} gives no answer: what would change there isn't known"
        say(text, fg="yellow")
        say(f"      last known there: {things(one.hosts, one.modules) or 'nothing'}")
        say(f"      asked of it: {things(one.asked_hosts, one.asked_modules) or 'nothing'}")


def tunnels(prepared: Prepared) -> Iterator[tuple[api.Link, str, api.Tunnel]]:
    """Links between machines, from which machine, how."""
    for name, part in sorted(prepared.parts.items()):
        for link in part.links:
            if link.tunnel is not None:
                yield link, name, link.tunnel


def tunnel_line(link: api.Link, machine: str, tunnel: api.Tunnel) -> str:
    """`link radio leaves lab1 by vxlan, 5ms: why that`, and what comes on top of its delay."""
    why = f": {printable(tunnel.why)}" if tunnel.why else ""
    is_scarce = any(way is not None and way.asked() for way in (link.forward, link.reverse))
    top = ""
    if is_scarce and not link.subtract:
        top = "; the network's delay comes on top of the link's (subtract_underlay takes it off)"
    return f"  link {link.name} leaves {machine} by {tunnel.kind}, {network(tunnel)}{top}{why}"


def _show_tunnels(prepared: Prepared) -> None:
    for one in tunnels(prepared):
        click.echo(tunnel_line(*one))


_SIGNS = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "replace": ("±", "magenta"),
    "start": (">", "cyan"),
    "remove": ("-", "red"),
}
_WORDS = {"update": "live", "replace": "restarts", "start": "starts"}


def _change_lines(change: Change) -> Iterator[str]:
    sign, colour = _SIGNS[change.kind]
    told = change.subject == "module" and change.kind in _WORDS
    note = f"  ({_WORDS[change.kind]})" if told else ""
    if change.restart:
        note = f"  (restarts: {causes(change)})"
    what = printable_lines(f"  {sign} {change.subject} {change.name}{note}")
    yield click.style(what, fg=colour)
    for field in change.fields:
        if change.kind == "create" and field.new is not False:  # what isn't so says nothing
            yield f"      {printable(field.field)} = {_value(field.field, field.new)}"
        elif change.kind not in ("create", "remove"):
            mark = "  (restarts)" if field.needs_restart else ""
            old, new = _value(field.field, field.old), _value(field.field, field.new)
            yield f"      {printable(field.field)}: {old} -> {new}{mark}"


def _value(field: str, value: object) -> str:
    if value is None:
        return "-"
    plain = value if isinstance(value, str) else api.encode(value).decode()
    text = quantity_text(field, value) or plain
    return printable(text, 97) if len(text) > 100 else printable(text)


def _document(prepared: Prepared) -> dict[str, object]:
    return {
        "mesh": prepared.plan.spec.name,
        "changes": prepared.changes,
        "warnings": prepared.plan.warnings,
        "unsupported": prepared.plan.unsupported,
        "expansion": prepared.plan.expansion,
        "machines": prepared.plan.machines,
        "speeds": prepared.plan.speeds,
        "crowding": prepared.plan.crowding,
        "forecast": _forecast(prepared.plan.forecast),
        "spec": prepared.plan.spec,
        "tunnels": [
            {
                "link": link.name,
                "machine": machine,
                "by": tunnel.kind,
                "why": tunnel.why,
                "underlay": tunnel.underlay,
                "less_s": tunnel.less_s,
            }
            for link, machine, tunnel in tunnels(prepared)
        ],
        "unknown": list(unknown(prepared)),
    }


def _forecast(forecast: Forecast) -> dict[str, object]:
    links = [
        {
            "link": way.link,
            "from": way.source,
            "to": way.target,
            "rate_bps": way.rate_bps,
            "expected_bps": way.expected_bps,
            "utilisation": way.utilisation,
        }
        for way in forecast.links
    ]
    return {"streams": forecast.streams, "links": links}
