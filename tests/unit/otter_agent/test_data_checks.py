"""The agent's configuration, and what of a spec is refused before anything is looked at."""

from __future__ import annotations

import msgspec
import pytest

from otter_agent import api, beneath
from otter_agent.config import read
from otter_agent.errors import AgentError
from otter_agent.runtimes.copies import check_allowed, plain
from otter_ctl.errors import PlanError
from otter_ctl.secrets import environment_of_agent, gather

HOST = api.HostSpec(name="h", address="100.64.0.1", block="100.64.0.0/24")


def spec(**fields):
    module = api.ModuleSpec(
        name="m", host="h", address="100.64.0.2", runtime="process", command=("x",), **fields
    )
    return api.MeshSpec(name="mesh", run="r", hosts=(HOST,), modules=(module,))


def test_no_configuration_allows_nothing(tmp_path):
    assert read(tmp_path / "agent.toml").mount_roots == ()


def test_configured_roots(tmp_path):
    (tmp_path / "agent.toml").write_text('mount_roots = ["/srv/a", "/srv/b"]')
    assert [str(path) for path in read(tmp_path / "agent.toml").mount_roots] == ["/srv/a", "/srv/b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mount_rots = []", "did you mean 'mount_roots'"),
        ('mount_roots = "/srv"', "must be a list of folders"),
        ('mount_roots = ["srv"]', "is not a plain absolute path"),
        ('mount_roots = ["/srv/../etc"]', "is not a plain absolute path"),
        ("mount_roots = [", "agent.toml"),
    ],
)
def test_configuration_that_says_nonsense(tmp_path, text, said):
    (tmp_path / "agent.toml").write_text(text)
    with pytest.raises(AgentError, match=r"agent\.toml") as caught:
        read(tmp_path / "agent.toml")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["/data", "/data/x"], "inside of another mount"),
        (["/b", "/a/b", "/a"], "inside of another mount"),
        (["/data", "/data"], "mounted twice"),
        (["/run"], "OTTER uses"),
        (["/etc"], "OTTER uses"),
        (["/run/secrets/x"], "OTTER uses"),
        (["/proc/x"], "OTTER uses"),
        (["/work"], "OTTER uses"),
        (["relative"], "not a plain path"),
        (["/a/../b"], "not a plain path"),
        (["/"], "not a plain path"),
    ],
)
def test_targets_that_can_not_be(targets, said):
    mounts = tuple(api.Mount(target=target, source="/srv") for target in targets)
    with pytest.raises(msgspec.ValidationError, match=said):
        api.check(spec(mounts=mounts))


def test_targets_that_can_be():
    targets = ("/data", "/data-2", "/work/in", "/etc/app", "/opt/a/b")
    api.check(spec(mounts=tuple(api.Mount(target=t, source="/srv") for t in targets)))


def test_a_walk_follows_no_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "leaf").symlink_to("file")
    for path in ("link/file", "real/leaf", "link", "real/../real", "real/file/x", "none"):
        with pytest.raises(OSError):
            beneath.open_beneath(tmp_path, path)


@pytest.mark.parametrize("path", ["/run/secrets", "/run/secrets/X", "../run/secrets/X"])
def test_secrets_are_never_copied(path):
    with pytest.raises(AgentError, match="not copied"):
        check_allowed(plain(path))


@pytest.mark.parametrize("path", ["/", "/run", "/run/"])
def test_nor_what_holds_them_as_a_whole(path):
    check_allowed(plain(path))
    with pytest.raises(AgentError, match="not copied"):
        check_allowed(plain(path), whole=True)


def test_relative_paths_are_below_the_work_folder():
    assert [plain(p) for p in ("a", ".", "/a", "../a", "/a/../b/")] == [
        "/work/a", "/work", "/a", "/a", "/b",
    ]  # fmt: skip


def test_values_come_from_the_caller():
    assert gather(spec(secrets=("A",)), {"A": "x", "B": "y"}) == {"A": "x"}
    for environ in ({}, {"A": ""}):
        with pytest.raises(PlanError, match="module m: secrets: A"):
            gather(spec(secrets=("A",)), environ)


def test_an_agent_that_is_started_inherits_no_tokens():
    given = {"PATH": "/bin", "HF_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "y", "OTTER_X": "z",
             "HF_HOME": "/h", "https_proxy": "p", "GITHUB_TOKEN": "t"}  # fmt: skip
    kept = {"PATH", "OTTER_X", "HF_HOME", "https_proxy"}
    assert environment_of_agent(given).keys() == kept


@pytest.mark.parametrize("digits", [70, 5000])
def test_numbers_that_nobody_can_count_with_are_refused(digits):
    """They would be written down, and overflow wherever they are made a float of."""
    large = 10**digits if digits < 100 else 1 << 4000
    with pytest.raises(msgspec.ValidationError, match="bytes of memory"):
        api.check(spec(memory_bytes=large))
    event = api.TimelineEvent(at_s=1.0, modules=("m",), change={"memory_bytes": large})
    timeline = api.TimelineSpec(events=(event,))
    with pytest.raises(msgspec.ValidationError, match="bytes of memory"):
        api.check(msgspec.structs.replace(spec(), timeline=timeline))
    host = msgspec.structs.replace(HOST, address="1" * digits + ".0.0.1")
    with pytest.raises(msgspec.ValidationError, match="not an IPv4 address"):
        api.check(msgspec.structs.replace(spec(), hosts=(host,)))


@pytest.mark.parametrize("away", [(), (api.Away(machine="m2", hosts=("far",)),)])
def test_routes_follow_links_only_to_hosts_of_which_is_known_where_they_are(away):
    """Working routes out would be an error of ours."""
    tunnel = api.Tunnel(host="far", local="10.0.0.1", remote="10.0.0.2", vni=1, key="0" * 32)
    link = api.Link(name="l", a="h", b="far", forward=None, reverse=None, tunnel=tunnel)
    part = msgspec.structs.replace(
        spec(), links=(link,), names={"far": "100.64.1.1"}, machine="m1", away=away
    )
    api.check(part)
    with pytest.raises(msgspec.ValidationError, match="routes can't follow link 'l'"):
        api.check(msgspec.structs.replace(part, routing="shortest"))
    told = (api.Away(machine="m2", hosts=("far",), blocks={"far": "100.64.1.0/24"}),)
    api.check(msgspec.structs.replace(part, routing="shortest", away=told))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"blocks": {"far": "100.64.1.0/24"}, "hosts": ()}, "it has no address"),
        ({"blocks": {"far": "100.64.1.0/33"}}, "100.64.1.0/33"),
        ({"blocks": {"far": "../x"}}, "not an IPv4 address"),
        ({"gateways": ("other",)}, "no such gateway"),
        ({"machine": "../x"}, "no machine's name"),
        ({"talk": api.Tunnel(host="m2", local="1.1.1.1", remote="1.1.1.1", vni=1, key="0" * 32)},
         "both ends at"),
        ({"talk": api.Tunnel(host="m2", local="1.1.1.1", remote="1.1.1.2", vni=0, key="0" * 32)},
         "no such tunnel"),
        ({"talk": api.Tunnel(host="m2", local="1.1.1.1", remote="1.1.1.2", vni=1, key="x")},
         "its key is none"),
    ],
)  # fmt: skip
def test_what_is_told_of_other_machines_makes_sense(other, why):
    """Names become those of namespaces, keys what nobody else knows."""
    away = api.Away(**{"machine": "m2", "hosts": ("far",), **other})
    with pytest.raises(msgspec.ValidationError, match=why):
        api.check(msgspec.structs.replace(spec(), names={"far": "100.64.1.1"}, away=(away,)))
