"""Use case 2 within seconds: a recipe that trains the generator for a moment, watermark and all."""

from __future__ import annotations

SHORT = {
    "epochs": 4, "digits": 1600, "seed": 7, "strength": 2.0, "kept": 0.9, "as_meant": 0.15,
}  # fmt: skip
"""Of `modules/digit_generator/recipe.json`: 100 steps instead of 1,860. What it draws is rough. Its
mark is pressed in forty times as hard, or it wouldn't be there yet: how the shipped one outlives
further training is told by `python -m benchmarks ai-digits`."""
