"""The certificate of `verify`: measured with a progress line, shown as a table."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence

import click

from net.links.verify.tolerances import TOLERANCES
from net.units import UnitError, duration, rate, ratio
from otter_agent import api
from otter_ctl.meshes import Meshes
from otter_ctl.printable import printable

_TIMES = frozenset({"delay", "jitter", "cpu"})
_SHARES = frozenset({"loss", "reorder", "duplicate", "corrupt"})


class Tolerance(click.ParamType["tuple[str, api.VerifyTolerance]"]):
    """`delay=1ms`, `rate=5%`, `delay=1ms,5%`."""

    name = "tolerance"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, api.VerifyTolerance]:
        """Read what the user wrote."""
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals:
            self.fail(f"{value!r} is not PROPERTY=VALUE, such as delay=1ms or rate=5%", param, ctx)
        if name not in TOLERANCES:
            self.fail(f"no tolerance {name!r}; there are: {', '.join(TOLERANCES)}", param, ctx)
        absolute = relative = 0.0
        try:
            for part in text.split(","):
                if part.strip().endswith("%") and name not in _SHARES:
                    relative = ratio(part)
                else:
                    absolute = _amount(name, part)
        except UnitError as error:
            self.fail(str(error), param, ctx)
        return name, api.VerifyTolerance(absolute=absolute, relative=relative)


def _amount(name: str, text: str) -> float:
    if name in _TIMES:
        return duration(text)
    if name == "rate":
        return rate(text)
    if name in _SHARES:
        return ratio(text)
    if not text.strip().replace(".", "", 1).isdecimal():
        raise UnitError(f"{text!r} is not a number; write one, or a percentage")
    return float(text)


async def measured(
    client: Meshes, mesh: str, request: api.VerifyRequest, *, quiet: bool
) -> list[api.VerifyRow]:
    """All rows of a mesh's certificate; what is being measured is shown on stderr."""
    rows: list[api.VerifyRow] = []
    live = sys.stderr.isatty() and not quiet
    try:
        async with contextlib.aclosing(client.verify(mesh, request)) as lines:
            async for line in lines:
                rows += line.rows
                if live:
                    text = f"{line.done}/{line.total} {line.doing}"[:78]
                    sys.stderr.write("\r\x1b[K" + printable(text))
                    sys.stderr.flush()
    finally:
        if live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
    return rows


def show(rows: Sequence[api.VerifyRow]) -> None:
    """Print the table."""
    from otter_ctl.cli.tables import print_table

    print_table(
        ("LINK", "FROM", "TO", "PROPERTY", "ASKED", "MEASURED", "ERROR", "99 %", "N", "VERDICT"),
        [
            (
                *(row.link, row.from_, row.to if row.link else "", row.property),
                _value(row, row.asked),
                _value(row, row.measured),
                _signed(row),
                _interval(row),
                row.n,
                _word(row),
            )
            for row in rows
        ],
    )


def verdict(rows: Sequence[api.VerifyRow]) -> str:
    """One line: how it came out."""
    judged = [row for row in rows if row.asked is not None]
    wrong = [row for row in rows if not row.ok]
    if not rows:
        return "verify: there is nothing to measure: no links, no budgets"
    if wrong:
        names = sorted({f"{row.link or row.from_} {row.property}" for row in wrong})
        shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        return (
            f"verify: {len(wrong)} of {len(judged)} values are out of tolerance ({shown}); is the "
            "machine overloaded? measure again with --thorough, see docs/fidelity.md"
        )
    return f"verify: {len(judged)} values as asked, {len(rows) - len(judged)} as measured"


def _word(row: api.VerifyRow) -> str:
    word = "ok" if row.ok else "OUT"
    if row.asked is None:
        word = "measured"
    return f"{word} ({row.note})" if row.note else word


def _value(row: api.VerifyRow, value: float | None) -> str:
    return "" if value is None else _form(row.property)(value)


def _signed(row: api.VerifyRow) -> str:
    if row.error is None:
        return ""
    return ("+" if row.error >= 0 else "-") + _form(row.property)(abs(row.error))


def _interval(row: api.VerifyRow) -> str:
    if row.low is None or row.high is None or row.low == row.high:
        return ""
    return f"{_value(row, row.low)}..{_value(row, row.high)}"


def _form(name: str) -> Callable[[float], str]:
    if name in _TIMES:
        return _time
    if name in _SHARES:
        return lambda share: f"{share * 100:.3g}%"
    if name == "burst":
        return lambda count: f"{count:.0f}B"
    return _bits if name == "rate" else lambda number: f"{number:.3g}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.4g}ms" if abs(seconds) < 10 else f"{seconds:.4g}s"


def _bits(rate_bps: float) -> str:
    for size, unit in ((1e9, "gbit"), (1e6, "mbit"), (1e3, "kbit")):
        if abs(rate_bps) >= size:
            return f"{rate_bps / size:.4g}{unit}"
    return f"{rate_bps:.4g}bit"
