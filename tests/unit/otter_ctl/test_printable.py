"""What others wrote reaches a terminal as text, never as orders to it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from otter_ctl.cli import doctor, machine
from otter_ctl.cli import plan as plan_verb
from otter_ctl.cli.carrying import Manner, carry_out
from otter_ctl.errors import TopologyErrors
from otter_ctl.machine.checks import Check
from otter_ctl.machine.installing import Work
from otter_ctl.machine.steps import Step
from otter_ctl.planning.diff import diff
from otter_ctl.planning.resolve import plan
from otter_ctl.printable import printable, printable_lines
from otter_ctl.topology import load

ORDERS = "\x1b[31mred\x07\u202e\r\x9b2J"


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("plain é 漢", 20, "plain é 漢"),
        ("\x1b[2J\n\u202ex", 20, "\\x1b[2J\\n\\u202ex"),
        ("abcdef", 3, "abc…"),
        ("abc", 3, "abc"),
        ("\ud800", 3, "\\ud800"),
        ("", 0, ""),
    ],
)
def test_texts(text, limit, shown):
    assert printable(text, limit) == shown


def test_lines_stay_lines():
    assert printable_lines("a\x1b\n\nb\x00") == "a\\x1b\n\nb\\x00"


def test_paths_in_problems(tmp_path):
    path = tmp_path / f"x{ORDERS}.toml"
    path.write_text("bogus = 1\n")
    with pytest.raises(TopologyErrors) as caught:
        load(path)
    assert all(str(error).isprintable() for error in caught.value)
    assert caught.value.errors[0].path == str(path)


def test_values_in_a_plan(read):
    topology = read(
        'name = "m"\n[hosts.a]\n[modules.b]\nruntime = "process"\n'
        'command = ["\\u001b[31m", "\\u202e"]\nenv = { A = "\\u001b[31mred\\u0007" }\n'
    )
    spec = plan(topology, current=None, runtime_default="fake", blobs={}, run="r").spec
    (module,) = (change for change in diff(None, spec) if change.subject == "module")
    told = click.unstyle("\n".join(plan_verb._change_lines(module)))
    assert "env.A = \\x1b[31mred\\x07" in told
    assert told.replace("\n", "").isprintable()


def test_errors_at_the_end_of_a_verb(tmp_path):
    from otter_ctl.__main__ import explain

    runner = CliRunner()
    with runner.isolation() as streams:
        assert explain(OSError(2, "No such file", f"/x{ORDERS}")) == 1
        told = streams[1].getvalue().decode()
    assert told == "otterctl: /x\\x1b[31mred\\x07\\u202e\\r\\x9b2J: No such file\n"


def test_what_is_found_on_a_machine_and_done_there(capsys):
    doctor._show([doctor.Check(ORDERS, False, ORDERS, ORDERS)])
    machine._show([Check(ORDERS, False, ORDERS, ORDERS)])
    facts = SimpleNamespace(user=ORDERS, root="sudo")
    work = Work(facts, [Step(ORDERS, "", root=False)], notes=[ORDERS])
    manner = Manner(yes=True, dry_run=True, as_json=False)
    assert not asyncio.run(carry_out(None, work, "add it", manner))
    told = "".join(capsys.readouterr())
    assert told.count("red\\x07\\u202e\\r\\x9b2J") == 9
    assert told.replace("\n", "").isprintable()
