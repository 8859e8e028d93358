"""What of a GPU modules have. Pure."""

from __future__ import annotations

from otter_ctl.topology.model import Host, Module


def share(module: Module, host: Host) -> float | None:
    """A module's weight among all that take turns of its machine's GPU; None: it takes none.

    A module's share is of its host's, a host's of the machine's; one that is left out is all of it.
    """
    own = module.gpu.share if module.gpu is not None else None
    above = host.gpu.share if host.gpu is not None else None
    if own is None and above is None:
        return None
    return (1.0 if own is None else own) * (1.0 if above is None else above)
