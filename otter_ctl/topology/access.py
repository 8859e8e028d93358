"""The values that reach beyond the mesh: mounts, devices, secrets, addresses, machines. Pure.

Only their form is judged here: what a machine allows is its agent's to say. Must not know: which
key holds which.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from otter_ctl.topology.kinds import ENTRIES_LIMIT, check_entries, scalar, text, whole
from otter_ctl.topology.model import POOL as DEFAULT_POOL
from otter_ctl.topology.reader import INVALID, Bad, Kind, Place, Table, read_table, shown, type_name

_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,254}"
_OWN_ENV = "OTTER_"
_SSH = r"[A-Za-z0-9_][A-Za-z0-9_.@%+:\[\]-]*"
_CONTAINER = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_LABEL = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_SHARED = ipaddress.IPv4Network(DEFAULT_POOL)
_MAX_SOCKET_BYTES = 107
"""The kernel's limit of a Unix socket's path."""
_INTERFACE = r"[A-Za-z0-9_.@-]{1,15}"
_TAKEN = (
    "/run/otter", "/run/otter-state", "/run/otter-shm", "/run/otter-weights", "/.otter",
    "/run/secrets", "/work",
    "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/proc", "/sys", "/dev",
)  # fmt: skip
"""Where the runtimes put things of their own."""
ARCHITECTURES = {"arm64": "aarch64", "aarch64": "aarch64", "amd64": "x86_64", "x86_64": "x86_64"}
"""Words for a processor's kind -> the kernel's."""


def _absolute(value: object) -> str:
    """A plain absolute path: the same word for the same place."""
    path = text(value)
    parts = path.split("/")
    if not path.startswith("/"):
        raise Bad(f"{shown(path)} must be absolute: it is a path on the machine")
    if ".." in parts or not path.isprintable():
        raise Bad(f"{shown(path)} must be a plain path, without `..`")
    plain = "/" + "/".join(part for part in parts if part not in ("", "."))
    if plain == "/":
        raise Bad("must not be the whole file system")
    return plain


def _source(value: object) -> str:
    try:
        return _absolute(value)
    except Bad as bad:
        hint = "`files` copies in what lies beside the topology" if "absolute" in bad.reason else ""
        raise Bad(bad.reason, hint) from None


def _target(value: object) -> str:
    """Where something is shown inside a module; not where OTTER's own things are."""
    path = text(value)
    if not path.startswith("/"):
        raise Bad(f"{shown(path)} must be absolute: it is a path inside the module")
    plain = _absolute(path)
    taken = next((t for t in _TAKEN if _within(plain, t) or _within(t, plain)), None)
    if taken is not None and not plain.startswith("/work/"):
        raise Bad(f"{shown(plain)} is not free: OTTER uses {shown(taken)} itself")
    return plain


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _device(value: object) -> str:
    path = _absolute(value)
    if not path.startswith("/dev/"):
        raise Bad(f"{shown(path)} must be a device file, such as `/dev/video0`")
    return path


def _secret(value: object) -> str:
    word = text(value)
    if not re.fullmatch(_VARIABLE, word):
        raise Bad(
            f"{shown(word)} is not a variable's name", "the value comes from your environment"
        )
    if word.startswith(_OWN_ENV):
        raise Bad(f"{shown(word)} is a name of OTTER's own")
    return word


def _listen(value: object) -> str:
    word = text(value)
    try:
        return str(ipaddress.IPv4Address(word))
    except ValueError:
        hint = '"127.0.0.1", or "0.0.0.0" for all of the machine\'s'
        raise Bad(f"{shown(word)} is not an IPv4 address", hint) from None


def _pool(value: object) -> str:
    word = text(value)
    try:
        network = ipaddress.IPv4Network(word)
    except ValueError as exc:
        reason = "has host bits set" if "host bits" in str(exc) else "is not an IPv4 network"
        raise Bad(f"{shown(word)} {reason}", 'write such as "10.128.0.0/10"') from None
    if not 8 <= network.prefixlen <= 24:
        raise Bad(f"{shown(word)} must be between a /8 and a /24")
    if not (network.is_private or network.subnet_of(_SHARED)):
        raise Bad(f"{shown(word)} is not private: a mesh would hide a part of the Internet")
    if network.is_loopback or network.is_link_local or network.is_multicast:
        raise Bad(f"{shown(word)} can't be routed")
    return str(network)


def _ssh(value: object) -> str:
    word = text(value)
    if not re.fullmatch(_SSH, word):  # a leading `-` would be an option of ssh
        raise Bad(f'{shown(word)} must be such as "user@host", or an alias of ~/.ssh/config')
    return word


def _data(value: object) -> str:
    """An IPv4 address or an interface's name."""
    word = text(value)
    if not re.fullmatch(_INTERFACE, word) or word in (".", ".."):
        raise Bad(f'{shown(word)} must be an IPv4 address or an interface, such as "eth1"')
    return word


def _config_file(value: object) -> str:
    word = text(value)
    if not word or "\0" in word:
        raise Bad('must be the path of a file, such as "~/.ssh/config"')
    return word


def _socket(value: object) -> str:
    word = text(value)
    if not word.startswith("/") or "\0" in word or len(word.encode()) > _MAX_SOCKET_BYTES:
        raise Bad(f"{shown(word)} must be an absolute path of a Unix socket")
    return word


def _container(value: object) -> str:
    word = text(value)
    if not re.fullmatch(_CONTAINER, word):
        raise Bad(f"{shown(word)} is no name of a container, such as otter-agent")
    return word


def _label(value: object) -> str:
    word = text(value)
    if not re.fullmatch(_LABEL, word):
        raise Bad(f"label {shown(word)} must be of letters, digits, `_`, `.` and `-`")
    return word


def _arch(value: object) -> str:
    word = text(value)
    if word not in ARCHITECTURES:
        raise Bad(f"{shown(word)} is not one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[word]


def _overlaps(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(inner, outer) of paths in which others lie: sorted by their parts, those are neighbours."""
    ordered = sorted(paths, key=lambda path: path.split("/"))
    return ((b, a) for a, b in pairwise(ordered) if _within(b, a))


def mounts(keys: Table) -> Kind:
    """Tables by the path where they show inside, as a dict of `Fields`."""

    def parse(value: object, place: Place) -> Any:
        if not isinstance(value, dict):
            hint = 'write { "/data" = { from = "/srv/data" } }'
            raise Bad(f"must be a table, not {type_name(value)}", hint)
        check_entries(value)
        result: dict[str, Any] = {}
        for key, raw in value.items():
            below = place.child(key)
            target = below.read(TARGET, key)
            fields = below.read(Kind(lambda v, at: read_table(keys, v, at), {}), raw)
            if INVALID in (target, fields):
                continue
            if target in result:
                below.report(f"{shown(target)} is mounted twice")
            result[target] = fields
        for inner, outer in _overlaps(result):
            result[inner].place.report(f"{shown(inner)} overlaps with {shown(outer)}")
        return result

    schema = {
        "type": "object",
        "propertyNames": {"pattern": "^/"},
        "additionalProperties": {"table": keys},
        "maxProperties": ENTRIES_LIMIT,
    }
    return Kind(parse, schema)


SOURCE = scalar(_source, type="string", pattern="^/")
TARGET = scalar(_target, type="string", pattern="^/")
DEVICE = scalar(_device, type="string", pattern="^/dev/")
SECRET = scalar(_secret, type="string", pattern=whole(_VARIABLE))
LISTEN = scalar(_listen, type="string", format="ipv4")
POOL = scalar(_pool, type="string", pattern=r"^[0-9]+(\.[0-9]+){3}(/[0-9.]+)?$")
SSH = scalar(_ssh, type="string", pattern=whole(_SSH))
CONFIG_FILE = scalar(_config_file, type="string", minLength=1)
SOCKET = scalar(_socket, type="string", pattern="^/")
DATA = scalar(_data, type="string", pattern=whole(_INTERFACE))
CONTAINER = scalar(_container, type="string", pattern=whole(_CONTAINER))
LABEL = scalar(_label, type="string", pattern=whole(_LABEL))
ARCH = scalar(_arch, enum=list(ARCHITECTURES))
