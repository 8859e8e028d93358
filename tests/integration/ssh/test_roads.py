"""One SSH connection per machine, to a real sshd: what it carries, and what refuses it."""

from __future__ import annotations

import pytest

from .asking import ask


def sessions(world, machine):
    log = world[machine].log("sshd.log")
    return log.count("Accepted publickey")


def test_everything_goes_through_one_connection(pair):
    before = sessions(pair, "m1")
    said = ask(pair)
    assert said["info"] == ["m1"] * 3
    assert said["said"] == ["0", "1", "2", "3", "4"]
    assert said["address"] == pair["m1"].address
    assert sessions(pair, "m1") == before + 1


def test_no_agent_there_says_what_to_do(pair):
    said = ask(pair, SOCKET="/nowhere/agent.sock")
    assert "no agent answers at /nowhere/agent.sock: there is none" in said["error"]
    assert "otterctl machine add" in said["hint"]


def test_a_stopped_sshd_is_one_line(pair):
    pair["m1"].stop_sshd()
    try:
        said = ask(pair)
    finally:
        pair["m1"].start_sshd()
    assert said["error"] == "m1: can't be reached by SSH: connection refused"
    assert "ssh -F" in said["hint"]


def test_a_changed_host_key_is_refused(pair):
    machine = pair["m1"]
    machine.stop_sshd()
    machine.start_sshd(pair["m2"].host_key)
    try:
        said = ask(pair)
    finally:
        machine.stop_sshd()
        machine.start_sshd()
    assert "its host key has changed (it shows ssh-ed25519 SHA256:" in said["error"]
    forgets = f"ssh-keygen -R '{machine.address}' -f {pair.folder}/known_hosts, then `ssh -F"
    assert forgets in said["hint"]


@pytest.mark.parametrize("verify", ["nobody", "none", "/nonexistent"])
def test_an_unknown_host_key_is_refused(pair, verify):
    """Also where the user's configuration would have it verified by nothing, or knows no host."""
    if verify != "nobody":
        config = pair.folder / "ssh_config"
        config.write_text(config.read_text().replace(f"{pair.folder}/known_hosts", verify))
    (pair.folder / "known_hosts").write_text("")
    try:
        said = ask(pair)
    finally:
        pair.write_site()
    assert "its host key is not known (it shows ssh-ed25519 SHA256:" in said["error"]
    assert "accept it once: `ssh -F" in said["hint"]


def test_a_key_that_is_not_accepted_is_said(pair):
    public = pair.folder / "key.pub"
    text = public.read_text()
    public.write_text("")
    try:
        said = ask(pair)
    finally:
        public.write_text(text)
    assert "none of your keys is accepted" in said["error"]
