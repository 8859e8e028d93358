"""Which link driver this machine's meshes get, and why: probed once, when the agent starts.

The kernel's own is taken where it works; the one in user space works nearly everywhere. Must not
know: how a driver works, any mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from net.errors import OtterError
from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.layout import Layout
from otter_agent.links.base import Facts, LinkDriver

AUTO = "auto"
NONE = "none"
"""In `status`: no driver shapes it."""
MEND = "see `otterctl doctor`; `allow_degraded = true` runs it without"

_HELPER_IDLE_S = 2.0
"""After the last mesh is destroyed no process stays for long."""
Factory = Callable[[Layout, bool], LinkDriver]
"""The second: whether the agent stays, and so its helper, whatever there is to do."""


def _netem(layout: Layout, stays: bool) -> LinkDriver:
    from otter_agent.links.netem import NetemDriver

    return NetemDriver(layout.run / "links", idle_s=_HELPER_IDLE_S)


def _tun(layout: Layout, stays: bool) -> LinkDriver:
    from otter_agent.links.tun.driver import TunDriver

    return TunDriver(layout.run / "links", layout.blobs, idle_s=_HELPER_IDLE_S, stays=stays)


def _fake(layout: Layout, stays: bool) -> LinkDriver:
    from otter_agent.links.fake import FakeLinks

    return FakeLinks()


DRIVERS: Mapping[str, Factory] = {"netem": _netem, "tun": _tun, "fake": _fake}
"""By name; the first of `ORDER` that works is chosen unless the configuration names one."""
ORDER = ("netem", "tun")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What came of looking for a driver.

    Attributes:
        driver: None: none works here.
        why: Why it is this one, or none.
        facts: Driver -> what probing it found.
        spare: Another that works, for meshes whose links share media, if this one can't do that.
    """

    driver: LinkDriver | None = None
    why: str = ""
    facts: Mapping[str, Facts] = field(default_factory=dict)
    spare: Choice | None = None

    def fit_for(
        self, asked: Iterable[LinkSpec], states: Iterable[Iterable[LinkSpec]] = ()
    ) -> Choice:
        """This one, or the spare one for a mesh with cells: they are had whole, or refused.

        All else that a driver refuses is for the topology to change: no mesh comes to another
        driver's timing for the sake of a single property, in silence.

        Args:
            asked: Of all links.
            states: What is asked of those in cells together, at any time (`sharing.states`).
        """
        spare = self.spare
        if spare is None:
            return self
        shared = next((spec for spec in asked if spec.medium is not None), None)
        if shared is None:
            return self
        if "medium" not in self.refusals(shared) and not any(map(self.conflicts, states)):
            return self
        return self if "medium" in spare.refusals(shared) else spare

    def conflicts(self, asked: Iterable[LinkSpec]) -> dict[str, str]:
        """Medium -> why it can't be shared as is asked here; empty if all can."""
        found = self.driver.conflicts(asked) if self.driver else {}
        return {medium: f"{self.name}: {why}" for medium, why in found.items()}

    @property
    def name(self) -> str:
        """Of the driver; `none` if there is none."""
        return self.driver.name if self.driver else NONE

    @property
    def error_s(self) -> float | None:
        """The error of a delay to expect of it, median; None: unknown."""
        facts = self.facts.get(self.name)
        return None if facts is None else facts.error_s

    def refusals(self, spec: LinkSpec) -> dict[str, str]:
        """Field -> why it can't be had here; empty if all can."""
        asked = spec.asked()
        if self.driver is None:
            return dict.fromkeys(asked, f"no link driver works here ({self.why})")
        refused = self.driver.refusals(spec) if asked else {}
        return {name: f"{self.name}: {why}" for name, why in refused.items()}

    def told(self) -> tuple[api.DriverFact, ...]:
        """For `GET /v1/info`."""
        return tuple(
            api.DriverFact(
                name=name,
                usable=facts.usable,
                detail=facts.detail,
                error_s=facts.error_s,
                chosen=name == self.name,
            )
            for name, facts in self.facts.items()
        )


def choose(layout: Layout, wanted: str = AUTO, *, stays: bool = False) -> Choice:
    """Probe the drivers, and take the one that is wanted or the best that works.

    Args:
        layout: Of the agent.
        wanted: Its name, or `AUTO`.
        stays: Whether the agent does, whatever there is to do.
    """
    names = ORDER if wanted == AUTO else (wanted,)
    drivers: dict[str, LinkDriver] = {}
    facts: dict[str, Facts] = {}
    for name in names:
        facts[name] = _probed(name, layout, stays, drivers)
    usable = next((name for name in names if facts[name].usable), None)
    failed = "; ".join(f"{name}: {facts[name].detail}" for name in names if not facts[name].usable)
    if usable is None:
        return Choice(why=failed, facts=facts)
    why = f"{usable}: {facts[usable].detail}"
    if wanted != AUTO:
        why += " (the agent's configuration asks for it)"
    elif failed:
        why += f" (not {failed})"
    return Choice(
        driver=drivers[usable], why=why, facts=facts, spare=_spare(usable, drivers, facts)
    )


def _spare(
    usable: str, drivers: Mapping[str, LinkDriver], facts: Mapping[str, Facts]
) -> Choice | None:
    """The next one that works."""
    others = [name for name in facts if facts[name].usable and name != usable]
    if not others:
        return None
    name = others[0]
    why = f"{name}: {facts[name].detail} (links share media as {usable} can't)"
    return Choice(driver=drivers[name], why=why, facts=facts)


def _probed(name: str, layout: Layout, stays: bool, drivers: dict[str, LinkDriver]) -> Facts:
    if name not in DRIVERS:
        return Facts(usable=False, detail="not built in this version")
    try:
        drivers[name] = DRIVERS[name](layout, stays)
        return drivers[name].probe()
    except (OtterError, OSError) as error:
        return Facts(usable=False, detail=str(error))
