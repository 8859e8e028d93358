"""The command line of `python -m net`: words, help, checks. Must not know: streams, numpy."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from net import units
from net.cli import work
from net.errors import OtterError

WRONG_USAGE = 2

DESCRIPTION = """\
Send and receive messages by hand, between any two hosts.

Inside a module: otterctl exec MODULE -- python3 -m net ping other-module:9000
"""
EPILOG = """\
examples:
  python -m net recv --port 9000                  on one host; the others need it
  python -m net ping edge:9000 -c 10
  python -m net send edge:9000 --text hello
  python -m net send edge:9000 --array 480x640x3:u1 --count 30
  python -m net bench edge:9000

exit status: 0 done, 1 failed or unanswered, 2 wrong usage
"""
RECV = """\
Listen, show what arrives, a line each, and answer ping and bench, until Ctrl-C.

examples:
  python -m net recv --port 9000
  python -m net recv --port 9000 --plain --until-end > lines.txt
  python -m net recv --port 9000 --json --count 1
"""
SEND = """\
Send one value, several times if asked; without --text, --value and --array: each line of the
standard input. Returns when the receiver has it all.

examples:
  python -m net send edge:9000 --text hello
  python -m net send edge:9000 --value '{"boxes": [[1, 2, 3, 4]]}'
  python -m net send edge:9000 --array 480x640x3:u1 --count 30 --interval 33ms
  tail -f log | python -m net send edge:9000
"""
PING = """\
Round trips to a `python -m net recv`, as ping(8) does, but through streams: connection, encoding
and both programs' loops are in the figures. Until Ctrl-C, or COUNT of them.

examples:
  python -m net ping edge:9000
  python -m net ping edge:9000 -c 1000 -i 0 -q --size 4KiB
"""
BENCH = """\
Round trips and throughput to a `python -m net recv`, by size of the message.

examples:
  python -m net bench edge:9000
  python -m net bench edge:9000 --sizes 64,1MiB --seconds 5 --json
"""


def parser() -> argparse.ArgumentParser:
    """All words and their help."""
    top = argparse.ArgumentParser(prog="python -m net", description=DESCRIPTION, epilog=EPILOG)
    top.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = top.add_subparsers(dest="verb", required=True, metavar="send|recv|ping|bench")
    _recv(_verb(verbs, "recv", "listen and show what arrives", RECV))
    _send(_verb(verbs, "send", "send a value, or lines", SEND))
    _ping(_verb(verbs, "ping", "round trips", PING))
    _bench(_verb(verbs, "bench", "round trips and throughput by size", BENCH))
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    asked = parser().parse_args(argv)
    file = import_module(f"net.cli.{asked.verb}")  # numpy comes with it, not with the help
    try:
        asked_for = file.Work(asked)
    except OtterError as exc:
        print(f"python -m net {asked.verb}: {exc}", file=sys.stderr)
        return WRONG_USAGE
    return work.run(asked_for, asked.verb)


def _verb(verbs: Any, name: str, short: str, text: str) -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    made: argparse.ArgumentParser
    made = verbs.add_parser(name, help=short, description=text, formatter_class=plain)
    return made


def _recv(to: argparse.ArgumentParser) -> None:
    to.add_argument("--port", type=_port, required=True, help="TCP port; 0: a free one, shown")
    everywhere = "0.0.0.0"  # noqa: S104 - other hosts are whom it is for
    to.add_argument("--listen", default=everywhere, metavar="ADDRESS", help=f"({everywhere})")
    to.add_argument("--input", default="messages", metavar="NAME", help="its name (messages)")
    to.add_argument("--count", "-c", type=_count, help="end after so many messages")
    to.add_argument("--until-end", action="store_true", help="end when all senders have")
    to.add_argument("--udp", action="store_true", help="over UDP, from senders with --udp")
    shape = to.add_mutually_exclusive_group()
    shape.add_argument("--plain", action="store_true", help="texts as they are, other values JSON")
    shape.add_argument("--json", action="store_true", help="a JSON object per line")


def _send(to: argparse.ArgumentParser) -> None:
    _target(to)
    what = to.add_mutually_exclusive_group()
    what.add_argument("--text", metavar="TEXT")
    what.add_argument("--value", metavar="JSON", help="a JSON value")
    what.add_argument("--array", metavar="SHAPE[:DTYPE]", help="such as 480x640x3:u1")
    to.add_argument("--input", default="messages", metavar="NAME", help="receiver's (messages)")
    to.add_argument("--count", "-c", type=_count, default=1, help="how often (1)")
    to.add_argument("--interval", "-i", type=_seconds, default=0.0, help="between them (0)")


def _ping(to: argparse.ArgumentParser) -> None:
    _target(to)
    to.add_argument("--count", "-c", type=_count, help="so many; default: until Ctrl-C")
    to.add_argument("--interval", "-i", type=_seconds, default=1.0, help="between two (1s)")
    to.add_argument("--size", "-s", type=_size, default=64, help="of the message (64)")
    to.add_argument("--quiet", "-q", action="store_true", help="the summary alone")
    to.add_argument("--json", action="store_true", help="one JSON document at the end")


def _bench(to: argparse.ArgumentParser) -> None:
    _target(to)
    sizes = [64, 4 << 10, 64 << 10, 1 << 20, 16 << 20]
    to.add_argument("--sizes", type=_sizes, default=sizes, help="(64,4KiB,64KiB,1MiB,16MiB)")
    to.add_argument("--seconds", type=_seconds, default=1.0, help="sending at each size (1s)")
    to.add_argument("--json", action="store_true", help="one JSON document at the end")


def _target(to: argparse.ArgumentParser) -> None:
    to.add_argument("target", type=_host_port, metavar="HOST:PORT", help="where recv listens")
    to.add_argument("--udp", action="store_true", help="over UDP, to a recv with --udp")
    to.add_argument(
        "--wait", "-W", type=_seconds, default=10.0, help="for the other side, at most (10s)"
    )


def _checked(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except units.UnitError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as edge:9000")
    if not (number := _port(port)):
        raise argparse.ArgumentTypeError("nobody listens at port 0")
    return host, number


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:6]) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count (1, 2, …)")
    return int(text)


def _seconds(text: str) -> float:
    """A duration with its unit, or a plain number of seconds, as ping(8) takes it."""
    try:
        plain = float(text)
    except ValueError:
        return float(_checked(units.duration, text))
    if not math.isfinite(plain) or not 0 <= plain <= units.MAX_DURATION_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time")
    return plain


def _size(text: str) -> int:
    return int(_checked(units.size, text if not text.isdigit() else f"{text} B"))


def _sizes(text: str) -> list[int]:
    return [_size(part) for part in text.split(",")]
