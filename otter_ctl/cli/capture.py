"""`otterctl capture`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import click

from net import pcapng
from net.units import UnitError, duration, size
from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    complete_link,
    force_option,
    mesh_option,
    pass_session,
    pick_mesh,
    run,
)
from otter_ctl.errors import RemoteError

STDOUT = "-"


class _Quantity(click.ParamType[float]):
    """A duration, or a size."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read what the user wrote."""
        if not isinstance(value, str):
            return float(str(value))
        try:
            return duration(value) if self.name == "duration" else size(value)
        except UnitError as error:
            self.fail(str(error), param, ctx)


@click.command(
    epilog="""\b
Examples:
  otterctl capture radio -o radio.pcapng --for 10s
  otterctl capture radio --direction 'phone>edge' --snap 96B --packets 1000
  otterctl capture radio -o - | wireshark -k -i -
"""
)
@click.argument("link", shell_complete=complete_link)
@mesh_option
@click.option(
    "-o", "--output", metavar="FILE",
    help="Where to write; - is stdout, for Wireshark.  [default: LINK.pcapng]",
)  # fmt: skip
@click.option("--direction", default="", metavar="FROM>TO", help="Only this direction.")
@click.option(
    "--for", "for_s", type=_Quantity("duration"), metavar="TIME", help="End after so long: 10s."
)
@click.option("--packets", type=click.IntRange(min=1), metavar="N", help="End after so many.")
@click.option(
    "--snap", type=_Quantity("size"), metavar="SIZE", help="Keep so much of each packet: 96B."
)
@force_option
@pass_session
def command(
    session: Session,
    link: str,
    mesh: str | None,
    output: str | None,
    direction: str,
    for_s: float | None,
    packets: int | None,
    snap: float | None,
    force: bool,
) -> None:
    """Record the packets of a link as they arrive, until Ctrl-C, as pcapng.

    Each direction is heard at its far end: a packet that the link lost or holds isn't there yet,
    and the times are those of arrival. Each direction is an interface of its own in the file.
    """
    query = {"direction": direction, "seconds": for_s, "packets": packets}
    query["snap"] = None if snap is None else int(snap)
    name = output if output is not None else f"{link.replace('/', '_')}.pcapng"
    if name == STDOUT and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal: name a file with -o, or pipe into Wireshark")
    counted = _Counted()

    async def work() -> None:
        async with connect(session, force=force) as client:
            chosen = await pick_mesh(client, mesh)
            async with contextlib.aclosing(client.capture(chosen, link, query)) as chunks:
                await counted.write(chunks, name)

    try:
        run(work())
    except KeyboardInterrupt:
        if not counted.began:
            raise
    finally:
        counted.tell(name)


class _Counted:
    """Writes whole blocks, so that whatever ends it leaves a file that can be read.

    Attributes:
        began: Whether there is a file.
    """

    def __init__(self) -> None:
        self._packets = 0
        self._dropped: dict[int, int] = {}
        self.began = False

    async def write(self, chunks: AsyncIterator[bytes], name: str) -> None:
        """Until the capture ends."""
        rest = bytearray()
        first = await anext(chunks)  # a link that isn't there leaves no file
        with _opened(name) as file:
            self.began = True
            rest += first
            self._put(file, rest)
            async for chunk in chunks:
                rest += chunk
                self._put(file, rest)

    def _put(self, file: BinaryIO, rest: bytearray) -> None:
        try:
            length, packets, dropped = pcapng.whole_blocks(rest)
        except ValueError as error:
            why = f"capture: the agent's answer is no pcapng: {error}"
            raise RemoteError("local", why) from error
        file.write(rest[:length])
        file.flush()
        del rest[:length]
        self._packets += packets
        self._dropped |= dropped

    def tell(self, name: str) -> None:
        """Say how much it was."""
        if not self.began:
            return
        lost = f"; {sum(self._dropped.values())} more came too fast" if self._dropped else ""
        where = "" if name == STDOUT else f" in {name}"
        click.echo(f"{self._packets} packets{where}{lost}", err=True)


def _opened(name: str) -> BinaryIO:
    try:
        if name == STDOUT:
            return open(os.dup(sys.stdout.fileno()), "wb")
        return Path(name).open("wb")
    except OSError as error:
        why = f"{name} can't be written: {error.strerror}"
        raise RemoteError("local", why, hint="-o names another file") from error
