"""Ways to a machine that the user's SSH configuration says, by real sshd and ssh-agent."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager

import pytest
from helpers.machines import CTL, sh
from helpers.otter import wait_for

from .asking import ask


@pytest.fixture
def config(pair):
    """A function that changes the ssh_config; it is as before after the test."""
    path = pair.folder / "ssh_config"

    def change(old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    yield change
    pair.write_site()


@contextmanager
def serving(machine, *lines):
    """Its sshd, with other lines in its configuration, the first of which counts."""
    machine.stop_sshd()
    machine.more = lines
    machine.start_sshd()
    try:
        yield
    finally:
        machine.stop_sshd()
        machine.more = ()
        machine.start_sshd()


def last_peer(machine):
    """The address from which its last session came."""
    lines = [x for x in machine.log("sshd.log").splitlines() if "Accepted publickey" in x]
    return lines[-1].split(" from ")[1].split()[0]


def test_a_jump_host_that_the_configuration_names(pair, config):
    """Of a site file's own configuration, in which the jump host is an alias as well."""
    config("Host m1\n", "Host m1\n  ProxyJump gate\n")
    text = (pair.folder / "ssh_config").read_text()
    gate = text[text.index("Host m2\n") :].replace("Host m2\n", "Host gate\n")
    (pair.folder / "ssh_config").write_text(text + gate)
    said = ask(pair)
    assert said["info"] == ["m1"] * 3
    assert said["address"] == pair["m1"].address
    assert last_peer(pair["m1"]) == pair["m2"].address
    assert last_peer(pair["m2"]) == CTL


@pytest.mark.parametrize("known", ["none", "/nonexistent"])
def test_a_jump_host_is_verified_whatever_the_configuration_says(pair, config, known):
    config("Host m1\n", "Host m1\n  ProxyJump gate\n")
    text = (pair.folder / "ssh_config").read_text()
    gate = text[text.index("Host m2\n") :].replace("Host m2\n", "Host gate\n")
    gate = gate.replace(f"{pair.folder}/known_hosts", known)
    (pair.folder / "ssh_config").write_text(text + gate)
    said = ask(pair)
    assert (
        "m1: can't be reached by SSH: its jump host gate: its host key is not known"
        in said["error"]
    )
    assert f"accept it once: `ssh -F {pair.folder}/ssh_config gate`" in said["hint"]


def test_a_jump_host_that_is_down_is_named(pair, config):
    config("Host m1\n", "Host m1\n  ProxyJump m2\n")
    pair["m2"].stop_sshd()
    try:
        said = ask(pair)
    finally:
        pair["m2"].start_sshd()
    assert said["error"] == "m1: can't be reached by SSH: its jump host m2: connection refused"


def test_jump_hosts_in_a_circle_are_told(pair, config):
    config("Host m1\n", "Host m1\n  ProxyJump m2\n")
    config("Host m2\n", "Host m2\n  ProxyJump m1\n")
    assert "its jump hosts lead in a circle" in ask(pair)["error"]


def test_compression_that_the_configuration_asks_for(pair, config):
    agreed = "kex: client->server cipher: "
    with serving(pair["m1"], "LogLevel DEBUG1"):
        for asks, has in (("", "none"), ("  Compression yes\n", "zlib@openssh.com")):
            config("Host m1\n", f"Host m1\n{asks}")
            assert ask(pair)["info"] == ["m1"] * 3
            lines = (pair["m1"].folder / "sshd.log").read_text(errors="replace").splitlines()
            assert f"compression: {has}" in [line for line in lines if agreed in line][-1]


def test_a_shell_that_greets_whoever_logs_in(pair):
    """As some say a word in ~/.bashrc, which bash reads for commands by SSH as well."""
    greets = 'ForceCommand echo "Welcome to m1, ada"; eval "$SSH_ORIGINAL_COMMAND"'
    with serving(pair["m1"], greets):
        said = ask(pair)
    assert said["said"][0].startswith("Welcome")
    assert said["address"] == pair["m1"].address


FISH = """\
#!/bin/bash
if sed "s/'[^']*'//g" <<<"$SSH_ORIGINAL_COMMAND" | grep -q '[{]'; then
    echo "fish: '{ ... }' is not supported for grouping commands" >&2
    exit 127
fi
exec bash -c "$SSH_ORIGINAL_COMMAND"
"""


def test_a_shell_of_another_kind_than_sh(pair):
    """Fish before version 4 and csh know no `{ … }`: why no agent answers is found out by sh."""
    shell = pair.folder / "fish"
    shell.write_text(FISH)
    shell.chmod(0o755)
    with serving(pair["m1"], f"ForceCommand {shell}"):
        assert ask(pair)["address"] == pair["m1"].address
        assert "there is none" in ask(pair, SOCKET="/nowhere/agent.sock")["error"]


def test_a_users_certificate(pair):
    """The machine knows no key of the user's, only who signs them."""
    ca, key = pair.folder / "ca", pair.folder / "key"
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
    with serving(pair["m1"], "AuthorizedKeysFile none", f"TrustedUserCAKeys {ca}.pub"):
        assert "none of your keys is accepted" in ask(pair)["error"]
        sh("ssh-keygen", "-q", "-s", ca, "-I", "ada", "-n", "root", "-V", "+1h", f"{key}.pub")
        certificate = pair.folder / "key-cert.pub"
        try:
            assert ask(pair)["info"] == ["m1"] * 3
            certificate.rename(pair.folder / "elsewhere.pub")
            text = (pair.folder / "ssh_config").read_text()
            named = f"  CertificateFile {pair.folder}/elsewhere.pub\n  IdentityFile"
            (pair.folder / "ssh_config").write_text(text.replace("  IdentityFile", named))
            assert ask(pair)["info"] == ["m1"] * 3
        finally:
            pair.write_site()
            certificate.unlink(missing_ok=True)
    assert "ED25519-CERT" in pair["m1"].log("sshd.log")


def test_a_key_that_only_the_users_agent_has(pair, config):
    config(f"  IdentityFile {pair.folder}/key\n", "")
    config("  IdentitiesOnly yes\n", "")
    assert "none of your keys is accepted" in ask(pair)["error"]
    socket = pair.folder / "ssh-agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_for(socket.exists, "the agent")
        env = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", pair.folder / "key"], env=env, check=True)
        assert ask(pair, SSH_AUTH_SOCK=str(socket))["info"] == ["m1"] * 3
    finally:
        agent.terminate()
        agent.wait(10)


def test_a_key_with_a_passphrase_has_to_be_in_an_agent(pair, config, tmp_path):
    """`ssh` would ask for it: so that works, and the key is known there, doesn't help."""
    key, socket = tmp_path / "locked", pair.folder / "ssh-agent-2"
    for name in ("key", "key.pub"):
        (tmp_path / name.replace("key", "locked")).write_bytes((pair.folder / name).read_bytes())
    key.chmod(0o600)
    sh("ssh-keygen", "-q", "-p", "-P", "", "-N", "word", "-f", key)
    config(f"IdentityFile {pair.folder}/key", f"IdentityFile {key}")
    said = ask(pair)
    assert "none of your keys is accepted" in said["error"]
    told = f"{key} has a passphrase, so it counts from an agent alone: `ssh-add {key}`"
    assert told in said["hint"]
    assert f"`ssh-copy-id -F {pair.folder}/ssh_config m1` brings your key there" in said["hint"]
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_for(socket.exists, "the agent")
        env = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", pair.folder / "key"], env=env, check=True)
        assert ask(pair, SSH_AUTH_SOCK=str(socket))["info"] == ["m1"] * 3  # IdentitiesOnly, too
        config("  IdentitiesOnly yes\n", "")
        assert ask(pair, SSH_AUTH_SOCK=str(socket))["info"] == ["m1"] * 3
    finally:
        agent.terminate()
        agent.wait(10)


def test_the_users_own_configuration_is_read_where_the_site_file_names_none(pair):
    """~/.ssh/config: an alias, another port, a key under another name."""
    own = pair.folder / ".ssh"
    own.mkdir(mode=0o700)
    site = pair.folder / "site.toml"
    (own / "other_key").write_bytes((pair.folder / "key").read_bytes())
    (own / "other_key").chmod(0o600)
    with serving(pair["m1"], "Port 2222"):
        known = f"[{pair['m1'].address}]:2222 {pair['m1'].host_key.with_suffix('.pub').read_text()}"
        (own / "known_hosts").write_text(known)
        (own / "config").write_text(
            f"Host box\n  HostName {pair['m1'].address}\n  Port 2222\n  User root\n"
            "  IdentityFile ~/.ssh/other_key\n"
        )
        text = site.read_text().replace('ssh_config = "ssh_config"', 'ssh = "box"', 1)
        site.write_text(text)
        try:
            assert ask(pair)["info"] == ["m1"] * 3
        finally:
            pair.write_site()


def test_names_that_are_hashed_in_known_hosts(pair):
    """As Debian's and Ubuntu's ssh writes them."""
    known = pair.folder / "known_hosts"
    try:
        sh("ssh-keygen", "-H", "-f", known)
        assert pair["m1"].address not in known.read_text()
        assert ask(pair)["info"] == ["m1"] * 3
        other = pair["m2"].host_key.with_suffix(".pub").read_text()
        known.write_text(f"{pair['m1'].address} {other}")
        sh("ssh-keygen", "-H", "-f", known)
        assert "its host key has changed" in ask(pair)["error"]
    finally:
        (pair.folder / "known_hosts.old").unlink(missing_ok=True)
        pair.write_site()


def test_a_key_that_is_known_for_the_address_is_not_the_named_machines(pair, config):
    """Who has names lead elsewhere could else put another known machine in place of any."""
    config("Host m1\n", "Host m1\n  HostKeyAlias one\n")
    machine, known = pair["m1"], pair.folder / "known_hosts"
    assert "its host key is not known" in ask(pair)["error"]
    with known.open("a") as file:
        file.write(f"one {pair['m2'].host_key.with_suffix('.pub').read_text()}")
    assert "its host key has changed" in ask(pair)["error"]
    with known.open("a") as file:
        file.write(f"one {machine.host_key.with_suffix('.pub').read_text()}")
    assert ask(pair)["info"] == ["m1"] * 3


def test_a_key_that_is_revoked_for_a_port(pair, config):
    machine, known = pair["m1"], pair.folder / "known_hosts"
    config("Host m1\n", "Host m1\n  Port 2222\n")
    with serving(machine, "Port 2222"):
        assert ask(pair)["info"] == ["m1"] * 3
        key = machine.host_key.with_suffix(".pub").read_text()
        known.write_text(f"@revoked [{machine.address}]:2222 {key}{known.read_text()}")
        assert "its host key is revoked" in ask(pair)["error"]


@contextmanager
def certified(machine, authority, *principals):
    """Its host key has a certificate, which its sshd shows."""
    key = machine.host_key.with_suffix(".pub")
    certificate = machine.folder / "host_key-cert.pub"
    sign = ["ssh-keygen", "-q", "-s", authority, "-I", machine.name, "-h", "-V", "+1h"]
    sh(*sign, "-n", ",".join(principals), key)
    try:
        with serving(machine, f"HostCertificate {certificate}"):
            yield
    finally:
        certificate.unlink()


def test_a_machines_certificate(pair):
    """The user knows no key of the machine's, only who signs them."""
    ours, theirs = pair.folder / "our_ca", pair.folder / "their_ca"
    for authority in (ours, theirs):
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", authority)
    machine, known = pair["m1"], pair.folder / "known_hosts"
    known.write_text(f"@cert-authority 10.77.0.* {ours.with_suffix('.pub').read_text()}")
    print_of_theirs = sh("ssh-keygen", "-l", "-f", theirs).split()[1]
    not_good = "its host key has no good certificate of whom known_hosts names for it"
    try:
        with certified(machine, ours, machine.address):
            assert ask(pair)["info"] == ["m1"] * 3
        with certified(machine, ours, "another.example.org"):
            assert not_good in ask(pair)["error"]
        with certified(machine, theirs, machine.address):
            assert not_good in ask(pair)["error"]
        assert not_good in (said := ask(pair))["error"]  # it has none
        assert f"accept it: `ssh -F {pair.folder}/ssh_config m1`" in said["hint"]
        with known.open("a") as file:  # which does this
            file.write(f"{machine.address} {machine.host_key.with_suffix('.pub').read_text()}")
        assert ask(pair)["info"] == ["m1"] * 3
        lines = known.read_text()
        known.write_text(lines + lines.replace("@cert-authority", "@revoked"))
        with certified(machine, ours, machine.address):
            assert "its host key is revoked" in ask(pair)["error"]
        known.write_text("")
        with certified(machine, theirs, machine.address):
            error = ask(pair)["error"]
        shown = f"it shows a certificate of ssh-ed25519 {print_of_theirs}"
        assert error.endswith(f"its host key is not known ({shown})")
    finally:
        pair.write_site()


def test_machines_that_this_computer_knows_for_all_its_users(pair, config):
    """In /etc/ssh/ssh_known_hosts; here of a mount namespace."""
    known = pair.folder / "known_hosts"
    for line in (pair.folder / "ssh_config").read_text().splitlines():
        if "UserKnownHostsFile" in line:
            config(f"{line}\n", "")
    script = f'mount -t tmpfs none /etc/ssh && cp {known} /etc/ssh/ssh_known_hosts && exec "$@"'
    assert "its host key is not known" in ask(pair)["error"]
    assert ask(pair, ("unshare", "-m", "sh", "-c", script, "sh"))["info"] == ["m1"] * 3
