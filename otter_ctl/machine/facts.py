"""What a machine says of itself: the lines of probe.sh -> `Facts`. Pure.

Must not know: how a machine is asked, what is made of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from otter_ctl.printable import printable_lines

OLDEST_PYTHON = (3, 11)
WIDE = "install the 64-bit system there, such as Raspberry Pi OS (64-bit)"
"""What to do where a machine is `narrow`."""


@dataclass(frozen=True, slots=True)
class Python:
    """One interpreter of the machine.

    Attributes:
        path: Where.
        version: (3, 11, 2); empty if it wouldn't run.
        platform: `linux-x86_64`, as sysconfig says.
        venv: Virtual environments can be made.
    """

    path: str
    version: tuple[int, ...] = ()
    platform: str = ""
    venv: bool = False

    @property
    def usable(self) -> bool:
        """New enough, and able to make an environment."""
        return self.version[:2] >= OLDEST_PYTHON and self.venv


@dataclass(frozen=True, slots=True)
class Facts:
    """A machine.

    Attributes:
        bits: Of its programs, 32 or 64, whatever its kernel has; 0: unknown.
        root: How commands run as root: `root`, `sudo`, `password` (sudo asks), `none`.
        controllers: Of control groups, those that the kernel has on; (): nobody could say.
        features: vxlan, htb, netem, nftables, tun -> yes, no or unknown.
        release: Of the OTTER that is installed there, `VERSION-BUILD`; "": none.
        served: Of the one whose agent was started last; another one: an upgrade was cut short.
        docker: Version of its engine, or what `docker version` complained of; "": not installed.
        docker_arch: For which processors the engine runs images, in its words.
        container: Release of the agent that is a container there; "": none is.
        installed: Packages of the system were installed by `add`.
        wheels: Names of those that were sent there.
    """

    user: str
    uid: int
    groups: tuple[str, ...]
    hostname: str
    system: str
    arch: str
    kernel: str
    libc: str
    os: str
    cpus: int
    memory_bytes: int
    free_bytes: int
    systemd: bool
    root: str
    cgroup: str
    bits: int = 0
    controllers: tuple[str, ...] = ()
    pythons: tuple[Python, ...] = ()
    features: dict[str, str] = field(default_factory=dict)
    tools: frozenset[str] = frozenset()
    docker: str = ""
    docker_usable: bool = False
    docker_socket: bool = False
    docker_arch: str = ""
    container: str = ""
    release: str = ""
    served: str = ""
    installed: bool = False
    socket: bool = False
    accelerators: tuple[str, ...] = ()
    wheels: frozenset[str] = frozenset()

    @property
    def narrow(self) -> str:
        """Why OTTER can't be installed, where that is for 32 bits; else ""."""
        if self.bits != 32 and not self.arch.startswith(("armv6", "armv7", "i386", "i686")):
            return ""
        return (
            f"its system is a 32-bit one ({self.arch}): what OTTER needs is made for 64 bits only"
        )

    @property
    def python(self) -> Python | None:
        """The one to use: the first that is usable, as the system's own comes first."""
        return next((python for python in self.pythons if python.usable), None)


def parse(text: str) -> Facts | None:
    """The facts; None: these aren't the lines of a probe, or not all of them."""
    said: dict[str, list[str]] = {}
    for line in printable_lines(text).splitlines():  # it is shown, and asked about
        key, equals, value = line.partition("=")
        if equals and key.isidentifier():
            said.setdefault(key, []).append(value.strip())
    if "end" not in said:
        return None

    def one(key: str) -> str:
        return said.get(key, [""])[0]

    names = ("vxlan", "htb", "netem", "nftables")
    return Facts(
        user=one("user"),
        uid=_number(one("uid"), -1),
        groups=tuple(one("groups").split()),
        hostname=one("hostname"),
        system=one("system"),
        arch=one("arch"),
        kernel=one("kernel"),
        libc=one("libc"),
        os=one("os"),
        cpus=_number(one("cpus")),
        memory_bytes=_number(one("memory_kib")) << 10,
        free_bytes=_number(one("free_kib")) << 10,
        systemd=one("systemd") == "yes",
        root=one("root"),
        cgroup=one("cgroup") or "none",
        bits=_number(one("bits")),
        controllers=tuple(one("controllers").split()),
        pythons=tuple(_python(value) for value in dict.fromkeys(said.get("python", []))),
        features={**{name: one(name) or "unknown" for name in names}, "tun": one("tun") or "no"},
        tools=frozenset(said.get("tool", [])),
        docker=one("docker"),
        docker_usable=one("docker_usable") == "yes",
        docker_socket=one("docker_socket") == "yes",
        docker_arch=one("docker_arch"),
        container=one("container"),
        release=one("release"),
        served=one("served") or one("release"),
        installed=one("installed") == "yes",
        socket=one("socket") == "yes",
        accelerators=tuple(one("accelerators").split()),
        wheels=frozenset(said.get("wheel", [])),
    )


def _number(text: str, otherwise: int = 0) -> int:
    return int(text) if text.isdecimal() else otherwise


def _python(value: str) -> Python:
    words = value.split()
    if len(words) != 4:
        return Python(words[0] if words else "?")
    path, version, platform, venv = words
    numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
    return Python(path, numbers, platform, venv == "venv")
