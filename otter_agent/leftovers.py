"""Removes what a killed predecessor left of meshes that are gone. Must not know: how they run."""

from __future__ import annotations

from collections.abc import Collection

from otter_agent import folders
from otter_agent.machine import Machine
from otter_agent.secrets import Secrets


def remove_leftovers(machine: Machine, known: Collection[str]) -> None:
    """Remove all of meshes that aren't `known`: namespaces, groups, secrets, folders. Blocking.

    What an agent does as it begins; `sweeping.sweep` ends known meshes, where there is none.
    """
    there = set(known)
    if not machine.problems.get("network"):
        for mesh in machine.network.meshes() - there:
            machine.let_go(mesh)
        machine.network.remove_others(there)
    cgroups = machine.cgroups
    if cgroups is not None:
        for mesh in {group.partition("/")[0] for group in cgroups.groups()} - there:
            cgroups.kill(mesh)
            cgroups.remove(mesh)
    folders.remove_tree(machine.layout.scratch)
    Secrets(machine.layout).sweep(there)
    folder = machine.layout.meshes
    for path in folder.iterdir() if folder.exists() else ():
        if path.name not in there:
            folders.remove(machine.layout, path.name)
