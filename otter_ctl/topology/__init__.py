"""Topology files: TOML as written -> `Topology`, or every problem with its line.

    source     bytes -> tables            include    files -> one set of tables
    overrides  --set on top               keys       what a table may hold
    kinds      what a value may be: also values (of the format), access (of what is outside)
    reader     tables -> checked values, collecting problems
    assemble   values -> Topology (hosts, links, modules, streams: what spans several keys)
    globs      `client-*` -> names, pairs    profiles   named devices and technologies
    site       where machines are            positions  key -> line, looked up only for problems

Must not know: addresses, agents, machines.
"""

from __future__ import annotations

from otter_ctl.topology.loader import load
from otter_ctl.topology.model import File, Host, Link, Module, Ready, Stream, Topology

__all__ = ["File", "Host", "Link", "Module", "Ready", "Stream", "Topology", "load"]
