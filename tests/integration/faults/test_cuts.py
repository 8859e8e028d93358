"""Machines that are cut off or lose their power, while a mesh is applied and while it runs."""

from __future__ import annotations

import pytest
from helpers.lab_site import NAMES, RING
from helpers.labs import inside
from helpers.otter import wait_for

pytestmark = pytest.mark.netns
_GO = 'ready = { command = ["test", "-e", "go"] }\n'
_FILES = 'files = { "receiver.py" = "receiver.py" }\n'
SLOW = RING.replace('host = "hub"\n', f'host = "hub"\n{_GO}')
"""It doesn't come to an end until `go` lies in the relay's folder."""
SLOWER = SLOW.replace(f"{_FILES}ready = {{ sdk = true }}\n", f"{_FILES}{_GO}")
"""And in the receiver's."""


def applying(site, text=SLOW):
    """An apply that has brought all parts and waits for the relay."""
    process = site.start("apply", site.topology(text))
    wait_for(lambda: site.meshes() == {name: ["ring"] for name in NAMES}, "all have their parts")
    return process


def let_go(site, machine, module):
    """It may become ready."""
    script = f"cd /var/lib/otter/meshes/ring/{module}/work && touch go && echo done"
    wait_for(lambda: inside(site.lab, machine, "sh", "-c", script, code=None), "it has a folder")


def ended(process, code):
    said, errors = process.communicate(timeout=60)
    assert process.returncode == code, said + errors
    assert "Traceback" not in errors
    return said + errors


def test_cut_off_while_it_is_applied_and_healed(trio, site):
    """Told which machine it was; all agents go on; applied again, the mesh is whole."""
    process = applying(site, SLOWER)
    trio.cut("lab3")
    let_go(site, "lab2", "relay")
    said = ended(process, 1)
    assert "lab3: " in said
    assert "mesh ring is partial: lab1, lab2 of its machines have settled" in said
    trio.heal("lab3")
    let_go(site, "lab3", "receiver")
    site("apply", site.topology(SLOWER))
    assert site.is_whole()
    site.numbers_come()


def test_cut_off_before_its_part_comes(trio, site):
    """Nobody has begun anything, and nobody is held up by it afterwards."""
    trio.cut("lab3")
    said = site("apply", site.topology(), code=1)
    assert "lab3: can't be reached by SSH: it gives no answer" in said
    assert site.meshes() == {name: [] for name in NAMES}
    trio.heal("lab3")
    site("apply", site.topology())
    site.numbers_come()


def test_only_its_data_is_cut_while_it_runs(trio, site):
    """No stream passes, no module notices more than that; healed, numbers come again by itself."""
    site("apply", site.topology())
    site.numbers_come()
    pids = {m["name"]: m["pid"] for m in site.json("status")["modules"]}
    trio.cut("lab3", cables=["data"])
    ping = ("exec", "sender", "--", "ping", "-c", "1", "-W", "1", "receiver")
    site(*ping, code=1)
    last = site.arrived()
    site(*ping, code=1)  # a second, in which twenty would come by another way
    assert site.arrived() == last
    said = site("plan", site.topology(), code=None)
    assert "from machine lab1 to lab3" in said
    assert "links between them may carry nothing" in said
    trio.heal("lab3", cables=["data"])
    site.numbers_come()
    assert {m["name"]: m["pid"] for m in site.json("status")["modules"]} == pids


def test_only_its_management_is_cut_while_it_runs(trio, site):
    """Nobody gets there by SSH; streams and pings don't notice: nothing of theirs goes there."""
    site("apply", site.topology())
    site.numbers_come()
    trio.cut("lab3", cables=["management"])
    status = site.json("status")
    assert {m["name"]: m["reachable"] for m in status["machines"]} == {
        "lab1": True, "lab2": True, "lab3": False,
    }  # fmt: skip
    last = site.arrived()
    assert last >= 0
    wait_for(lambda: site.arrived() >= last + 40, "numbers go on")
    site("exec", "sender", "--", "ping", "-c", "1", "-W", "5", "receiver")
    trio.heal("lab3", cables=["management"])
    wait_for(site.is_whole, "it is found again")
    assert site.arrived() > last + 40, "the same life of both"


def test_power_cut_while_it_runs(trio, site):
    """Its namespaces and processes are gone; with its power its part comes back by itself."""
    site("apply", site.topology())
    site.numbers_come()
    trio.off("lab3")
    status = site.json("status")
    assert status["state"] == "degraded"
    assert {m["name"]: m["reachable"] for m in status["machines"]}["lab3"] is False
    modules = {m["name"]: m for m in status["modules"]}
    assert modules["receiver"]["reason"] == "machine lab3 gives no answer"
    assert modules["sender"]["state"] == "ready"
    trio.on("lab3")
    wait_for(site.is_whole, "whole again by itself")
    site.numbers_come()
    assert site.json("timeline", "show")["state"] == "running"
    assert site("apply", site.topology()).startswith("mesh ring: nothing to change")


def test_power_cut_while_it_is_applied(trio, site):
    process = applying(site)
    trio.off("lab3")
    let_go(site, "lab2", "relay")
    assert "lab3: " in ended(process, 1)
    trio.on("lab3")
    site("apply", site.topology(SLOW))
    assert site.is_whole()
    site.numbers_come()


def test_all_lose_their_power(trio, site):
    site("apply", site.topology())
    trio.off(*NAMES)
    trio.on(*NAMES)
    wait_for(site.is_whole, "whole again by itself")
    site.numbers_come()
    assert site("apply", site.topology()).startswith("mesh ring: nothing to change")


def test_a_controller_that_is_killed_while_it_applies(trio, site):
    """While it lives the next one is told; when it is gone that takes its turn over, at once."""
    process = applying(site)
    said = site("apply", site.topology(), code=1)
    assert "mesh ring is being changed by" in said
    assert "right now; wait and look again" in said
    process.kill()
    process.communicate()
    site("apply", site.topology())
    assert site.is_whole()
    site.numbers_come()


def test_a_destroy_that_one_machine_misses(trio, site):
    """What it reaches is gone; the rest is told, and goes with the next destroy."""
    site("apply", site.topology())
    trio.cut("lab3")
    said = site("destroy", "--yes", "--no-fetch", code=1)
    assert "lab3: can't be reached by SSH" in said
    assert "of mesh ring stays what is there; " in said
    trio.heal("lab3")
    assert site.meshes() == {"lab1": [], "lab2": [], "lab3": ["ring"]}
    site("destroy", "--yes", "--no-fetch")
    assert site.meshes() == {name: [] for name in NAMES}


def test_a_part_that_a_destroy_has_missed_is_in_nobodys_way(trio, site):
    """The mesh is made anew on the others; when it is to be on that machine again, so it is."""
    site("apply", site.topology())
    trio.cut("lab3")
    site("destroy", "--yes", "--no-fetch", code=1)
    pair = RING.replace('machine = "lab3"', 'machine = "lab2"')
    site("apply", site.topology(pair))
    trio.heal("lab3")
    said = site("status", code=None)
    assert "lab3: still has a part of mesh ring of an earlier run" in said
    site("apply", site.topology())
    assert site.is_whole()
    site.numbers_come()
