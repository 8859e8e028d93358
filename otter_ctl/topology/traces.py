"""`trace` of links, hosts, modules -> `TraceUse`: files read, models checked, what is played how.

Looks at the file system: what is wrong with a trace is best told together with the line that
names it. Must not know: TOML, positions, agents.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from net.links.traces.generate import Recipe
from net.links.traces.mahimahi import BIN_S
from net.links.traces.read import guess, read
from net.links.traces.trace import BUDGET, Manner, Trace, TraceFileError
from otter_ctl.topology.model import TraceUse
from otter_ctl.topology.reader import Fields, Place, shown
from otter_ctl.topology.reader import Path as KeyPath

NONE = "none"
"""What says that there is no trace where one is inherited."""
_OF_FILES = ("format", "columns", "bin")
_DRAWN = {
    "seed": "seed", "length": "length_s", "step": "step_s", "rates": "rates_bps",
    "delays": "delays_s", "every": "every_s", "gap": "gap_s", "change": "change",
}  # fmt: skip
_KEYS = {field: key for key, field in _DRAWN.items()}
_SCALES = {"rate": ("rate_bps",), "delay": ("delay_s", "jitter_s"), "loss": ("loss_ratio",)}
_PROPERTIES = {
    "rate": "rate_bps", "delay": "delay_s", "jitter": "jitter_s", "loss": "loss_ratio", "up": "up",
}  # fmt: skip
_COLUMNS = {"markov": {"rate_bps"}, "random-walk": {"rate_bps"}, "diurnal": {"rate_bps"}}
_Pair = tuple[TraceUse | None, TraceUse | None]


class Traces:
    """Reads each file once, however many links play it.

    Args:
        folder: Path of a key -> the folder that a relative path there starts from.
        seed: Of the mesh.
    """

    def __init__(self, folder: Callable[[KeyPath], Path], seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._read: dict[tuple[Any, ...], Trace | TraceFileError] = {}
        self._known: dict[KeyPath, TraceUse | None] = {}

    def of(self, own: Fields, merged: Fields) -> _Pair:
        """The traces of both directions of a link's table.

        Back, the trace of the way forth is played as well, but for what `reverse` itself says.
        """
        forward = self._of_link(merged.get("trace"))
        differs: Fields | None = own.get("reverse")
        if differs is None:
            return forward, forward
        if "trace" in differs.given:
            return forward, self._of_link(differs.get("trace"), back=True)
        own_words = tuple(f for key, f in _PROPERTIES.items() if key in differs.given)
        if forward is None or not own_words:
            return forward, forward
        without = (*forward.manner.without, *own_words)
        return forward, replace(forward, manner=replace(forward.manner, without=without))

    def _of_link(self, fields: Fields | None, *, back: bool = False) -> TraceUse | None:
        """Without what isn't a link's; None after reporting that there is nothing else."""
        use = self._use(fields, back=back)
        if use is None or not (budget := _of_budget(use.trace)):
            return use
        assert isinstance(use.trace, Trace)
        if fields is not None and len(use.trace.columns) == len(budget):
            only = ", ".join(f"`{name.partition('_')[0]}`" for name in budget)
            fields.place.report(f"the trace has only {only}, which is of hosts and modules")
            return None
        return replace(use, manner=replace(use.manner, without=budget))

    def budget(
        self, fields: Fields | None, *, host: bool, speed: float | None = None
    ) -> TraceUse | None:
        """A trace of what a host or a module may use; where it has no `cpu`, 1 Mbit/s is a core.

        Args:
            fields: Of the key.
            host: Whether it is a host's.
            speed: That the host says for itself.
        """
        use = self._use(fields)
        if use is None or fields is None:
            return None
        wrong = ""
        if not _has_rates(use.trace) and not _of_budget(use.trace):
            wrong = "the trace has neither `cpu` or more of a budget, nor rates to be read as cores"
        wrong = wrong or _wrong_speed(use.trace, speed, host=host)
        if wrong:
            fields.place.report(wrong)
        return None if wrong else use

    def efficiency(self, fields: Fields) -> TraceUse | None:
        """A trace whose rates are read as efficiencies, 1 Mbit/s as 1; None after reporting."""
        use = self._use(fields)
        if use is not None and not _has_rates(use.trace):
            fields.place.report("the trace has no rates to be read as efficiencies")
            return None
        return use

    def drawn(self, use: TraceUse | None, link: str) -> TraceUse | None:
        """The same for one link: what is drawn without a seed is drawn for each by itself."""
        if use is None or isinstance(use.trace, Trace) or use.trace.seed >= 0:
            return use
        words = f"{self._seed} {link} {use.trace.seed}".encode()
        seed = int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1
        return replace(use, trace=replace(use.trace, seed=seed))

    def _use(self, fields: Fields | None, *, back: bool = False) -> TraceUse | None:
        if fields is None:
            return None
        place = fields.place
        if place.path not in self._known:
            self._known[place.path] = self._checked(fields, back=back)
        return self._known[place.path]

    def _checked(self, fields: Fields, *, back: bool) -> TraceUse | None:
        place = fields.place
        both = fields.given & {"file", "generate"}
        if len(both) != 1:
            reason = "missing key `file`" if not both else "`file` goes not with `generate`"
            place.report(reason, "a trace is read from a `file`, or drawn: `generate`")
            return None
        if fields.given - fields.values.keys():
            return None  # reported
        if "file" in fields:
            return self._from_file(fields)
        return _from_model(fields, back=back)

    def _from_file(self, fields: Fields) -> TraceUse | None:
        place, written = fields.place, fields["file"]
        for key in sorted(fields.given & _DRAWN.keys()):
            place.child(key).report("goes only with `generate`")
        if written == NONE and fields.given == {"file"}:
            return None
        path = Path(os.path.normpath(self._folder(place.child("file").path) / written))
        columns = fields.get("columns")
        try:
            kind = fields.get("format") or guess(path, written)
            for key, only in (("columns", "csv"), ("bin", "mahimahi")):
                if key in fields and kind != only:
                    place.child(key).report(f"goes only with the format {only}, this is {kind}")
            trace = self._file(path, written, kind, columns, fields.get("bin"))
        except TraceFileError as error:
            place.report(error.message, error.hint)
            return None
        manner = _manner(fields, set(trace.columns))
        return None if manner is None else TraceUse(name=written, trace=trace, manner=manner)

    def _file(
        self, path: Path, name: str, kind: Any, columns: dict[str, str] | None, bin_s: float | None
    ) -> Trace:
        key = (path, kind, tuple((columns or {}).items()), bin_s)
        if key not in self._read:
            try:
                trace = read(path, kind, columns=columns, bin_s=bin_s or BIN_S, name=name)
                # Who says how it becomes a rate wants one.
                self._read[key] = replace(trace, opportunities_s=None) if bin_s else trace
            except TraceFileError as error:
                self._read[key] = error
        found = self._read[key]
        if isinstance(found, TraceFileError):
            raise found
        return found


def _of_budget(trace: Trace | Recipe) -> tuple[str, ...]:
    """Its columns that are of hosts and modules."""
    return tuple(n for n in BUDGET if n in trace.columns) if isinstance(trace, Trace) else ()


def _wrong_speed(trace: Trace | Recipe, speed: float | None, *, host: bool) -> str:
    """Whether a machine can have it is judged by what its host says itself."""
    extent = trace.extent("speed") if isinstance(trace, Trace) else None
    if extent is None:
        return ""
    if not host:
        return "the trace has `speed`, which is of hosts"
    if speed is None or extent[1] > speed:
        return f"the trace has cores of speed {extent[1]:g}: the host's `speed` must be no less"
    return ""


def _has_rates(trace: Trace | Recipe) -> bool:
    if isinstance(trace, Trace):
        return "rate_bps" in trace.columns
    return bool(trace.rates_bps) or trace.model in _COLUMNS


def _from_model(fields: Fields, *, back: bool) -> TraceUse | None:
    place, model = fields.place, fields["generate"]
    for key in sorted(fields.given & {*_OF_FILES}):
        place.child(key).report("goes only with `file`")
    values = {field: fields[key] for key, field in _DRAWN.items() if key in fields}
    # Until it is known for which link; another for the way back where that has a table of its own.
    values.setdefault("seed", -2 if back else -1)
    recipe = Recipe(model=model, **values)
    problem = recipe.problem()
    if problem is not None:
        key = _KEYS.get(problem[0], problem[0])
        (place.child(key) if key in fields.given else place).report(f"`{key}` {problem[1]}")
        return None
    columns = _COLUMNS.get(model, {"up"})
    columns |= {"rate_bps"} if recipe.rates_bps else set()
    columns |= {"delay_s"} if recipe.delays_s else set()
    manner = _manner(fields, columns)
    return None if manner is None else TraceUse(name=model, trace=recipe, manner=manner)


def _manner(fields: Fields, columns: set[str]) -> Manner | None:
    """How it is played; None after reporting."""
    scale = _scale(fields.get("scale"), fields.place.child("scale"), columns)
    if scale is None:
        return None
    return Manner(loop=fields.get("loop", True), offset_s=fields.get("offset", 0.0), scale=scale)


def _scale(written: Any, place: Place, columns: set[str]) -> dict[str, float] | None:
    if written is None:
        return {}
    by_key = {"rate": written} if isinstance(written, float) else dict(written.values)
    scale: dict[str, float] = {}
    for key, factor in by_key.items():
        if key == "time":
            scale["time"] = factor
            continue
        fields = [field for field in _SCALES[key] if field in columns]
        if not fields:
            what = ", ".join(sorted(c.partition("_")[0] for c in columns))
            place.report(f"scales {shown(key)}, and the trace has only {what}")
            return None
        scale |= dict.fromkeys(fields, factor)
    return scale
