"""`include`: what merges, who wins, whose paths and lines count, and loops."""

from __future__ import annotations

import pytest

from otter_ctl.errors import TopologyErrors
from otter_ctl.topology import load

BASE = """\
name = "base"
seed = 1
[defaults.link]
delay = "1ms"
[hosts.a]
cpu = 1
memory = "64MiB"
[hosts.b]
[[links]]
between = ["a", "b"]
[modules.m]
build = "code"
env = { X = "1", Y = "2" }
"""


@pytest.fixture
def files(tmp_path):
    """Writes files: name -> text; folders are made."""

    def write(**texts: str):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.toml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return tmp_path

    (tmp_path / "parts" / "code").mkdir(parents=True)
    (tmp_path / "parts" / "code" / "module.py").write_text("")
    return write


def test_tables_merge_and_what_includes_wins(files):
    folder = files(
        parts__base=BASE,
        mesh='include = ["parts/base.toml"]\nname = "mine"\n[hosts.a]\ncpu = 2\n[hosts.c]\n'
        '[[links]]\nbetween = ["b", "c"]\n[modules.m]\nenv = { Y = "3" }\n',
    )
    topology = load(folder / "mesh.toml")
    assert (topology.name, topology.seed) == ("mine", 1)
    assert [(h.name, h.cpu, h.memory_bytes) for h in topology.hosts] == [
        ("a", 2.0, 64 << 20), ("b", None, None), ("c", None, None),
    ]  # fmt: skip
    assert [link.name for link in topology.links] == ["a-b", "b-c"]
    assert {link.forward.delay_s for link in topology.links} == {0.001}
    assert topology.modules[0].env == {"X": "1", "Y": "3"}
    assert topology.files == (folder / "parts/base.toml", folder / "mesh.toml")


def test_paths_start_at_the_file_they_stand_in(files):
    folder = files(parts__base=BASE, mesh='include = ["parts/base.toml"]\n')
    assert load(folder / "mesh.toml").modules[0].build == folder / "parts/code"


def test_set_paths_start_at_the_topology(files):
    folder = files(parts__base=BASE, mesh='include = ["parts/base.toml"]\n')
    found = load(folder / "mesh.toml", ["modules.m.build=parts/code"])
    assert found.modules[0].build == folder / "parts/code"


def test_later_files_win_and_a_shared_one_counts_once(files):
    folder = files(
        base='name = "m"\n[hosts.a]\n[hosts.b]\n[[links]]\nbetween = ["a", "b"]\n',
        one='include = ["base.toml"]\nseed = 1\n[hosts.a]\ncpu = 1\n',
        two='include = ["base.toml"]\nseed = 2\n',
        mesh='include = ["one.toml", "two.toml"]\n',
    )
    topology = load(folder / "mesh.toml")
    assert (topology.seed, topology.hosts[0].cpu, len(topology.links)) == (2, 1.0, 1)


def test_errors_name_the_file_and_its_line(files):
    folder = files(
        parts__base=BASE + '[[links]]\nbetween = ["a", "x"]\n',
        mesh='include = ["parts/base.toml"]\n[[links]]\nbetween = ["a", "y"]\n'
        '[modules.m]\nrestart = "x"\n',
    )
    with pytest.raises(TopologyErrors) as caught:
        load(folder / "mesh.toml")
    where = [(e.path, e.line, e.key) for e in caught.value]
    mesh, base = str(folder / "mesh.toml"), str(folder / "parts/base.toml")
    assert where == [
        (mesh, 3, "links.a-y.between[1]"),
        (mesh, 5, "modules.m.restart"),
        (base, 15, "links.a-x.between[1]"),
    ]


def test_overrides_reach_what_was_included(files):
    folder = files(parts__base=BASE, mesh='include = ["parts/base.toml"]\n')
    found = load(folder / "mesh.toml", ["links.a-b.delay=7ms", "modules.m.env.X=9"])
    assert found.links[0].forward.delay_s == 0.007
    assert found.modules[0].env["X"] == "9"
    with pytest.raises(TopologyErrors, match="`include` can't be set"):
        load(folder / "mesh.toml", ["include=[]"])


def failure(path) -> str:
    with pytest.raises(TopologyErrors) as caught:
        load(path)
    (error,) = caught.value
    return f"{error.line}: {error.key}: {error.reason}"


def test_loops_are_told_with_the_chain(files):
    folder = files(
        a='name = "m"\ninclude = ["b.toml"]\n', b='\n\ninclude = ["c.toml"]\n',
        c='include = ["./a.toml"]\n', own='include = ["own.toml"]\n',
    )  # fmt: skip
    assert failure(folder / "a.toml") == (
        "1: include[0]: includes itself: a.toml > b.toml > c.toml > a.toml"
    )
    assert failure(folder / "own.toml") == ("1: include[0]: includes itself: own.toml > own.toml")


def test_missing_and_broken_files(files):
    folder = files(
        a='include = [\n"b.toml",\n"nope.toml"]\n', b="[hosts.a]\n", c='include = "b.toml"\n',
        d='include = [1]\n', e='include = ["f.toml"]\n', f="x = \n", g='include = ["."]\n',
    )  # fmt: skip
    assert failure(folder / "a.toml") == "3: include[1]: there is no file `nope.toml`"
    assert failure(folder / "c.toml") == "1: include: must be an array of files, not a string"
    assert failure(folder / "d.toml") == "1: include[0]: must be the path of a file"
    assert failure(folder / "g.toml") == "1: include[0]: `.` is no file"
    with pytest.raises(TopologyErrors, match=r"f\.toml:1: not valid TOML"):
        load(folder / "e.toml")


def test_depth_is_bounded(files):
    folder = files(
        **{f"f{i}": f'include = ["f{i + 1}.toml"]\n' for i in range(30)}, f30='name = "m"\n'
    )
    said = failure(folder / "f0.toml")
    assert "is over 16 files deep: f0.toml > f1.toml > f2.toml > f3.toml > … > " in said


def test_the_number_of_files_is_bounded(files, tmp_path):
    for i in range(300):
        (tmp_path / f"x{i}.toml").write_text("")
    names = ", ".join(f'"x{i}.toml"' for i in range(300))
    folder = files(mesh=f"include = [{names}]\n")
    assert "makes more than 256 files" in failure(folder / "mesh.toml")
