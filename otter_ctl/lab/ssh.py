"""A lab's SSH: one key for the user, one host key per machine, the files that clients read.

Nothing is trusted on first use: known_hosts is written from the host keys that the lab has made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from otter_ctl.lab.errors import LabError
from otter_ctl.lab.folder import Folder, replace

SERVER = "/usr/sbin/sshd"
HINT = (
    "apt-get install openssh-server (and, if it shouldn't serve this computer itself, "
    "systemctl disable --now ssh), or unpack it into a folder: otterctl lab up --layer DIR"
)


def require_programs(layers: Iterable[Path]) -> None:
    """Raises LabError if OpenSSH's server or client is missing."""
    if not any(os.access(f"{layer}{SERVER}", os.X_OK) for layer in ("", *layers)):
        raise LabError(f"{SERVER} is not installed", hint=HINT)
    if shutil.which("ssh-keygen") is None:
        raise LabError("ssh-keygen is not installed", hint="apt-get install openssh-client")


def make_key(path: Path, comment: str) -> str:
    """A key pair, unless it is there; returns the public half."""
    public = path.with_suffix(".pub")
    if not public.exists():
        path.unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"ssh-keygen: {done.stderr.strip()}")
    return public.read_text()


def machine_files(
    folder: Path, name: str, address: IPv4Address, client: str, env: dict[str, str]
) -> dict[str, tuple[str, int]]:
    """What a machine has below /etc for its server: name -> text and mode."""
    public = make_key(folder / "hostkey", name)
    return {
        "ssh/ssh_host_ed25519_key": ((folder / "hostkey").read_text(), 0o600),
        "ssh/ssh_host_ed25519_key.pub": (public, 0o644),
        "ssh/lab_keys": (client, 0o644),
        "ssh/sshd_config": (_server_config(address, env), 0o600),  # an index may want a password
    }


def _server_config(address: IPv4Address, env: dict[str, str]) -> str:
    known = " ".join(f'"{name}={value}"' for name, value in env.items())
    return f"""\
# Written by otterctl lab.
ListenAddress {address}
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/lab_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile /run/sshd.pid
AcceptEnv LANG LC_*
SetEnv {known}
Subsystem sftp internal-sftp
"""


def write_client_files(folder: Folder, machines: dict[str, IPv4Address]) -> None:
    """ssh_config and known_hosts, for `ssh -F` and for otterctl."""
    config = [
        "# Written by otterctl lab: ssh -F THIS lab1",
        "Host " + " ".join(machines),
        "  User root",
        f"  IdentityFile {folder / 'id_ed25519'}",
        "  IdentitiesOnly yes",
        f"  UserKnownHostsFile {folder / 'known_hosts'}",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  LogLevel ERROR",
    ]
    known = []
    for name, address in machines.items():
        config += [f"Host {name}", f"  HostName {address}", f"  HostKeyAlias {name}"]
        kind, key = (folder.machine(name) / "hostkey.pub").read_text().split()[:2]
        known.append(f"{name},{address} {kind} {key}")
    replace(folder / "ssh_config", "\n".join(config) + "\n")
    replace(folder / "known_hosts", "\n".join(known) + "\n")


def accounts() -> dict[str, tuple[str, int]]:
    """Lines that a machine's accounts need and this computer's may lack.

    The server drops its privileges to a user `sshd`, and lets nobody in whose account is locked.
    """
    passwd = Path("/etc/passwd").read_text()
    shadow = Path("/etc/shadow").read_text().splitlines()
    if not any(line.startswith("sshd:") for line in passwd.splitlines()):
        passwd += "sshd:x:199:65534::/run/sshd:/usr/sbin/nologin\n"
    mine = [line for line in shadow if line.split(":")[0] != "root"]
    return {
        "passwd": (passwd, 0o644),
        "shadow": ("\n".join(["root:*:19000:0:99999:7:::", *mine]) + "\n", 0o640),
    }
