"""How this machine's clock stands, written down for each of a mesh's modules: `net.timebase`.

Blocking: writes files.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from net.timebase import CLOCK_FILE, Standing, encode
from otter_agent import api
from otter_agent.layout import Layout

EVERY_S, EACH_S = 1.9, 0.01
"""Files are written anew so often, and so much less often for each module there is. What clocks
drift meanwhile, modules add by themselves."""
Known = Mapping[str, tuple[float, float | None]]
"""Machine (empty: this one) -> what is to be added to its clock, and by how much that may be wrong;
None: nobody knows."""


def path_of(layout: Layout, mesh: str, module: str) -> Path:
    """Of a module's file, beside its wiring."""
    return layout.module(mesh, module).wiring_file.with_name(CLOCK_FILE)


def ensure(layout: Layout, spec: api.MeshSpec, now_s: float) -> None:
    """Before modules of a mesh on several machines start: none begins by another clock."""
    if not spec.clock:
        return
    error_s = 0.0 if spec.clock == spec.machine else None
    for module in spec.modules:
        path = path_of(layout, spec.name, module.name)
        if not path.exists():
            _write(path, Standing(0.0, error_s, now_s, dict.fromkeys(_peers(spec, module))))


def write(
    layout: Layout,
    spec: api.MeshSpec,
    clock: tuple[float, float | None],
    errors: Mapping[str, float | None],
    now_s: float,
) -> None:
    """What is known now.

    Args:
        layout: Where modules' folders are.
        spec: Of the mesh.
        clock: What is to be added to the machine's clock, and its error.
        errors: Other machine -> the same of its clock.
        now_s: By the machine's clock.
    """
    seats = {module: away.machine for away in spec.away for module in away.modules}
    for module in spec.modules:
        path = path_of(layout, spec.name, module.name)
        if path.exists():
            peers = {peer: errors.get(seats[peer]) for peer in _peers(spec, module)}
            _write(path, Standing(*clock, now_s, peers))


def _peers(spec: api.MeshSpec, module: api.ModuleSpec) -> list[str]:
    """Whoever sends to it from other machines."""
    away = {name for other in spec.away for name in other.modules}
    return sorted({end.peer for end in module.streams_in} & away)


def _write(path: Path, standing: Standing) -> None:
    """Whole, for whoever reads it at any moment."""
    fresh = path.with_name(f".{path.name}.{threading.get_ident()}")
    fresh.write_bytes(encode(standing))
    fresh.chmod(0o644)
    fresh.replace(path)


def differs(known: Known, told: Known | None) -> bool:
    """Whether something is known that wasn't, or the other way round, or a clock was set."""
    if told is None or told.keys() != known.keys():
        return True
    for machine, (offset_s, error_s) in known.items():
        was_s, was_error_s = told[machine]
        if error_s is None or was_error_s is None:
            if error_s is not was_error_s:
                return True
        elif abs(offset_s - was_s) > was_error_s:
            return True
    return False
