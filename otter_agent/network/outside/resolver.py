"""The machine's name servers, for the modules of a mesh with a gateway.

Nothing is resolved here: what is asked at `config.RESOLVER` is asked again of the machine's own
servers, also where these listen at its loopback only (systemd-resolved), and the answer goes back.
"""

from __future__ import annotations

from pathlib import Path

from otter_agent.network.outside.config import RESOLVER

RESOLV_CONF = Path("/etc/resolv.conf")
NSSWITCH = Path("/etc/nsswitch.conf")
PORT = 53
_MOST = 3
"""As the C library (MAXNS, resolv.conf(5))."""
_HEADER_BYTES = 12
_RESPONSE, _RECURSION_AVAILABLE, _SERVER_FAILED = 0x80, 0x80, 2


def servers(path: Path = RESOLV_CONF) -> list[str]:
    """Its IPv4 name servers, in their order; those of now, as networks change."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = [
        words[1] for words in map(str.split, lines) if words[:1] == ["nameserver"] and words[1:]
    ]
    return [server for server in found if _is_ipv4(server)][:_MOST]


def resolv_conf(*, reaches_out: bool) -> str:
    """What a module finds as /etc/resolv.conf.

    Without a way out nothing is at the address that it names: an outside name fails at once, where
    the machine's own servers, which no packet reaches, would cost their time-outs.
    """
    if not reaches_out:
        # Some libraries (musl's) don't hear that nobody is there: they wait as short as they can.
        return (
            "# No way out: names of the mesh only, from /etc/hosts.\n"
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
        )
    return (
        "# At the gateway: asks this machine's name servers.\n"
        f"nameserver {RESOLVER}\noptions timeout:2 attempts:2\n"
    )


def nsswitch(path: Path = NSSWITCH) -> str:
    """What a process module finds as /etc/nsswitch.conf: the machine's, but for host names.

    These come from files and name servers alone: other sources of the machine's (nss-resolve,
    mdns) ask its own services through sockets that lie in no network namespace.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    kept = [line for line in lines if not line.startswith("hosts:")]
    return "\n".join([*kept, "hosts: files dns", ""])


def failure(query: bytes) -> bytes | None:
    """The answer "server failure" to a query (RFC 1035, 4.1.1): nobody waits for a time-out."""
    if len(query) < _HEADER_BYTES or query[2] & _RESPONSE:
        return None
    flags = bytes([query[2] | _RESPONSE, query[3] & 0x70 | _RECURSION_AVAILABLE | _SERVER_FAILED])
    return query[:2] + flags + query[4:]


def _is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(p.isdecimal() and p.isascii() and int(p) < 256 for p in parts)
