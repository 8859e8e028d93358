"""`otterctl`: turns errors into one line and an exit code; the verbs are in cli/.

0 done; 1 failed; 2 wrong usage or a bad topology; 130 interrupted. With `--detailed-exitcode` 2 is
a verb's own, and what is 2 without it is 1.
"""

from __future__ import annotations

import gc
import io
import os
import sys

from otter_ctl.cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, cli

_WHOLE = ("utf-8", "utf8")
_GARBAGE = 50_000, 20, 100
"""So rarely is looked for garbage in circles: there is little of it, and among the objects of many
machines it takes a tenth of a command's time to look as often as Python does by itself."""


def main() -> None:
    """Entry point of the `otterctl` command.

    Ends the process at once: taking 300 imported modules apart takes 20 ms, and nobody needs it.
    """
    _say_what_can_be_said()
    gc.set_threshold(*_GARBAGE)
    code = run(sys.argv[1:])
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except OSError:  # a reader that went away, a full disk
        code = code or EXIT_FAILED
    os._exit(code)


def _say_what_can_be_said() -> None:
    """Windows' code pages lack characters that we print: a `?` in its place beats an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in _WHOLE:
            stream.reconfigure(errors="replace")


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code. Raises only with `--debug`."""
    import click

    debug = "--debug" in arguments
    wrong = {EXIT_USAGE: EXIT_FAILED} if "--detailed-exitcode" in arguments else {}
    try:
        result = cli.main(args=arguments, prog_name="otterctl", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return wrong.get(error.exit_code, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: not an error worth a word
        return EXIT_FAILED
    except Exception as error:
        if debug:
            raise
        code = explain(error)
        return wrong.get(code, code)
    return result if isinstance(result, int) else 0


def explain(error: BaseException) -> int:
    """Print an error as one line; returns its exit code."""
    import click

    from net.errors import OtterError
    from otter_ctl.errors import PlanError, TopologyError, TopologyErrors
    from otter_ctl.printable import printable_lines

    if isinstance(error, BaseExceptionGroup):
        return max(explain(e) for e in error.exceptions)
    if isinstance(error, TopologyErrors | TopologyError):
        click.echo(printable_lines(str(error)), err=True)
        return EXIT_USAGE
    if isinstance(error, PlanError):
        click.echo(f"otterctl: {printable_lines(str(error))}", err=True)
        return EXIT_USAGE
    if isinstance(error, OtterError):
        click.echo(f"otterctl: {printable_lines(str(error))}", err=True)
        return EXIT_FAILED
    if isinstance(error, OSError):
        where = f"{printable_lines(str(error.filename))}: " if error.filename else ""
        click.echo(f"otterctl: {where}{printable_lines(error.strerror or str(error))}", err=True)
        return EXIT_FAILED
    click.echo(
        f"otterctl: internal error: {type(error).__name__}: {printable_lines(str(error))}; "
        "run again with --debug and report what it prints",
        err=True,
    )
    return EXIT_FAILED


if __name__ == "__main__":
    main()
