"""What may be asked of hosts and modules by hand: everything else is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from otter_agent import api
from otter_agent.budgets.asking import MOST_CHANGES, resolve
from otter_agent.budgets.subjects import Subject
from otter_agent.errors import AgentError

PHONE, EDGE, ASR = Subject("host", "phone"), Subject("host", "edge"), Subject("module", "asr")
KNOWN = (PHONE, EDGE, ASR)


def ask(kind: Any, name: str, **more: Any) -> api.BudgetChange:
    return api.BudgetChange(kind=kind, name=name, **more)


def test_names_and_globs_are_looked_up_by_kind():
    changes = [ask("host", "*", set={"cpu": 1}), ask("module", "asr", set={"memory_bytes": None})]
    hosts, modules = resolve(changes, KNOWN, "m")
    assert (hosts.of, hosts.change.values) == ((PHONE, EDGE), {"cpu": 1.0})
    assert (modules.of, modules.change.values) == ((ASR,), {"memory_bytes": None})


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (ask("module", "phone", set={"cpu": 1}), "not-found", "no module 'phone'"),
        (ask("host", "x" * 1000), "not-found", "no host"),
        (ask("host", "phone", set={"cpu": 0}), "bad-request", "0 cores"),
        (ask("host", "phone", set={"cpu": -1}), "bad-request", "-1 cores"),
        (ask("host", "phone", set={"cpu": 1e9}), "bad-request", "1e+09 cores"),
        (ask("host", "phone", set={"cpu": float("nan")}), "bad-request", "must be a number"),
        (ask("host", "phone", set={"cpu": True}), "bad-request", "must be a number"),
        (ask("host", "phone", set={"cpu": 10**400}), "bad-request", "must be a number"),
        (ask("host", "phone", set={"memory_bytes": 10**400}), "bad-request", "must be a number"),
        (ask("host", "phone", set={"cpu": "1"}), "bad-request", "must be a number"),
        (ask("host", "phone", set={"memory_bytes": 0}), "bad-request", "0 bytes"),
        (ask("host", "phone", set={"memory_bytes": 1 << 62}), "bad-request", "bytes of memory"),
        (ask("host", "phone", set={"memory_bytes": 1.5}), "bad-request", "must be a number"),
        (ask("host", "phone", set={"gpu": 1}), "bad-request", "no budget of 'gpu'"),
        (ask("module", "asr", set={"speed": 0.5}), "bad-request", "no budget of 'speed'"),
        (ask("host", "phone", set={"speed": 0}), "bad-request", "a speed of 0"),
        (ask("host", "phone", set={"read_iops": 1.5}), "bad-request", "must be a number"),
        (ask("host", "phone", set={"write_bytes_per_s": 0}), "bad-request", "at least 1"),
        (ask("host", "phone", set={"in_bps": 1}), "bad-request", "from 8bit to 10tbit"),
        (ask("host", "phone", for_s=0.0), "bad-request", "no time after which"),
        (ask("host", "phone", for_s=float("nan")), "bad-request", "no time after which"),
    ],
)
def test_what_makes_no_sense_is_refused(change: api.BudgetChange, code: str, said: str):
    with pytest.raises(AgentError, match=said.replace("+", r"\+")) as error:
        resolve([change], KNOWN, "m")
    assert error.value.code == code


def test_requests_are_bounded():
    with pytest.raises(AgentError, match="at most"):
        resolve([ask("host", "phone")] * (MOST_CHANGES + 1), KNOWN, "m")
    many = [Subject("host", f"h{n}") for n in range(1000)]
    with pytest.raises(AgentError, match=r"more than 20000 hosts"):  # before the rest is looked up
        resolve([*[ask("host", "*")] * 50, ask("host", "nobody")], many, "m")
    with pytest.raises(AgentError, match="globs"):
        resolve([ask("host", f"h{n}?") for n in range(101)], many, "m")
