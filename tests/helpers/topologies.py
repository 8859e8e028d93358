"""Texts of topologies, table by table, for tests that draw or plan many kinds of them."""

from __future__ import annotations


def host(name: str, more: str = "") -> str:
    return f"[hosts.{name}]\n{more}\n"


def link(a: str, b: str, more: str = "") -> str:
    return f'[[links]]\nbetween = ["{a}", "{b}"]\n{more}\n'


def one_way(a: str, b: str, more: str = "") -> str:
    return f'[[links]]\nfrom = "{a}"\nto = "{b}"\n{more}\n'


def module(name: str, on: str, more: str = "") -> str:
    return f'[modules.{name}]\nhost = "{on}"\nruntime = "process"\ncommand = ["run"]\n{more}\n'


def stream(source: str, target: str) -> str:
    return f'[[streams]]\nfrom = "{source}"\nto = "{target}"\n'


PARALLEL = (
    host("phone") + host("edge")
    + link("phone", "edge", 'name = "wifi"\ndelay = "4ms"\nrate = "50mbit"')
    + link("phone", "edge", 'name = "radio"\ndelay = "30ms"\nreverse = { rate = "2mbit" }')
    + one_way("edge", "phone", 'name = "broadcast"\ndelay = "250ms"\nloss = "2%"')
)  # fmt: skip
"""Three links between two hosts, one of them one way."""

TIERS = (
    "".join(host(f"camera-{c}", "cpu = 0.5") for c in "abc")
    + host("gate") + host("edge", 'cpu = 2\nmemory = "4GiB"') + host("cloud", "gateway = true")
    + "".join(link(f"camera-{c}", "gate", 'delay = "4ms"\nrate = "50mbit"') for c in "abc")
    + link("gate", "edge", 'delay = "2ms"') + link("edge", "cloud", 'name = "fibre"\ndelay="18ms"')
    + "".join(module(f"cam-{c}", f"camera-{c}") for c in "abc")
    + module("mixer", "gate") + module("detector", "edge") + module("tracker", "edge", "cpu = 0.4")
    + module("archive", "cloud")
    + "".join(stream(f"cam-{c}.video", "mixer.video") for c in "abc")
    + stream("mixer.video", "detector.video") + stream("detector.boxes", "tracker.boxes")
    + stream("tracker.tracks", "archive.tracks") + stream("cam-a.video", "archive.raw")
)  # fmt: skip
"""Cameras, a gate, an edge and a cloud that is the gateway, with streams over one and many hops."""

COUNTED = (
    host("client", "count = 100\ncpu = 0.1") + host("base") + host("edge")
    + link("client-*", "base", 'delay = "8ms"') + link("base", "edge", 'delay = "1ms"')
    + module("app", "client-*") + module("server", "edge") + stream("app-*.ask", "server.ask")
)  # fmt: skip
"""A hundred clients that are alike, each with a module that streams to one server."""
