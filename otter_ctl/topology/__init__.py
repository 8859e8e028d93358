"""Topology files: TOML as written -> `Topology`, or every problem with its line.

    source     bytes -> tables            overrides  --set on top
    kinds      what a value may be        keys       what a table may hold
    reader     tables -> checked values, collecting problems
    assemble   values -> Topology (links, modules, streams: what spans several keys)
    positions  key -> line and column, looked up only for problems

Must not know: addresses, agents, machines.
"""

from __future__ import annotations

from otter_ctl.topology.loader import load
from otter_ctl.topology.model import File, Host, Link, Module, Ready, Stream, Topology

__all__ = ["File", "Host", "Link", "Module", "Ready", "Stream", "Topology", "load"]
