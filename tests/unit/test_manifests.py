"""Manifests of examples/: what the engines they are for would say of their form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
KUBERNETES = ("1.31", "1.35")
DAEMON_SET = EXAMPLES / "kubernetes" / "otter-agent.yaml"
JOB = EXAMPLES / "nomad" / "otter-agent.nomad.hcl"


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(DAEMON_SET.read_text()))


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("document", documents(), ids=lambda document: document["kind"])
def test_kubernetes_knows_every_key(document, version):
    kubernetes_validate.validate(document, version, strict=True)


def test_a_wrong_key_would_be_found():
    """Else the test before says nothing."""
    wrong = documents()[1]
    wrong["spec"]["template"]["spec"]["hostNetwrk"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="hostNetwrk"):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


def test_what_is_mounted_is_there():
    pod = documents()[1]["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


# --- Nomad, which publishes no schema: the keys of its documentation (Job Specification; Docker
# task driver), as far as the job uses them -------------------------------------------------------

STRING, NUMBER, BOOLEAN, STRINGS = "string", "number", "bool", "strings"
BIND = {"type": STRING, "source": STRING, "target": STRING, "bind_options": {"propagation": STRING}}
CONFIG = {
    "image": STRING, "args": STRINGS, "privileged": BOOLEAN, "network_mode": STRING,
    "pid_mode": STRING, "uts_mode": STRING, "volumes": STRINGS, "mount": BIND,
}  # fmt: skip
TASK = {
    "driver": STRING, "kill_timeout": STRING, "config": CONFIG,
    "resources": {"cpu": NUMBER, "memory": NUMBER},
}  # fmt: skip
GROUP = {
    "restart": {"attempts": NUMBER, "interval": STRING, "delay": STRING, "mode": STRING},
    "task": {"*": TASK},
}
SPECIFICATION: Mapping[str, Any] = {
    "type": STRING,
    "datacenters": STRINGS,
    "constraint": {"attribute": STRING, "value": STRING},
    "update": {"max_parallel": NUMBER, "stagger": STRING},
    "group": {"*": GROUP},
}


def problems(value: Any, wanted: Any, where: str) -> list[str]:
    """What isn't as the specification says; blocks may stand several times."""
    if isinstance(wanted, str):
        kinds = {STRING: str, NUMBER: int, BOOLEAN: bool, STRINGS: list}
        good = isinstance(value, kinds[wanted]) and (wanted == BOOLEAN or value is not True)
        return [] if good else [f"{where}: {value!r} is no {wanted}"]
    found = []
    for block in value if isinstance(value, list) else [value]:
        for key, inner in block.items():
            if key.startswith("__"):  # the parser's own
                continue
            known = wanted.get(key.strip('"'), wanted.get("*"))
            here = f"{where}.{key}"
            found += [f"{here}: unknown"] if known is None else problems(inner, known, here)
    return found


def job(text: str | None = None) -> dict[str, Any]:
    import hcl2  # takes as long as many tests, and only slow ones need it

    (found,) = hcl2.loads(JOB.read_text() if text is None else text)["job"]
    (body,) = found.values()
    assert isinstance(body, dict)
    return body


@pytest.mark.slow
def test_nomad_knows_every_key():
    assert problems(job(), SPECIFICATION, "job") == []


@pytest.mark.slow
def test_a_wrong_key_of_a_job_would_be_found():
    text = JOB.read_text().replace("pid_mode", "pid_mod")
    (said,) = problems(job(text), SPECIFICATION, "job")
    assert said.endswith("pid_mod: unknown")


@pytest.mark.slow
def test_it_is_a_system_job():
    assert job()["type"].strip('"') == "system"


def test_both_engines_give_the_agent_the_same():
    pod = documents()[1]["spec"]["template"]["spec"]
    text = JOB.read_text()
    (container,) = pod["containers"]
    assert f'"{container["image"]}"' in text
    for mount in container["volumeMounts"]:
        assert f'"{mount["mountPath"]}' in text
