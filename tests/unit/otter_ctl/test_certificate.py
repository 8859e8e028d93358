"""A certificate in words, and the tolerances that its reader asks for."""

from __future__ import annotations

import click
import pytest

from otter_agent import api
from otter_ctl.cli.certificate import Tolerance, show


@pytest.mark.parametrize(
    ("text", "absolute", "relative"),
    [
        ("delay=1ms", 0.001, 0.0),
        ("delay=1ms,5%", 0.001, 0.05),
        ("rate=1mbit", 1e6, 0.0),
        ("loss=1%", 0.01, 0.0),
        ("loss-burst=0.5", 0.5, 0.0),
        ("loss-burst=10%", 0.0, 0.1),
        ("cpu=20%", 0.0, 0.2),
    ],
)
def test_tolerances(text, absolute, relative):
    name, found = Tolerance().convert(text, None, None)
    assert name == text.partition("=")[0]
    assert (found.absolute, found.relative) == (absolute, relative)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("delay", "not PROPERTY=VALUE"),
        ("colour=1ms", "no tolerance 'colour'; there are: delay, jitter"),
        ("delay=1", "a unit is missing"),
        ("loss-burst=nan", "'nan' is not a number"),
        ("loss-burst=1mbit", "'1mbit' is not a number"),
    ],
)
def test_what_is_no_tolerance(text, said):
    with pytest.raises(click.BadParameter) as refused:
        Tolerance().convert(text, None, None)
    assert said in refused.value.message


def test_every_value_has_its_unit(capsys):
    values = {"delay": 0.02, "loss": 0.005, "rate": 2e7, "burst": 1540.4}
    rows = [
        api.VerifyRow(
            link="radio",
            from_="a",
            to="b",
            property=name,
            asked=None,
            measured=value,
            error=None,
            ok=True,
        )
        for name, value in values.items()
    ]
    show(rows)
    shown = [line.split()[5] for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == ["20ms", "0.5%", "20mbit", "1540B"]
