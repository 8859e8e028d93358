"""A machine that shows no host key keeps nobody waiting."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest

from otter_ctl.errors import MachineUnreachable
from otter_ctl.machine import hostkey
from otter_ctl.topology.model import Machine


async def test_one_that_never_answers_is_given_up(monkeypatch):
    async def never(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncssh, "get_server_host_key", never)
    monkeypatch.setattr(hostkey, "ANSWER_S", 0.01)
    async with asyncio.timeout(5):
        with pytest.raises(MachineUnreachable, match=r"gives no answer in 0.01 s"):
            await hostkey.accept(Machine(name="pi", ssh="pi.invalid"), "SHA256:x")


async def test_a_configuration_that_makes_no_sense_is_one_line(tmp_path):
    (tmp_path / "config").write_text("Port many\n")
    machine = Machine(name="pi", ssh="pi.invalid", ssh_config=str(tmp_path / "config"))
    with pytest.raises(MachineUnreachable, match=r"can't be reached by SSH"):
        await hostkey.accept(machine, "SHA256:x")
