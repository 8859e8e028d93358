"""The reference of profiles: what each device and technology stands for, from profiles.toml."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from net.units import format_duration, format_rate, format_ratio, format_size
from otter_ctl.topology.profiles import Profile, profiles

_TO_A_SERVER = "to a server"
_FORMS: dict[str, Callable[[float], str]] = {
    "rate": format_rate,
    "delay": lambda seconds: format_duration(round(seconds, 9)),
    "jitter": lambda seconds: format_duration(round(seconds, 9)),
    "loss": format_ratio,
}


def profile_tables() -> str:
    """Both tables, in Markdown."""
    return "\n".join(["## Profiles\n", *_hosts(), "", *_links()]) + "\n"


def _hosts() -> Iterator[str]:
    yield (
        "Devices, `profile` of `[hosts.NAME]`. Speed: of one core, 1 is 2500 points of Geekbench "
        "6; where it is empty no source gives one, and its cores are as fast as the machine's.\n"
    )
    yield "| profile | is | cpu | memory | speed | sources |"
    yield "|---|---|---|---|---|---|"
    for one in profiles("hosts").values():
        cpu, memory, speed = (one.values.get(key) for key in ("cpu", "memory", "speed"))
        size = "" if memory is None else format_size(memory)
        yield _row(one, f"{cpu:g}", size, "" if speed is None else f"{speed:g}")


def _links() -> Iterator[str]:
    yield (
        "Technologies, `profile` of `[[links]]`, `[cells.NAME]` and `[defaults.link]`. Delay and "
        "jitter are one way. Where the last but one column is **bold**, they are of a part of the "
        "way to a server: not to be compared with the others; write the `delay` beside the "
        "profile.\n"
    )
    yield "| profile | is | up | down | one way is | sources |"
    yield "|---|---|---|---|---|---|"
    for one in profiles("links").values():
        ways = [_way(one.values[way].values) for way in ("up", "down")]
        yield _row(one, *ways, f"**{one.part}**" if one.part else _TO_A_SERVER)


def _way(values: dict[str, float]) -> str:
    unknown = values.keys() - _FORMS.keys()
    assert not unknown, f"no words for {unknown}"
    words = [f"{key} {form(values[key])}" for key, form in _FORMS.items() if key in values]
    return ", ".join(words).removeprefix("rate ")


def _row(one: Profile, *cells: str) -> str:
    all_ = (f"`{one.name}`", one.title, *cells, "; ".join(one.source))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in all_) + " |"
