"""Traces drawn from a seed: the same seed gives the same trace, on every machine. Pure.

    markov        the rate stays at one of some levels for a time, then goes to another
    random-walk   the rate goes up and down by a share of itself with each step
    handover      every so often the link is down for a gap; between them delay and rate are drawn
    diurnal       the rate goes from its highest to its lowest and back once a period

Must not know: files, topologies.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from net.links.traces.trace import MAX_POINTS, Trace

Model = Literal["markov", "random-walk", "handover", "diurnal"]
MODELS: tuple[Model, ...] = get_args(Model)
Point = tuple[float, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is to be drawn.

    Attributes:
        model: One of `MODELS`.
        seed: Any whole number.
        length_s: Of the trace.
        step_s: Between two values of random-walk and diurnal.
        rates_bps: markov: the levels; the others: lowest and highest.
        delays_s: Lowest and highest one-way delay; handover only.
        every_s: markov: mean stay at a level; handover: between two; diurnal: the period.
        gap_s: handover: how long the link is down.
        change: random-walk: standard deviation of one step, as a share; diurnal: of the noise.
    """

    model: Model
    seed: int = 0
    length_s: float = 600.0
    step_s: float = 0.1
    rates_bps: tuple[float, ...] = ()
    delays_s: tuple[float, ...] = ()
    every_s: float | None = None
    gap_s: float = 0.04
    change: float = 0.1

    def problem(self) -> tuple[str, str] | None:
        """The field that is wrong and why; None: all is well."""
        if not 0 < self.step_s <= self.length_s:
            return "step_s", "must be above 0 and at most the length"
        if self.model != "handover" and self.delays_s:
            return "delays_s", "goes only with `handover`"
        if self.model != "handover" and len(self.rates_bps) < 2:
            return "rates_bps", "needs at least two rates"
        if self.model != "markov" and len(self.rates_bps) > 2:
            return "rates_bps", "must be two rates: the lowest and the highest"
        if any(not 0 < rate <= 1e13 for rate in self.rates_bps):
            return "rates_bps", "must be above 0 and at most 10tbit"
        if self.delays_s and (len(self.delays_s) != 2 or max(self.delays_s) > 3600):
            return "delays_s", "must be two times: the lowest and the highest, at most 1h"
        every_s = self.every
        if every_s <= (self.gap_s if self.model == "handover" else 0):
            return "every_s", "must be longer than the gap"
        if self.model == "handover" and self.gap_s <= 0:
            return "gap_s", "must be above 0"
        shortest = {"markov": every_s, "handover": every_s / 2}.get(self.model, self.step_s)
        if self.length_s / shortest > MAX_POINTS / 4:
            return "length_s", f"makes over {MAX_POINTS // 4:,} values: shorten it, or `loop` it"
        return None

    @property
    def every(self) -> float:
        """`every_s`, or what is usual."""
        usual = {"markov": 2.0, "handover": 15.0, "diurnal": 86_400.0}
        return usual.get(self.model, 1.0) if self.every_s is None else self.every_s


def generate(recipe: Recipe) -> Trace:
    """The trace of a recipe.

    Raises:
        ValueError: The recipe makes no sense; see `Recipe.problem`.
    """
    problem = recipe.problem()
    if problem is not None:
        raise ValueError(f"{problem[0]} {problem[1]}")
    times: array[float] = array("d")
    columns: dict[str, array[float]] = {}
    for time, values in _MODELS[recipe.model](recipe, Chance(recipe.seed)):
        if time >= recipe.length_s or len(times) >= MAX_POINTS:
            break
        if times and time <= times[-1]:
            continue
        times.append(time)
        for name, value in values.items():
            columns.setdefault(name, array("d")).append(value)
    return Trace(times, columns, recipe.length_s)


class Chance:
    """Pseudo-random numbers: SplitMix64, whose results are the same wherever it runs.

    Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
    Python's own and numpy's distributions may change with their versions.
    """

    _MASK = (1 << 64) - 1

    def __init__(self, seed: int) -> None:
        self._state = seed & self._MASK

    def even(self) -> float:
        """From 0 up to 1, all alike."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & self._MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & self._MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & self._MASK
        return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)

    def between(self, least: float, most: float) -> float:
        """Any from one to the other, all alike."""
        return least + (most - least) * self.even()

    def stay(self, mean: float) -> float:
        """How long until something happens that may at any time: exponential."""
        return -mean * math.log(1.0 - self.even())

    def normal(self) -> float:
        """Mean 0, standard deviation 1."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.even()))
        return radius * math.cos(2 * math.pi * self.even())


def _markov(recipe: Recipe, chance: Chance) -> Iterator[Point]:
    """From a level to one beside it, both alike: links don't leap from best to worst."""
    levels = sorted(recipe.rates_bps)
    place, time = int(chance.even() * len(levels)), 0.0
    while True:
        yield time, {"rate_bps": levels[place]}
        time += max(recipe.every / 1000, chance.stay(recipe.every))
        up = chance.even() < 0.5
        place += 1 if (up or place == 0) and place < len(levels) - 1 else -1


def _random_walk(recipe: Recipe, chance: Chance) -> Iterator[Point]:
    """In shares of itself, thrown back at both ends."""
    low, high = (math.log(rate) for rate in sorted(recipe.rates_bps))
    now, count = (low + high) / 2, 0
    while True:
        yield count * recipe.step_s, {"rate_bps": math.exp(now)}
        now += chance.normal() * recipe.change
        now = 2 * low - now if now < low else 2 * high - now if now > high else now
        now, count = min(max(now, low), high), count + 1


def _handover(recipe: Recipe, chance: Chance) -> Iterator[Point]:
    """As satellites do: at fixed moments, another path each time."""
    time, number = 0.0, 0
    while True:
        values = {"up": 1.0}
        if recipe.rates_bps:
            values["rate_bps"] = chance.between(min(recipe.rates_bps), max(recipe.rates_bps))
        if recipe.delays_s:
            values["delay_s"] = chance.between(*sorted(recipe.delays_s))
        yield time, values
        number += 1
        time = number * recipe.every
        yield time, {**values, "up": 0.0}
        time += recipe.gap_s


def _diurnal(recipe: Recipe, chance: Chance) -> Iterator[Point]:
    """Highest at moment 0: people sleep."""
    low, high = sorted(recipe.rates_bps)
    count = 0
    while True:
        time = count * recipe.step_s
        share = (1 + math.cos(2 * math.pi * time / recipe.every)) / 2
        rate = (low + (high - low) * share) * (1 + chance.normal() * recipe.change)
        yield time, {"rate_bps": min(max(rate, low), high)}
        count += 1


_MODELS: dict[str, Callable[[Recipe, Chance], Iterator[Point]]] = {
    "markov": _markov, "random-walk": _random_walk, "handover": _handover, "diurnal": _diurnal,
}  # fmt: skip
