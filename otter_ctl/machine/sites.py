"""Adds machines to a site file and takes them out; all else of it stays as it is written.

Must not know: how machines are reached.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

from otter_ctl.errors import RemoteError
from otter_ctl.sites import VARIABLE, default_path
from otter_ctl.topology.model import Machine
from otter_ctl.topology.site import known_machines, read_site

_HEADER = re.compile(r"^[ \t]*\[")


def own_file() -> Path:
    """The site file that is written: `--site`'s, or the user's own."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else default_path()


def known() -> dict[str, Machine]:
    """All machines that are known; a named file needn't be there yet."""
    if os.environ.get(VARIABLE) and not own_file().exists():
        return {}
    return known_machines(None)


def find(target: str, name: str | None, ssh_config: str | None) -> tuple[Machine, bool]:
    """The machine that somebody means, and whether a site file knows it.

    Args:
        target: Its name, `USER@HOST`, or an alias of ~/.ssh/config.
        name: What it is to be called; None: as the target says.
        ssh_config: The OpenSSH configuration to read for one that isn't known.
    """
    machines = known()
    if (name or target) in machines:
        return machines[name or target], True
    if name is None:
        for machine in machines.values():
            if machine.ssh == target:
                return machine, True
    config = str(Path(ssh_config).expanduser().absolute()) if ssh_config else None
    return Machine(name=name or name_of(target), ssh=target, ssh_config=config), False


def name_of(target: str) -> str:
    """`pi` of `alice@pi.example.org`; an address becomes a name as well."""
    host = target.rpartition("@")[2]
    first = host if re.fullmatch(r"[0-9.:\[\]]+", host) else host.partition(".")[0]
    return re.sub(r"[^a-z0-9]+", "-", first.lower()).strip("-") or "machine"


def add(machine: Machine) -> Path:
    """Write it down at the end of the site file, which is made if it isn't there.

    Raises:
        RemoteError: The file would make no sense with it; it is as before.
    """
    path = own_file()
    _replace(machine.name, path, _with(machine, path))
    return path


def check(machine: Machine) -> None:
    """Whether `add` could write it down: to be asked before anything is done for it.

    Raises:
        RemoteError: The file would make no sense with it.
    """
    path = own_file()
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / path.name
        tried.write_text(_with(machine, path), encoding="utf-8")
        _check(machine.name, path, tried)


def _with(machine: Machine, path: Path) -> str:
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    return f"{before.rstrip()}\n\n{_table(machine)}".lstrip()


def remove(name: str) -> Path | None:
    """Take it out; None: the site file doesn't have it (the lab's machines aren't ours)."""
    path = own_file()
    if not path.exists() or name not in read_site(path):
        return None
    kept, inside = [], False
    headers = re.compile(
        rf"^[ \t]*\[[ \t]*machines[ \t]*\.[ \t]*\"?{re.escape(name)}\"?[ \t]*[.\]]"
    )
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for line in lines:
        if _HEADER.match(line):
            inside = bool(headers.match(line))
        if not inside:
            kept.append(line)
    text = "".join(kept).strip()
    _replace(name, path, f"{text}\n" if "machines" in text else "[machines]\n")
    if name in read_site(path):
        raise RemoteError(name, f"{path} has it in a form that only you can take out")
    return path


def _table(machine: Machine) -> str:
    lines = [f"[machines.{machine.name}]", f"ssh = {json.dumps(machine.ssh or machine.name)}"]
    if machine.data:
        lines.append(f"data = {json.dumps(machine.data)}")
    if machine.labels:
        lines.append(f"labels = {json.dumps(list(machine.labels))}")
    if machine.ssh_config:
        lines.append(f"ssh_config = {json.dumps(machine.ssh_config)}")
    return "\n".join(lines) + "\n"


def _replace(name: str, path: Path, text: str) -> None:
    """Whole or not at all, and only if it can be read then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    try:
        _check(name, path, beside)
    except RemoteError:
        beside.unlink()
        raise
    os.replace(beside, path)


def _check(name: str, path: Path, written: Path) -> None:
    """Whether what would become of `path` can be read."""
    from otter_ctl.errors import TopologyErrors

    try:
        read_site(written)
    except TopologyErrors as error:
        why = str(error).splitlines()[0].replace(str(written), str(path))
        raise RemoteError(name, f"can't be written to the site file: {why}") from error
