"""Scripts that are sent to machines are what a shell takes, with systemd and without."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from otter_ctl.machine import steps
from otter_ctl.machine.facts import Facts, Python, parse

PYTHON = Python("/usr/bin/python3", (3, 11, 2), "linux-x86_64", venv=True)


def facts(**changes: object) -> Facts:
    found = parse("user=al ice\nuid=1000\nsystem=Linux\nend=yes\n")
    assert found is not None
    return replace(found, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("systemd", [True, False])
def test_all_scripts_are_shell(systemd: bool) -> None:
    own = facts(systemd=systemd)
    done = steps.install(own, PYTHON, "1.0-abc", "it's", "/tmp/staged", "pip-1.whl")
    done += [*steps.back(own, "0.9-def", "pi"), *steps.remove(own)]
    done += [steps.docker(), steps.clean("1.0-abc")]
    for step in done:
        subprocess.run(["sh", "-n"], input=step.script, text=True, check=True)
        assert step.root
        assert step.title


def test_whoever_logs_in_gets_into_the_group_quoted_and_root_needs_none() -> None:
    [step] = steps.group(facts())
    assert "usermod -a -G otter 'al ice'" in step.script
    assert "al ice" in step.title
    assert "usermod" not in steps.group(facts(uid=0))[0].script


@pytest.mark.parametrize("name", ["probe.sh", "otter-agent.init"])
def test_files_beside_are_shell(name: str) -> None:
    subprocess.run(["sh", "-n"], input=steps.data(name), text=True, check=True)
