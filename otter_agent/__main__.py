"""`otter-agent`: arguments, signals and exit codes only."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

EXIT_FAILED = 1
EXIT_IN_USE = 3
"""Another agent serves this root: who only wants one to be there is content."""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otter-agent",
        description="Keeps this machine's part of emulated edge networks as desired.",
        epilog="Most people never start it: `otterctl apply` does. As a service: "
        "otter-agent unit > /etc/systemd/system/otter-agent.service",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    serve = verbs.add_parser("serve", help="serve the API in the foreground")
    facts = verbs.add_parser("facts", help="print what an agent would say of this machine (JSON)")
    for verb in (serve, facts):
        verb.add_argument(
            "--root",
            type=Path,
            metavar="DIR",
            help="keep everything below DIR instead of /run/otter and /var/lib/otter (or, of an"
            " ordinary user's agent, below $XDG_RUNTIME_DIR and $XDG_STATE_HOME); agents with"
            " different roots live side by side",
        )
        verb.add_argument(
            "--docker",
            metavar="URL",
            help="the Docker engine (default: $DOCKER_HOST, else /var/run's)",
        )
    serve.add_argument(
        "--idle-exit",
        type=float,
        metavar="SECONDS",
        help="end this long after the last mesh is gone",
    )
    serve.add_argument("--name", default="local", help="this machine's name in plans and status")
    serve.add_argument(
        "--mount-root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        dest="mount_roots",
        help="let modules be shown what lies below DIR, besides the mount_roots of the"
        " configuration file (/etc/otter/agent.toml, or agent.toml in --root). Repeatable.",
    )
    serve.add_argument("--debug", action="store_true", help="show tracebacks, warn of slow steps")
    fake = verbs.add_parser(
        "fake", help="have many machines in memory, to try meshes on a thousand: makes nothing real"
    )
    fake.add_argument("count", type=int, metavar="N", help="how many")
    fake.add_argument(
        "--root", type=Path, required=True, metavar="DIR",
        help="folder of their state, and of the site.toml that names fake1, fake2, …",
    )  # fmt: skip
    enter = verbs.add_parser(
        "enter", help="run a command in the namespaces of an ordinary user's agent, as root there"
    )
    enter.add_argument("--root", type=Path, metavar="DIR", help="of that agent")
    enter.add_argument("command", nargs="+", metavar="CMD", help="after --")
    sweep = verbs.add_parser(
        "sweep", help="end all meshes of an agent that doesn't run, with all that they have"
    )
    sweep.add_argument("--root", type=Path, metavar="DIR", help="of that agent")
    sweep.add_argument("--docker", metavar="URL", help="the Docker engine that it had")
    sweep.add_argument(
        "--images", action="store_true", help="remove what was built, too: images, environments"
    )
    sweep.add_argument(
        "--check", action="store_true", help="only say which there are; exits with 1 if any"
    )
    verbs.add_parser("unit", help="print a systemd unit file for this installation")
    return parser


def main() -> None:
    """Entry point of the `otter-agent` command."""
    parser = _arguments()
    given = parser.parse_args()
    if given.version:
        from otter_agent.version import VERSION

        print(f"otter-agent {VERSION}")
    elif given.verb == "unit":
        print(_unit(), end="")
    elif given.verb == "facts":
        from otter_agent.machine import Config, facts

        print(facts(Config(root=given.root, docker=given.docker)).decode())
    elif given.verb == "fake":
        sys.exit(_fake(given))
    elif given.verb == "enter":
        sys.exit(_enter(given))
    elif given.verb == "sweep":
        sys.exit(_sweep(given))
    elif given.verb == "serve":
        sys.exit(_serve(given))
    else:
        parser.print_help()
        sys.exit(2)


def _unit() -> str:
    text = (Path(__file__).parent / "systemd" / "otter-agent.service").read_text()
    return text.replace("@AGENT@", str(Path(sys.argv[0]).resolve()))


def _enter(given: argparse.Namespace) -> int:
    """Become the command, or say in one line why not."""
    from otter_agent.api.places import places_of
    from otter_agent.ground.asking import enter
    from otter_agent.ground.userns import NoNamespaces

    try:
        if os.geteuid():
            enter(places_of(given.root, os.geteuid(), os.environ).run, start=False)
        os.execvp(given.command[0], given.command)  # noqa: S606 - no shell on purpose
    except (NoNamespaces, OSError) as error:
        print(f"otter-agent: {error}", file=sys.stderr)
    return EXIT_FAILED


def _fake(given: argparse.Namespace) -> int:
    from net.errors import OtterError
    from otter_agent.fake import serve

    def ready(site: Path) -> None:
        print(f"{given.count} fake machines: otterctl VERB --site {site}", flush=True)

    try:
        serve(given.count, given.root, ready)
    except (OtterError, OSError) as error:
        print(f"otter-agent: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _sweep(given: argparse.Namespace) -> int:
    import sqlite3

    from net.errors import OtterError
    from otter_agent.machine import Config
    from otter_agent.sweeping import kept, sweep

    os.umask(0o022)  # the next agent keeps the folders that are made here
    config = Config(root=given.root, docker=given.docker)
    try:
        if not given.check:
            if not sweep(config, images=given.images) and given.root is not None:
                print(f"otter-agent: {given.root}: no agent was ever here", file=sys.stderr)
        elif names := kept(config):
            print(f"otter-agent: meshes are left here: {', '.join(names)}", file=sys.stderr)
            return EXIT_FAILED
    except (OtterError, OSError, sqlite3.Error) as error:
        print(f"otter-agent: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _serve(given: argparse.Namespace) -> int:
    from net.errors import OtterError
    from otter_agent.errors import AgentError
    from otter_agent.machine import Config
    from otter_agent.service import serve

    os.umask(0o022)  # an image's own user must be able to read what is bound into its container
    config = Config(
        root=given.root,
        docker=given.docker,
        idle_exit_s=given.idle_exit,
        name=given.name,
        mount_roots=tuple(path.absolute() for path in given.mount_roots),
    )
    try:
        serve(config, debug=given.debug)
    except (OtterError, OSError) as error:
        if given.debug:
            raise
        print(f"otter-agent: {error}", file=sys.stderr)
        in_use = isinstance(error, AgentError) and error.code == "in-use"
        return EXIT_IN_USE if in_use else EXIT_FAILED
    return 0


if __name__ == "__main__":
    main()
