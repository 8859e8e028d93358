"""What the network has to know of that which makes links scarce. Must not know: any driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from otter_agent.links.base import DeviceKind


class Scarcity(Protocol):
    """The links of one mesh, asked and told by `Network.converge`, from its thread."""

    def kinds(self) -> Mapping[str, DeviceKind]:
        """Link -> what its devices have to be; veth pairs where it isn't named."""
        ...

    def let_go(self, *, shaped_only: bool) -> None:
        """Hold on to no devices but those of links that are wanted: others are about to go.

        Args:
            shaped_only: And of those only the ones that have to be of the driver's kind.
        """
        ...

    def devices_are_there(self) -> None:
        """All devices are there and up: make them what is asked, before a route leads over them.

        Raises:
            NetworkError: Nothing can be made scarce; single links that can't are told of elsewhere.
        """
        ...
