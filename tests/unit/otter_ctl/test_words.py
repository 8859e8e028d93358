"""`${address:edge}` and `${self:name}` in commands and variables."""

from __future__ import annotations

import pytest

from otter_ctl.errors import TopologyErrors
from otter_ctl.planning.resolve import plan
from otter_ctl.topology import load

BASE = """
name = "words"
[hosts.edge]
[hosts.phone]
[modules.client]
image = "x"
host = "phone"
count = 2
command = ["run", "--id", "${self:name}", "--to=${address:server}:80", "${HOME}", "$${x}"]
env = { BIND = "${self:address}", ON = "${self:host}", GATE = "${address:edge}", PLAIN = "a:b" }
ready = { command = ["ask", "${address:server}"] }
[modules.server]
image = "x"
host = "edge"
"""


def planned(tmp_path, text):
    (tmp_path / "t.toml").write_text(text)
    topology = load(tmp_path / "t.toml")
    spec = plan(topology, current=None, runtime_default="docker", blobs={}, run="r").spec
    return {module.name: module for module in spec.modules}, spec.names


def test_words_are_filled_per_instance(tmp_path):
    modules, names = planned(tmp_path, BASE)
    second, server = modules["client-2"], names["server"]
    assert second.command == ("run", "--id", "client-2", f"--to={server}:80", "${HOME}", "$${x}")
    assert second.env == {
        "BIND": second.address, "ON": "phone", "GATE": names["edge"], "PLAIN": "a:b",
    }  # fmt: skip
    assert second.ready.command == ("ask", server)
    assert modules["client-1"].env["BIND"] != second.address


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("${address:server}:80", "${address:serve}", r"command: .*`serve`.* did you mean `server`"),
        ("${address:edge}", "${address:}", r"env\.GATE: no module or host"),
        ("${self:host}", "${self:user}", r"env\.ON: a module has no `user`.*name, host, address"),
        ('["ask", "${address:server}"]', '["${address:client}"]', r"ready\.command: .*`client`"),
    ],
)
def test_words_that_name_nothing(tmp_path, old, new, said):
    with pytest.raises(TopologyErrors, match=said) as caught:
        planned(tmp_path, BASE.replace(old, new))
    assert f"t.toml:{BASE[: BASE.index(old)].count(chr(10)) + 1}: " in str(caught.value)


def test_defaults_have_words_too(tmp_path):
    head, rest = BASE.split("[hosts.edge]", 1)
    defaults = '[defaults.module]\nenv = { WHO = "${self:name}", AT = "${address:nowhere}" }\n'
    with pytest.raises(TopologyErrors, match="`nowhere`"):
        planned(tmp_path, f"{head}{defaults}[hosts.edge]{rest}")
    good = defaults.replace("nowhere", "server")
    modules, _ = planned(tmp_path, f"{head}{good}[hosts.edge]{rest}")
    assert modules["client-1"].env["WHO"] == "client-1"
    assert modules["server"].env["AT"] == modules["server"].address
