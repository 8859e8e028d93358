"""The command line: one file per verb, imported only when that verb runs.

`VERBS` holds the one-line helps, so that `otterctl --help` imports no verb (0.1 s instead of 0.5).
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path

import click

from otter_ctl.local import LocalAgent

EXIT_FAILED = 1
EXIT_USAGE = 2
"""Wrong usage or a bad topology."""
EXIT_INTERRUPTED = 130
VERBS = {
    "init": "Make a folder with a topology and a module that run at once.",
    "validate": "Check topology files; nothing is contacted.",
    "graph": "Draw a topology, or a mesh that runs, as SVG or Mermaid.",
    "schema": "Print the JSON Schema of topology files, for editors.",
    "plan": "Show what apply would change, field by field.",
    "apply": "Make a topology real; returns when all modules are ready.",
    "run": "Run one experiment: apply, wait for its end, fetch, destroy.",
    "destroy": "Fetch results, then remove everything of a mesh.",
    "ls": "List meshes.",
    "status": "Show hosts, modules, links and streams of a mesh.",
    "top": "Show what hosts and modules use, and whose GPUs: live.",
    "start": "Start modules that were stopped, have ended or have failed.",
    "stop": "Stop modules; they stay so until they are started or applied.",
    "restart": "Stop modules and start them again; all others keep running.",
    "wait": "Wait until modules are in a state.",
    "shape": "Change links, cells, hosts and modules while they run, by hand.",
    "logs": "Show what modules print.",
    "dev": "Work on a module: each save restarts it, and nothing else.",
    "exec": "Run a command inside a module.",
    "forward": "Let a local port lead to a port of a module.",
    "cp": "Copy files out of modules and into them.",
    "fetch": "Bring logs and outputs into the run folder.",
    "verify": "Measure links and hosts of a mesh: are they what was asked for?",
    "capture": "Record the packets of a link, for Wireshark.",
    "events": "Show what happened to a mesh.",
    "timeline": "Show, start, pause or reset what changes by itself: events and traces.",
    "trace": "Show one query end to end: its messages, and where time went.",
    "volume": "List or remove named volumes.",
    "cache": "List or empty what was fetched once: weights, packages.",
    "gpu": "Show GPUs: what they do, for which modules, and whose turns they are.",
    "machine": "Make machines OTTER machines, and look at them.",
    "lab": "Emulate machines on this computer, with SSH, an engine and an agent each.",
    "image": "List or prune images and environments.",
    "doctor": "Check what this machine can do, and say what to mend.",
    "completion": "Print a shell's completion script.",
}


ELSEWHERE = {
    **dict.fromkeys(("up", "deploy", "create", "launch", "redeploy", "reload"), "apply FILE"),
    **dict.fromkeys(
        ("down", "undeploy", "delete", "remove", "rm", "teardown", "clean", "cleanup"), "destroy"
    ),
    **dict.fromkeys(("ps", "inspect", "describe", "dump", "net", "nodes", "links"), "status"),
    **dict.fromkeys(("list", "meshes", "labs"), "ls"),
    **dict.fromkeys(("diff", "preview", "dry-run"), "plan FILE"),
    **dict.fromkeys(("check", "lint", "config"), "validate FILE"),
    **dict.fromkeys(
        ("netem", "tc", "tools", "link", "impair", "impairments"), "shape link NAME --delay 50ms"
    ),
    **dict.fromkeys(("pingall", "pingallfull", "ping", "iperf", "iperf3"), "verify"),
    **dict.fromkeys(("tcpdump", "wireshark", "tshark", "sniff"), "capture LINK -o -"),
    **dict.fromkeys(("ssh", "sh", "shell", "bash", "attach", "xterm"), "exec MODULE"),
    **dict.fromkeys(("port", "port-forward", "proxy"), "forward MODULE PORT"),
    **dict.fromkeys(("stats", "monitor", "usage"), "top"),
    **dict.fromkeys(("draw", "viz", "plot", "graphviz"), "graph FILE"),
    **dict.fromkeys(("env", "health"), "doctor"),
    "push": "image send NAME --to MACHINE",
    "save": "fetch",
    "watch": "dev MODULE",
    "scale": "apply FILE --set hosts.NAME.count=3",
    "prune": "image prune",
    "new": "init NAME",
    "update": "apply FILE",
    "version": "--version",
}
"""What other tools (Compose, containerlab, Kubernetes, Mininet, dora) call it -> here."""


@dataclass(slots=True)
class Session:
    """What the options before the verb say.

    Attributes:
        agent: This machine's agent.
        runs: Parent of the run folders.
        debug: Show tracebacks.
    """

    agent: LocalAgent
    runs: Path
    debug: bool = False


class _Verbs(click.Group):
    """Finds verbs by name in `VERBS`; suggests the nearest for a typo."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"otter_ctl.cli.{name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            hint = _meant(args[0])
            raise click.UsageError(f"no verb {args[0]!r}{hint} (otterctl --help lists them)", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _meant(word: str) -> str:
    if word in ELSEWHERE:
        return f"; here it is: otterctl {ELSEWHERE[word]}"
    import difflib

    near = difflib.get_close_matches(word, VERBS, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"otterctl {version('otter-mesh')}")
        ctx.exit()


@click.command(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  otterctl init hello && cd hello && otterctl apply topology.toml
  otterctl status
  otterctl logs -f
  otterctl destroy
""",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="OTTER_ROOT",
    help="Folder of the agent's state, if not the default one. [env: OTTER_ROOT]",
)
@click.option(
    "--docker",
    metavar="URL",
    envvar="OTTER_DOCKER",
    help="Docker engine for an agent that has to be started. [env: OTTER_DOCKER, DOCKER_HOST]",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="OTTER_RUNS",
    default=Path("runs"),
    show_default=True,
    help="Where run folders go. [env: OTTER_RUNS]",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option(
    "--version",
    is_flag=True,
    callback=_version,
    expose_value=False,
    is_eager=True,
    help="Print the version.",
)
@click.pass_context
def cli(ctx: click.Context, root: Path | None, docker: str | None, runs: Path, debug: bool) -> None:
    """Emulate an edge network and run AI modules on it."""
    ctx.obj = Session(LocalAgent(root, docker), Path(os.path.abspath(runs)), debug)
