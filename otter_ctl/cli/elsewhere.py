"""`--on MACHINE`: what a verb asks of this machine's agent is asked of others', one or several."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from net.errors import OtterError
from otter_ctl.cli import Session
from otter_ctl.cli.agents import everybody
from otter_ctl.cli.common import (
    COMPLETE_WITHIN_S,
    ask_here,
    complete_names,
    run,
    session_of,
    site_option,
    with_agent,
)
from otter_ctl.client import AgentClient
from otter_ctl.many import Answers, each, together
from otter_ctl.printable import printable
from otter_ctl.topology.model import LOCAL

T = TypeVar("T")
COMPLETE_FAR_WITHIN_S = 2.0
"""The same of another machine: who asks has yet to log in there, over whichever network."""


def _complete_machine(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from otter_ctl.machine.sites import known

    try:
        names = [LOCAL, *known()]
    except (OtterError, OSError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_on_option = click.option(
    "--on", metavar="MACHINE", shell_complete=_complete_machine,
    help="Of that machine of your site file instead of this one; a glob: of all that it matches,"
         " of which this one, `local`, may be one.",
)  # fmt: skip


def on_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every verb takes that looks at what single machines keep: `--on` and `--site`."""
    return _on_option(site_option(command))


def ask_on(
    session: Session, on: str | None, question: Callable[[AgentClient], Awaitable[T]]
) -> Answers[T]:
    """One question to the agents of some machines.

    Args:
        session: Of the command.
        on: A name or a glob; None: to this machine's agent, which is started if one ran before.
        question: Asked of each.

    Returns:
        By machine: what each answered, or why it didn't. The caller shows the first and raises the
        second (`complain`).

    Raises:
        OtterError: Of this machine's agent, where only that was asked.
        click.UsageError: No machine is called so.
    """
    if on is None:
        return Answers({LOCAL: ask_here(with_agent(session), question)})
    if fnmatchcase(LOCAL, on):
        with_agent(session)
    return run(_asked(session, on, question))


async def _asked(
    session: Session, on: str, question: Callable[[AgentClient], Awaitable[T]]
) -> Answers[T]:
    async with everybody(session) as fleet:
        known = list(dict.fromkeys(fleet.agents.names))
        chosen = [name for name in known if name == on or fnmatchcase(name, on)]
        if not chosen:
            there = printable(", ".join(known), 1000)
            raise click.UsageError(f"--on {on}: no such machine; there are: {there}")
        is_only_here = LOCAL not in fleet.agents.machines and not session.agent.answers()
        if is_only_here and len(chosen) > 1:
            chosen = [name for name in chosen if name != LOCAL]  # a laptop needs no agent
        agents = await fleet.agents.of(chosen)
        return await each(agents, lambda name, agent: question(agent))


def complain(answers: Answers[Any]) -> None:
    """End with what kept machines from answering, if something did.

    Raises:
        OtterError: Names each of them.
    """
    if answers.failed:
        raise together(answers.failed)


def complete_on(
    ctx: click.Context,
    question: Callable[[AgentClient], Awaitable[list[str]]],
    incomplete: str,
) -> list[CompletionItem]:
    """As `complete_names`, of the machines that `--on` names; who isn't quick is left out."""
    on = ctx.params.get("on")
    if on is None:
        return complete_names(ctx, question, incomplete)

    async def soon(client: AgentClient) -> list[str]:
        try:
            within_s = COMPLETE_FAR_WITHIN_S if client.is_far else COMPLETE_WITHIN_S
            async with asyncio.timeout(within_s):
                return await question(client)
        except TimeoutError:
            return []

    try:
        answers = run(_asked(session_of(ctx), on, soon))
    except (OtterError, click.UsageError):
        return []
    names = sorted({name for found in answers.good.values() for name in found})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
