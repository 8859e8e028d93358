"""What the agent and the process that carries tunnels say to each other (`links.talk`). Pure.

Descriptors of devices come in the order of a request's fresh tunnels. Must not know: sockets,
devices.
"""

from __future__ import annotations

from typing import Literal

from otter_agent import api
from otter_agent.api.base import Data
from otter_agent.links.talk import Reply

MARK = "--tunnels"
"""Stands in the process's command line."""
FRESH_A_REQUEST = 200
"""A message takes 253 descriptors at most."""

Kind = Literal["set", "read", "forget", "end"]


class Wanted(Data, frozen=True):
    """A tunnel as it is to be carried."""

    link: str
    inode: int
    """Of the namespace that its device is in: another one may get the same name."""
    first: bool
    """Whether the link's first end is here."""
    number: int
    key: str
    local: str
    port: int
    remote: str
    remote_port: int
    opens: bool
    """Whether the other machine is to be reached at its address."""


class Request(Data, frozen=True):
    """What the agent wants."""

    kind: Kind
    mesh: str = ""
    wanted: tuple[Wanted, ...] = ()
    """`set`: all that the mesh has, and no others."""
    fresh: tuple[str, ...] = ()
    """`set`: links whose devices come along."""


class Carried(Data, frozen=True):
    """A tunnel that is carried, and how it is."""

    wanted: Wanted
    told: api.TunnelState


class Answer(Reply, frozen=True):
    """What came of a request."""

    carried: tuple[Carried, ...] = ()
    """Of the mesh that was asked about."""
    problems: tuple[str, ...] = ()
    """What can't be had, a line each."""
