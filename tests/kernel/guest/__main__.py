"""Run a command in a guest kernel.

Exit status: the command's own; 124 when the time limit ran out; 125 when the guest could not be
prepared or started, or died; 130 when interrupted.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import sys
from pathlib import Path
from typing import NoReturn

from .machine import TIMED_OUT, Job, run
from .parts import GuestError, default_cache, prepare

FAILED = 125
INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    here = Path.cwd()
    parser = argparse.ArgumentParser(prog="python -m tests.kernel.guest", description=__doc__)
    add = parser.add_argument
    add("--limit", type=float, default=900, metavar="S", help="time limit in seconds (900)")
    add("--memory", type=int, default=3072, metavar="MIB", help="the guest's memory (3072)")
    add("--share", type=Path, default=here, metavar="DIR", help="folder it may write to (.)")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable; repeatable")
    add("--prepare", action="store_true", help="only fetch and build what a guest needs")
    add("--with-parent", action="store_true", help="end when the process that started it ends")
    add("-v", "--verbose", action="store_true", help="print the guest's kernel log")
    add("command", nargs="*", help="after --")
    return parser


def main() -> int:
    """Parse, run, and turn failures into one line."""
    parser = arguments()
    args = parser.parse_args()
    if not args.command and not args.prepare:
        parser.error("no command")
    for number in ENDING:
        signal.signal(number, _interrupt)
    if args.with_parent:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        if args.prepare:
            prepare(default_cache())
            return 0
        env = dict(item.split("=", 1) for item in args.env)
        job = Job(
            command=args.command,
            cwd=Path.cwd(),
            share=args.share.absolute(),
            env=env,
            memory_mib=args.memory,
            limit_s=args.limit,
            verbose=args.verbose,
        )
        status = run(job, sys.stdout.buffer, sys.stderr.buffer)
    except GuestError as error:
        return _say(str(error), FAILED)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    if status == TIMED_OUT:
        _say(f"over the time limit of {args.limit:g} s", status)
    return status


def _say(what: str, status: int) -> int:
    print(f"guest: {what}", file=sys.stderr, flush=True)
    return status


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    """Once: Ctrl-C may come from a terminal and from who waits; ending the guest takes a while."""
    for number in ENDING:
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
