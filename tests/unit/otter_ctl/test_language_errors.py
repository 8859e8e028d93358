"""What is wrong with counts, globs, machines, mounts, …: the right line, key and reason."""

from __future__ import annotations

import os
import time

import pytest

TOP = 'name = "m"\n[hosts.a]\n[hosts.b]\n[hosts.client]\ncount = 3\n[hosts.server]\ncount = 2\n'
LINK = f'{TOP}[[links]]\nbetween = ["a", "b"]\n'
MODULE = f'{TOP}[modules.m1]\nbuild = "asr"\n'
STREAM = f'{MODULE}host = "client-*"\n[modules.m2]\nbuild = "asr"\nhost = "a"\n[[streams]]\n'
LONG = "n" * 300

CASES = [
    # counts
    (f"{TOP}[hosts.x]\ncount = 0 # <-\n", "hosts.x.count", "must be between 1 and 10000"),
    (f"{TOP}[hosts.x]\ncount = 10001 # <-\n", "hosts.x.count", "must be between 1 and 10000"),
    (f"{TOP}[hosts.x]\ncount = 2.5 # <-\n", "hosts.x.count", "must be an integer"),
    (f"{TOP}[hosts.x]\ncount = 9999 # <-\n", "hosts.x.count", "makes more than 10000 hosts"),
    (f"{TOP}[hosts.client-2]\n# <-", "hosts.client.count", "makes host `client-2`, which there"),
    (f"{TOP}[hosts.{'n' * 62}] # <-\ncount = 9\n", "hosts.", "is longer than 63 characters"),
    (f"{MODULE}count = 50001 # <-\n", "modules.m1.count", "must be between 1 and 50000"),
    # globs
    (f'{TOP}[[links]]\nbetween = ["clint-*", # <-\n"a"]\n', "links.", "mean `client-*`?"),
    (f'{TOP}[[links]]\nbetween = ["client", # <-\n"a"]\n', "links.", "unknown host `client`"),
    (f'{TOP}[[links]]\nfrom = "a"\nto = "z*" # <-\n', "links.", "`z*` matches no host"),
    (f'{TOP}[[links]]\nbetween = ["a",\n"{"*" * 300}"] # <-\n', "links.", "longer than 255"),
    (f'{TOP}[[links]]\nbetween = ["../*", # <-\n"a"]\n', "links.", "must be of a-z"),
    (f'{TOP}[[links]]\nbetween = ["a", "a*"] # <-\n', "links.", "joins host `a` with itself"),
    (
        f'{TOP}[[links]] # <-\nbetween = ["client-*", "server-*"]\npair = "index"\n',
        "links.", "3 and",
    ),
    (f'{TOP}[[links]]\nbetween = ["client-*", "a"]\npair = "no" # <-\n', "links.", "one of index,"),
    (f'{LINK}pair = "all" # <-\n', "links.a-b.pair", "goes only with globs"),
    (
        f'{TOP}[[links]]\nbetween = ["client-*", "a"]\n'
        '[[links]] # <-\nbetween = ["client-1", "a"]\n',
        "links.client-1-a", "there are two links called `client-1-a`",
    ),
    (f'{MODULE}host = "z*" # <-\n', "modules.m1.host", "`z*` matches no host"),
    (f'{MODULE}host = "client" # <-\n', "modules.m1.host", "unknown host `client`"),
    (
        f'{MODULE}host = "client-*"\ncount = 2 # <-\n', "modules.m1.count",
        "2 and `client-*` don't pair: that matches 3 hosts",
    ),
    (
        f'{MODULE}count = 2\n[modules.m1-2]\nbuild = "asr"\n# <-',
        "modules.m1", "makes module `m1-2`",
    ),
    (f'{TOP}[modules.client] # <-\nbuild = "asr"\ncount = 2\n', "modules.client", "of a host too"),
    (
        f'{TOP}[modules.{"n" * 60}] # <-\nbuild = "asr"\nhost = "client-*"\n', "modules.",
        "is longer than 63 characters",
    ),
    (
        f'{TOP}[hosts.tiny]\ncpu = 1\n[modules.m1]\nbuild = "asr"\nhost = "*"\ncpu = 2 # <-\n',
        "modules.m1.cpu", "2 is more than the 1 of host `tiny`",
    ),
    (f'{STREAM}from = "m1.x" # <-\nto = "m2.y"\n', "streams.", "unknown module `m1`"),
    (f'{STREAM}from = "m3-*.x" # <-\nto = "m2.y"\n', "streams.", "`m3-*` matches no module"),
    (f'{STREAM}from = "m1-*.*" # <-\nto = "m2.y"\n', "streams.", "must be of a-z"),
    (f'{STREAM}from = "m2.x"\nto = "m2.y"\npair = "all" # <-\n', "streams.", "only with globs"),
    (
        f'{STREAM}from = "m1-*.x"\nto = "m2.y"\ntransport = "shm" # <-\n', "streams.",
        "shm joins modules of one host: `m1-client-1` and `m2` are on two",
    ),
    # profiles
    (
        f'{TOP}[hosts.x]\nprofile = "rasberry-pi-5" # <-\n',
        "hosts.x.profile", "mean `raspberry-pi-5`",
    ),
    (f'{LINK}profile = "6g" # <-\n', "links.a-b.profile", "unknown profile `6g`"),
    (f'{LINK}reverse = {{ profile = "6g" }} # <-\n', "links.a-b.reverse.profile", "unknown prof"),
    (
        f'{TOP}[[links]] # <-\nbetween = ["a", "b"]\nprofile = "starlink"\ndelay = "1ms"\n',
        "links.a-b", "`jitter` must not be above the delay",
    ),
    # machines
    (f'{TOP}[hosts.x]\nmachine = "locl" # <-\n', "hosts.x.machine", "did you mean `local`?"),
    (
        f'{TOP}[hosts.x]\non = {{ label = "gpu" }} # <-\n',
        "hosts.x.on.label", "no machine has `gpu`",
    ),
    (f"{TOP}[hosts.x]\non = {{}} # <-\n", "hosts.x.on", "must say `arch` or `label`"),
    (f'{TOP}[hosts.x]\non = {{ arch = "mips" }} # <-\n', "hosts.x.on.arch", "not one of arm64,"),
    (
        f'{TOP}[hosts.x]\nmachine = "local"\non = {{ arch = "arm64" }} # <-\n', "hosts.x.on",
        "goes not together with `machine`",
    ),
    (f"{TOP}[hosts.x]\nwhole = true # <-\n", "hosts.x.whole", "needs a `machine`"),
    (
        f'{TOP}[hosts.x]\nmachine = "local"\nwhole = true\ncpu = 1 # <-\n', "hosts.x.cpu",
        "goes not together with `whole`",
    ),
    (
        f'{TOP}[hosts.x]\nmachine = "local"\nwhole = true\ncount = 2 # <-\n', "hosts.x.count",
        "machine `local` can't be 2 hosts",
    ),
    (
        f'{TOP}[hosts.x]\nmachine = "local"\nwhole = true\n'
        '[hosts.y]\nmachine = "local"\nwhole = true # <-\n',
        "hosts.y.whole", "machine `local` is host `x` already",
    ),
    (f'{TOP}[machines.x]\nssh = "-oProxyCommand=x" # <-\n', "machines.x.ssh", 'as "user@host"'),
    (f'{TOP}[machines.x]\nssh_config = "c" # <-\n', "machines.x.ssh_config", "can't bring an SSH"),
    (f'{TOP}[machines.x]\ndocker = "c" # <-\n', "machines.x.docker", "can't name a container of"),
    (f'{TOP}[machines.x]\nlabels = ["a b"] # <-\n', "machines.x.labels[0]", "must be of letters"),
    (f'{TOP}[machines.x]\ndata = "a/b" # <-\n', "machines.x.data", "an IPv4 address or an interf"),
    (f'{TOP}[machines.x]\nshh = "y" # <-\n', "machines.x.shh", "did you mean `ssh`?"),
    # network, gpu, io
    (f'{TOP}[network]\npool = "10.0.0.1/8" # <-\n', "network.pool", "has host bits set"),
    (f'{TOP}[network]\npool = "8.0.0.0/8" # <-\n', "network.pool", "is not private"),
    (f'{TOP}[network]\npool = "10.0.0.0/25" # <-\n', "network.pool", "between a /8 and a /24"),
    (f'{TOP}[network]\npool = "fe80::/64" # <-\n', "network.pool", "is not an IPv4 network"),
    (f'{TOP}[network]\npool = "127.0.0.0/8" # <-\n', "network.pool", "can't be routed"),
    (f"{TOP}[hosts.x]\ngpu = {{}} # <-\n", "hosts.x.gpu", "must say `count`, `memory` or `share`"),
    (f'{TOP}[hosts.x]\ngpu = {{ share = "101%" }} # <-\n', "hosts.x.gpu.share", "over the limit"),
    (f'{TOP}[hosts.x]\ngpu = {{ share = "0%" }} # <-\n', "hosts.x.gpu.share", "at least 0.1%"),
    (f"{TOP}[hosts.x]\nio = {{}} # <-\n", "hosts.x.io", "must say `read`"),
    (f'{TOP}[hosts.x]\nio = {{ read = "5mbit" }} # <-\n', "hosts.x.io.read", "is not a size"),
    (f"{TOP}[hosts.x]\nspeed = 0 # <-\n", "hosts.x.speed", "must be between 0.001 and 1000"),
    # what is outside
    (f'{MODULE}mounts."/d".from = "data" # <-\n', "modules.m1.mounts", "must be absolute"),
    (f'{MODULE}mounts."/d".from = "/a/../b" # <-\n', "modules.m1.mounts", "without `..`"),
    (f'{MODULE}mounts."/d".from = "/" # <-\n', "modules.m1.mounts", "the whole file system"),
    (f'{MODULE}mounts."d".from = "/x" # <-\n', "modules.m1.mounts.d", "a path inside the module"),
    (f'{MODULE}mounts."/proc/1".from = "/x" # <-\n', "modules.m1.mounts", "OTTER uses `/proc`"),
    (f'{MODULE}mounts."/run".from = "/x" # <-\n', "modules.m1.mounts", "is not free"),
    (f'{MODULE}mounts."/d" = {{}} # <-\n', "modules.m1.mounts", "missing key `from` or `volume`"),
    (
        f'{MODULE}mounts."/d" = {{ from = "/x", volume = "v" }} # <-\n', "modules.m1.mounts",
        "goes not together with `from`",
    ),
    (f'{MODULE}mounts."/d".volume = "../v" # <-\n', "modules.m1.mounts", "must be of a-z"),
    (
        f'{MODULE}mounts."/d".volume = "v"\nmounts."/d/e".volume = "w" # <-\n',
        "modules.m1.mounts", "`/d/e` overlaps with `/d`",
    ),
    (
        f'{MODULE}mounts."/d".volume = "v"\nmounts."//d/".volume = "w" # <-\n',
        "modules.m1.mounts", "`/d` is mounted twice",
    ),
    (f'{MODULE}mounts = ["/d"] # <-\n', "modules.m1.mounts", "must be a table, not an array"),
    (f'{MODULE}devices = ["/etc/passwd"] # <-\n', "modules.m1.devices[0]", "a device file"),
    (f'{MODULE}devices = ["/dev/../x"] # <-\n', "modules.m1.devices[0]", "without `..`"),
    (f'{MODULE}secrets = ["A B"] # <-\n', "modules.m1.secrets[0]", "is not a variable's name"),
    (f'{MODULE}secrets = ["OTTER_X"] # <-\n', "modules.m1.secrets[0]", "of OTTER's own"),
    (
        f'{MODULE}env.TOKEN = "x"\nsecrets = ["TOKEN"] # <-\n', "modules.m1.secrets",
        "`TOKEN` is in `env` too",
    ),
    (f'{MODULE}publish = {{ port = 0 }} # <-\n', "modules.m1.publish.port", "between 1 and 65535"),
    (
        f'{MODULE}publish = {{ port = 1, at = "z" }} # <-\n',
        "modules.m1.publish", "unknown host `z`",
    ),
    (
        f'{MODULE}publish = {{ port = 1, listen = "::" }} # <-\n', "modules.m1.publish.listen",
        "is not an IPv4 address",
    ),
    (
        f'{MODULE}publish = [{{ port = 80 }}, {{ port = 81, as = 80 }}] # <-\n',
        "modules.m1.publish", "tcp port 80 is published by module `m1` already",
    ),
    (
        f'{MODULE}publish = {{ port = 80 }}\n[modules.m2]\nbuild = "asr"\n'
        'publish = { port = 80, listen = "0.0.0.0" } # <-\n',
        "modules.m2.publish", "tcp port 80 is published by module `m1` already",
    ),
    (
        f'{MODULE}count = 2\npublish = {{ port = 80 }} # <-\n', "modules.m1.publish",
        "tcp port 80 is published by module `m1-1` already",
    ),
    # hostile names
    (f'{TOP}[hosts."../x"] # <-\n', "hosts.", "must be of a-z"),
    (f'{TOP}[hosts."\U0001f9a6"] # <-\n', "hosts.", "must be of a-z"),
    (f"{TOP}[modules.{LONG}] # <-\nbuild = 'asr'\n", "modules.", "is longer than 63 characters"),
    (f"{TOP}[modules.'../x'] # <-\nbuild = 'asr'\n", "modules.", "must be of a-z"),
    (f'{TOP}[modules."a\u200bb"] # <-\nbuild = "asr"\n', "modules.", "must be of a-z"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "reason"), CASES, ids=range(len(CASES)))
def test_one_problem(one_problem, text, key, reason):
    one_problem(text, key.split('"')[0], reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[hosts.x]\ncount = 9990\n" + '[[links]] # <-\nbetween = ["x-*", "x-*"]\n',
            "9990 with 9990 make more than 100000 pairs",
        ),
        (
            '[modules.m]\nbuild = "asr"\ncount = 20000\n'
            '[[streams]] # <-\nfrom = "m-*.a"\nto = "m-*.b"\n',
            "20000 with 20000 make more than 100000 pairs",
        ),
    ],
)
def test_huge_expansions_are_refused_at_once(problems, text, said):
    started = time.process_time()
    (error,) = problems(TOP.replace("count = 3", "count = 1") + text)
    assert said in error.reason
    assert time.process_time() - started < 2


@pytest.mark.slow
def test_links_that_add_up_to_too_many(problems):
    text = 'name = "m"\n[hosts.a]\n[hosts.x]\ncount = 9999\n'
    text += "".join(f'[[links]]\nname = "l{i}"\nbetween = ["x-*", "a"]\n' for i in range(11))
    (error,) = problems(text)
    assert error.key == "links.l10"
    assert "make more than" in error.reason


@pytest.mark.slow
def test_very_many_different_globs(problems):
    text = 'name = "m"\n[hosts.a]\n[hosts.x]\ncount = 9999\n'
    text += "".join(f'[[links]]\nbetween = ["*{i}*", "a"]\n' for i in range(1500))
    started = time.process_time()
    found = problems(text)
    assert "there are over 1000 different globs in this file" in {e.reason for e in found}
    assert time.process_time() - started < 10


@pytest.mark.slow
def test_near_misses_among_thousands(problems):
    text = 'name = "m"\n[hosts.a]\n[hosts.client]\ncount = 5000\n'
    (error,) = problems(f'{text}[[links]]\nbetween = ["clinet-17", "a"]\n')
    assert "unknown host `clinet-17`, did you mean `client-17" in error.reason


def test_the_users_own_site_file(problems, tmp_path, monkeypatch):
    """A host's machine may come from it; what is wrong with it is told with its own lines."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "otter").mkdir(parents=True)
    site = tmp_path / "config" / "otter" / "site.toml"
    site.write_text('[machines.gpu-box]\nssh = "me@gpu"\nlabels = ["gpu"]\n')
    good = f'{TOP}[hosts.x]\nmachine = "gpu-box"\n[hosts.y]\non = {{ label = "gpu" }}\n'
    assert problems(good) == []
    (error,) = problems(good.replace('"gpu-box"', '"gpu-bax"'))
    assert error.reason == "unknown machine `gpu-bax`, did you mean `gpu-box`?"
    site.write_text("[machines.gpu-box]\n\nshh = 3\nssh = 4\n")
    found = problems(good)
    assert [(e.path, e.line, e.key) for e in found] == [
        (str(site), 3, "machines.gpu-box.shh"),
        (str(site), 4, "machines.gpu-box.ssh"),
    ]
    assert problems(TOP) == []  # nobody asks for it
    os.unlink(site)
    (error, _) = problems(good)
    assert "unknown machine" in error.reason


@pytest.mark.parametrize(("name", "lab"), [("lab3", True), ("labrador", False)])
def test_a_lab_that_is_not_up_is_thought_of(problems, name, lab):
    (error,) = problems(f'{TOP}[hosts.x]\nmachine = "{name}"\n')
    assert f"add [machines.{name}] here or to your site file" in error.hint
    assert error.hint.endswith(", or `otterctl lab up 3`") is lab


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('ports = ["80:80"]', "unknown key `ports`, did you mean `publish`?"),
        ("environment = { A = 'b' }", "unknown key `environment`, did you mean `env`?"),
        ('volumes = ["/a:/b"]', "unknown key `volumes`, did you mean `mounts`?"),
        ('depends_on = ["x"]', "leave it out: streams and `ready` wait, whatever starts first"),
        ('publish = ["80:80"]', "its keys are port, as, at, listen, protocol"),
        ('secrets = "TOKEN"', 'must be an array, not a string; write ["TOKEN"]'),
        ('outputs = "a\\u001b"', "must be an array, not a string"),
    ],
)
def test_words_of_other_tools(problems, line, said):
    (error,) = problems(f'name = "m"\n[hosts.h]\n[modules.m]\nimage = "x"\n{line}\n')
    assert said in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[nodes.a]\n", "`nodes`, did you mean `hosts`?"),
        ("[services.a]\n", "`services`, did you mean `modules`?"),
        ('[[links]]\nbetween = ["h", "g"]\nlatency = "1ms"\n', "did you mean `delay`?"),
        ('[[links]]\nbetween = ["h", "g"]\nbandwidth = "1mbit"\n', "did you mean `rate`?"),
        ('[machines.x]\nhostname = "x.lan"\n', "did you mean `ssh`?"),
        ('[modules.m]\nimage = "x"\nanti_affinity = "n"\n', "did you mean `apart`?"),
    ],
)
def test_words_of_other_emulators(problems, text, said):
    (error,) = problems(f'name = "m"\n[hosts.h]\n[hosts.g]\n{text}')
    assert said in str(error)
