"""Quantities in as few words as a picture has room for, and how wide a text will be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from net.units import format_duration, format_rate, format_ratio, format_size
from otter_ctl.graph.model import Host, Module

DOT = " · "
Asked = Mapping[str, float | int]


def budget(item: Host | Module) -> str:
    """`0.5 cpu · 256MiB`; "" without limits."""
    words = []
    if item.cpu is not None:
        words.append(f"{item.cpu:g} cpu")
    if item.memory_bytes is not None:
        words.append(format_size(item.memory_bytes))
    return DOT.join(words)


def counted(name: str, count: int) -> str:
    """`client × 100`: the name of what stands for several."""
    if count == 1:
        return name
    first = name.partition("…")[0]
    stem = first.rpartition("-")[0] or first
    return f"{stem} × {count}"


def last_part(what: str) -> str:
    """An image without its registry, folders and digest: `repo/name:tag@sha256:…` is `name:tag`."""
    return what.partition("@")[0].rpartition("/")[2]


def properties(asked: Asked) -> list[str]:
    """`["20ms ±2ms", "20mbit", "loss 0.5%"]`: one direction, in the order in which they matter."""
    words = []
    if "delay_s" in asked:
        jitter = f" ±{format_duration(asked['jitter_s'])}" if asked.get("jitter_s") else ""
        words.append(format_duration(asked["delay_s"]) + jitter)
    if "rate_bps" in asked:
        words.append(format_rate(asked["rate_bps"]))
    if asked.get("loss_ratio"):
        words.append(f"loss {format_ratio(asked['loss_ratio'])}")
    if "queue_s" in asked:
        words.append(f"queue {format_duration(asked['queue_s'])}")
    if "queue_bytes" in asked:
        words.append(f"queue {format_size(int(asked['queue_bytes']))}")
    if "queue_packets" in asked:
        words.append(f"queue {asked['queue_packets']} packets")
    return words


def directions(forward: Asked, reverse: Asked | None) -> tuple[list[str], list[str], list[str]]:
    """What both directions have, then what each has alone. One way: all of it is common."""
    there = properties(forward)
    if reverse is None:
        return there, [], []
    back = properties(reverse)
    common = [word for word in there if word in back]
    return common, [w for w in there if w not in common], [w for w in back if w not in common]


_NARROW = set("ijl|!.,:;'`’·")
_SLIM = set('ftrI()[]/\\- "*')
_BROAD = set("mwMW@%&#+=<>~±×…→←↑↓−—")


@lru_cache(maxsize=256)
def _em(char: str) -> float:
    """Width of a character in a sans-serif face, in ems; between Arial's and DejaVu's."""
    if char in _NARROW:
        return 0.29
    if char in _SLIM:
        return 0.38
    if char in _BROAD:
        return 0.9
    if char.isascii():
        return 0.72 if char.isupper() else 0.59
    return 1.05


def width(text: str, size: float) -> float:
    """About how wide a text of a font size is, in pixels; rather more than less."""
    return sum(map(_em, text)) * size


def shorten(text: str, limit: int) -> str:
    """At most so many characters; what is cut off is in the middle, which tells least."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 3
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}"
