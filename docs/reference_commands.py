"""The reference of `otterctl`, from its commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from otter_ctl.cli import VERBS, cli

INTRODUCTION = """\
<!-- Made by `make docs` from otter_ctl/cli: change that, not this. -->

# Verbs of otterctl

`otterctl VERB --help` shows the same. Exit codes: 0 done; 1 failed, a name
of no mesh, module or link that is there among it; 2 wrong usage or a bad topology, which is wrong
whatever runs; 130 interrupted.

"""


def commands_page() -> str:
    """The page, in Markdown."""
    root = click.Context(cli, info_name="otterctl")
    lines = [INTRODUCTION.rstrip("\n"), ""]
    lines += [f"- [`{verb}`](#otterctl-{verb}): {help_}" for verb, help_ in VERBS.items()]
    lines += ["", "## Before the verb", "", *_options(cli, root)]
    for verb in cli.list_commands(root):
        command = cli.get_command(root, verb)
        assert command is not None
        lines += _command(command, click.Context(command, info_name=verb, parent=root), 2)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, ctx: click.Context, level: int) -> Iterator[str]:
    yield from ("", f"{'#' * level} `{ctx.command_path}`", "")
    yield re.sub(r"[ \t]*\n[ \t]*", "\n", (command.help or "").replace("\b\n", "").strip())
    yield from ("", "```", command.get_usage(ctx).removeprefix("Usage: "), "```", "")
    yield from _options(command, ctx)
    yield from _examples(command.epilog or "")
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from _command(inner, click.Context(inner, info_name=name, parent=ctx), level + 1)


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    records = [
        record
        for param in command.get_params(ctx)
        if isinstance(param, click.Option)
        and "--help" not in param.opts
        and (record := param.get_help_record(ctx))
    ]
    if not records:
        return
    yield from ("| option | does |", "|---|---|")
    for names, help_ in records:
        cells = (cell.replace("|", r"\|") for cell in (f"`{names}`", help_.replace("<", "&lt;")))
        yield f"| {' | '.join(cells)} |"


def _examples(epilog: str) -> Iterator[str]:
    text = epilog.replace("\b\n", "").strip()
    text = re.sub(r"^Examples?:\s*", "", text)
    if text:
        lines = [line.strip() for line in text.splitlines()]
        yield from ("", "```sh", *lines, "```")
