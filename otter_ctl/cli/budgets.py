"""`otterctl shape host` and `shape module`; how budgets are shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import click

from net import units
from net.links.words import budget_text, host_text
from net.units import UnitError, format_duration
from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    complete_host,
    complete_module,
    force_option,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json,
    run,
)
from otter_ctl.cli.saying import say
from otter_ctl.shaping import chosen_budgets

MOST = 8
"""Lines of one sort; then they are counted."""
NONE = "none"
"""What takes a limit away, as for links."""
_KINDS = ("host", "module")
Amount = TypeVar("Amount", int, float)


_share = click.option(
    "--gpu-share", metavar="SHARE",
    help="Of a GPU's time, where others want it, too: 75%, or a weight such as 3.",
)  # fmt: skip
_SPEED = click.option(
    "--speed", metavar="NUMBER", help="Of one core, such as 0.3; `none`: as the machine's."
)


dry_option = click.option(
    "-n", "--dry-run", is_flag=True, help="Change nothing: only say whether that could be."
)


def _with_options(wrapped: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--cpu", metavar="CORES", help="Cores; `none`: as many as there are."),
        click.option("--memory", metavar="SIZE", help="Such as 512MiB; `none`: no limit."),
        click.option("--read", metavar="SIZE", help="From disks, a second: 20MB/s; `none`."),
        click.option("--write", metavar="SIZE", help="To disks, a second: 5MB/s; `none`."),
        click.option("--read-iops", metavar="COUNT", help="Reads from disks, a second; `none`."),
        click.option("--write-iops", metavar="COUNT", help="Writes to disks, a second; `none`."),
        click.option("--in", metavar="RATE", help="What is received: 20mbit; `none`: no limit."),
        click.option("--out", metavar="RATE", help="What is sent: 5mbit; `none`: no limit."),
        click.option("--for", "for_", metavar="TIME", help="Revert by itself after so long."),
        dry_option,
        mesh_option,
        force_option,
        json_option,
        pass_session,
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@click.command(
    name="host",
    epilog="""\b
Examples:
  otterctl shape host phone --cpu 0.5                  # memory stays as it is
  otterctl shape host 'client-*' --cpu 0.25 --for 30s  # reverts by itself
  otterctl shape host edge --memory none
  otterctl shape host edge --cpu 4 --dry-run           # could that be?
  otterctl shape host pi --speed 0.12                  # cores of a Raspberry Pi 4
  otterctl shape host pi --read 90MB/s --write 25MB/s
  otterctl shape host phone --gpu-share 25%            # of the machine's GPU, all its modules
""",
)
@click.argument("names", nargs=-1, metavar="[HOST]...", shell_complete=complete_host)
@_SPEED
@_share
@_with_options
def host(session: Session, /, names: tuple[str, ...], **given: Any) -> int:
    """Change what hosts may use, all their modules together; of all hosts if none is named.

    HOST is a name or a glob. Nothing is restarted. Returns once it is in force. A limit of memory
    below what is in use is refused, and the former one holds.
    """
    return _shape(session, "host", names, **given)


@click.command(
    name="module",
    epilog="""\b
Examples:
  otterctl shape module asr --cpu 0.5 --memory 1GiB
  otterctl shape module 'worker-*' --cpu none --for 10s
  otterctl shape module gan --gpu-share 3           # three times the turns of one of 1
""",
)
@click.argument("names", nargs=-1, metavar="[MODULE]...", shell_complete=complete_module)
@_share
@_with_options
def module(session: Session, /, names: tuple[str, ...], **given: Any) -> int:
    """Change what modules may use, within what their hosts may; of all modules if none is named.

    MODULE is a name or a glob. Nothing is restarted; what doesn't run has it from its next start
    on. A limit of memory below what is in use is refused, and the former one holds.
    """
    return _shape(session, "module", names, **given)


def _shape(
    session: Session,
    kind: Literal["host", "module"],
    names: Sequence[str],
    *,
    for_: str | None,
    dry_run: bool,
    mesh: str | None,
    force: bool,
    as_json: bool,
    **given: str | None,
) -> int:
    values = _values(given)
    if not values:
        raise click.UsageError("say what to change: --cpu, --memory, --read, …: see --help")
    for_s = None if for_ is None else duration("--for", for_)

    async def work() -> tuple[str, list[api.BudgetStatus]]:
        async with connect(session, force=force) as client:
            name = await pick_mesh(client, mesh)
            found = chosen_budgets(await client.budgets(name), kind, names, name)
            changes = [
                api.BudgetChange(kind=kind, name=x.name, set=values, for_s=for_s) for x in found
            ]
            return name, await client.shape_budgets(name, changes, check=dry_run)

    name, budgets = run(work())
    if as_json:
        print_json({"mesh": name, **by_kind(budgets), **({"dry_run": True} if dry_run else {})})
    elif dry_run:
        count = f"{len(budgets)} {kind}{'' if len(budgets) == 1 else 's'}"
        say(f"mesh {name}: {count} would be changed", err=True)
    else:
        time = f" for {format_duration(for_s)}" if for_s is not None else ""
        done = sum(not budget.error for budget in budgets)
        say(f"mesh {name}: {done} {kind}{'' if done == 1 else 's'} changed{time}", err=True)
        show_budgets(budgets)
    return EXIT_FAILED if any(budget.error for budget in budgets) else 0


def _values(given: Mapping[str, str | None]) -> dict[str, Any]:
    """Field of `api.Budget` -> value."""
    return {
        field: None if text == NONE and option not in _ALWAYS else read(option, text)
        for option, (field, read) in _READ.items()
        if (text := given.get(option)) is not None
    }


def _per_s(option: str, text: str) -> int:
    """`20MB/s`, or `20MB`: what else should be meant."""
    return _bytes(option, text.removesuffix("/s"))


def _bytes(option: str, text: str) -> int:
    return _positive(option, text, units.size, "512MiB")


def _rate(option: str, text: str) -> float:
    return _positive(option, text, units.rate, "5mbit")


def _positive(option: str, text: str, read: Callable[[str], Amount], example: str) -> Amount:
    name = option.replace("_", "-")
    try:
        if (found := read(text)) > 0:
            return found
    except UnitError as error:
        raise click.UsageError(f"--{name}: {error.message}") from None
    raise click.UsageError(f"--{name} {text}: more than nothing, such as {example}, or none")


def _weight(option: str, text: str) -> float:
    """A part of all, or a weight: 3 is three times one of 100 %."""
    number = text.removesuffix("%").strip()
    try:
        weight = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        weight = math.nan
    if not 0.001 <= weight <= api.MOST_WEIGHT:  # what isn't a number isn't either
        raise click.UsageError(f"--gpu-share {text}: a part such as 75%, or a weight such as 3")
    return weight


def _number(option: str, text: str) -> float:
    """A number that is one: JSON has `nan` and `inf` as null, which takes the limit away."""
    try:
        if math.isfinite(number := float(text)) and number > 0:
            return number
    except ValueError:
        pass
    what = "cores, such as 0.5, or none" if option == "cpu" else "a number, such as 0.3, or none"
    raise click.UsageError(f"--{option} {text}: {what}")


def _count(option: str, text: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 60:
        return int(text)
    name = option.replace("_", "-")
    raise click.UsageError(f"--{name} {text}: a whole number, such as 500, or none")


_READ: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "cpu": ("cpu", _number),
    "speed": ("speed", _number),
    "memory": ("memory_bytes", _bytes),
    "read": ("read_bytes_per_s", _per_s),
    "write": ("write_bytes_per_s", _per_s),
    "read_iops": ("read_iops", _count),
    "write_iops": ("write_iops", _count),
    "in": ("in_bps", _rate),
    "out": ("out_bps", _rate),
    "gpu_share": ("gpu_share", _weight),
}
"""Option -> the field of `api.Budget`, and what reads it."""
_ALWAYS = ("gpu_share",)
"""What can be another and not none: who takes turns has a share."""


def duration(option: str, text: str) -> float:
    """Seconds, more than none. Raises `click.UsageError`."""
    try:
        if (seconds := units.duration(text)) > 0:
            return seconds
    except UnitError as error:
        raise click.UsageError(f"{option}: {error.message}") from None
    raise click.UsageError(f"{option} {text}: more than no time, such as 30s")


def by_kind(budgets: Sequence[api.BudgetStatus]) -> dict[str, list[api.BudgetStatus]]:
    """`hosts` and `modules`, as documents have them."""
    return {f"{kind}s": [x for x in budgets if x.kind == kind] for kind in _KINDS}


def show_budgets(budgets: Sequence[api.BudgetStatus]) -> None:
    """A table; below it, what isn't as asked."""
    from otter_ctl.cli.tables import print_table

    if not budgets:
        return
    print_table(
        ("HOST OR MODULE", "ASKED", "IN FORCE", "BY HAND"),
        [(f"{x.kind} {x.name}", _text(x.asked), _text(x.in_force), _by_hand(x)) for x in budgets],
    )
    for budget in budgets:
        if budget.error:
            say(f"  {budget.kind} {budget.name}: {budget.error}", fg="red")
        if budget.note:
            say(f"  {budget.kind} {budget.name}: {budget.note}", fg="yellow")


def budgets_by_hand(status: api.MeshStatus) -> list[str]:
    """Hosts and modules that were changed by hand, a line each."""
    lines = [f"host {x.name}: {_by_hand(x)} by hand" for x in status.hosts if "shape" in x.layers]
    of_modules = (x for x in status.modules if "shape" in x.layers)
    lines += [f"module {x.name}: {_by_hand(x)} by hand" for x in of_modules]
    if len(lines) > MOST:
        lines = [*lines[:MOST], f"and {len(lines) - MOST} more likewise: otterctl shape show"]
    return lines


def _by_hand(told: api.BudgetStatus | api.HostStatus | api.ModuleStatus) -> str:
    """What was changed by hand, and when that ends; "" if nothing was."""
    if "shape" not in told.layers:
        return ""
    text = host_text(told.layers["shape"])
    if told.reverts_in_s is None:
        return text
    return f"{text} (reverts in {format_duration(round(told.reverts_in_s, 1))})"


def _text(budget: api.Budget) -> str:
    told = api.to_builtins(budget)
    return budget_text({name: v for name, v in told.items() if name not in ("pids", "period_s")})
