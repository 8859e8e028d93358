"""Run folders: results come from modules, names from agents, and either may be hostile."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec
import pytest

from net.errors import OtterError
from otter_agent import api
from otter_ctl.runs import RunFolder

MODULE = api.ModuleSpec(name="asr", host="a", address="10.0.0.1", runtime="process")
SPEC = api.MeshSpec(name="mesh", run="20261122-204322", modules=(MODULE,))


@pytest.fixture
def folder(tmp_path):
    return RunFolder.of(tmp_path / "runs", SPEC)


@pytest.fixture
def fetch(tmp_path, folder):
    """Unpacks results of the module `asr`: (name, content, pax headers)."""

    def unpack(*members, mode="w"):
        with tarfile.open(tmp_path / "t", mode, format=tarfile.PAX_FORMAT) as archive:
            for name, content, *headers in members:
                entry = tarfile.TarInfo(name)
                entry.size, entry.pax_headers = len(content), headers[0] if headers else {}
                archive.addfile(entry, io.BytesIO(content))
        written = folder.unpack("asr", tmp_path / "t").files
        return [str(path.relative_to(folder.path)) for path in written]

    return unpack


def held(folder):
    files = (path for path in folder.path.rglob("*") if path.is_file())
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in files}


def test_everything_has_its_place(folder, fetch):
    written = fetch(("log", b"l"), ("build.log", b"b"), ("messages.csv", b"m"),
                    ("outputs/a/b", b"o"), ("of a later version", b""))  # fmt: skip
    assert held(folder) == {
        "logs/asr.log": b"l", "logs/asr.build.log": b"b", "messages/asr.csv": b"m",
        "outputs/asr/a/b": b"o",
    }  # fmt: skip
    assert written == ["logs/asr.log", "logs/asr.build.log", "messages/asr.csv",
                       "outputs/asr/a/b"]  # fmt: skip


def test_paths_that_are_no_utf_8_are_written_down_as_far_as_they_can_be(tmp_path, folder):
    named = tmp_path / os.fsdecode(b"B\xfccher.toml")
    named.write_text("")
    folder.record(named, SPEC, included=[named])
    (applied,) = folder.facts()["applies"]
    assert applied["topology"] == f"{tmp_path}/B\ufffdcher.toml"


@pytest.fixture
def asked(tmp_path):
    """Two topologies of one mesh."""
    files = [tmp_path / "1.toml", tmp_path / "2.toml"]
    for file in files:
        file.write_text(file.name)
    return files


def test_what_was_replaced_before_it_was_written_down_is_not(folder, asked):
    first, second = asked
    folder.record(second, SPEC, generation=2)
    folder.record(first, SPEC, generation=1)
    assert held(folder)["topology.toml"] == b"2.toml"
    assert [one["folder"] for one in folder.facts()["applies"]] == ["applied/1"]
    folder.record(first, SPEC, generation=3)
    assert held(folder)["topology.toml"] == b"1.toml"
    folder.record(second, SPEC)  # by who has the turn
    folder.record(first, SPEC, generation=1)
    assert held(folder)["topology.toml"] == b"1.toml"
    assert [one["generation"] for one in folder.facts()["applies"]] == [2, 3, None, 1]


@pytest.mark.parametrize("slow_call", ["record", "note"])
def test_of_two_who_write_down_at_once_neither_is_lost(folder, asked, monkeypatch, slow_call):
    first, second = asked
    calls = {
        "record": lambda: folder.record(first, SPEC, generation=1),
        "note": lambda: folder.note({"controller": "this"}),
    }
    looked, go_on, facts = threading.Event(), threading.Event(), RunFolder.facts

    def slow(self):
        found = facts(self)
        if not looked.is_set():
            looked.set()
            assert go_on.wait(60)
        return found

    monkeypatch.setattr(RunFolder, "facts", slow)
    with ThreadPoolExecutor() as pool:
        slower = pool.submit(calls[slow_call])
        assert looked.wait(60)
        faster = pool.submit(folder.record, second, SPEC, generation=2)
        with suppress(TimeoutError):
            faster.result(0.3)  # it waits for its turn
        go_on.set()
        assert (slower.result(60), faster.result(60)) == (None, None)
    assert held(folder)["topology.toml"] == b"2.toml"
    told = [one["generation"] for one in folder.facts()["applies"]]
    assert told == {"record": [1, 2], "note": [2]}[slow_call]
    assert folder.facts().get("controller") == {"record": None, "note": "this"}[slow_call]


def test_names_may_be_as_long_as_names_can_be(folder, fetch):
    name = "n" * 255
    assert fetch((f"outputs/{name}", b"x")) == [f"outputs/asr/{name}"]
    assert os.listdir(folder.path) == ["outputs"]


def test_files_and_folders_replace_each_other(folder, fetch):
    fetch(("outputs/a", b"1"))
    fetch(("outputs/a/b/c", b"2"))
    assert held(folder) == {"outputs/asr/a/b/c": b"2"}
    fetch(("outputs/a", b"3"))
    assert held(folder) == {"outputs/asr/a": b"3"}


@pytest.mark.parametrize("mtime", ["nan", "1e30", "-1e30", "inf"])
def test_any_time_is_taken(folder, fetch, mtime):
    fetch(("outputs/a", b"x", {"mtime": mtime}))
    assert 0 <= (folder.path / "outputs/asr/a").stat().st_mtime <= 2**33


@pytest.mark.parametrize("name", ["outputs/.", "outputs/../x", "outputs//etc/x", "outputs/a/./b"])
def test_one_bad_name_keeps_nothing_else_from_being_written(folder, fetch, name):
    # By a pax header: tarfile itself cleans what it writes.
    bad = ("bad", b"x", {"path": name})
    with pytest.raises(OtterError, match=r"can't be written: .*and 1 more.*2 files were written"):
        fetch(("outputs/a", b"a"), bad, bad, ("outputs/b", b"b"))
    assert held(folder) == {"outputs/asr/a": b"a", "outputs/asr/b": b"b"}


def test_a_nul_in_a_name(folder, fetch):
    with pytest.raises(OtterError, match="can't be written") as caught:
        fetch(("x", b"x", {"path": "outputs/a\0b"}), ("outputs/b", b"b"))
    assert caught.value.hint
    assert held(folder) == {"outputs/asr/b": b"b"}


def test_what_the_file_system_refuses_keeps_nothing_else(folder, fetch):
    with pytest.raises(OtterError, match="File name too long") as caught:
        fetch((f"outputs/{'n' * 256}", b"x"), ("outputs/b", b"b"))
    assert caught.value.hint
    assert held(folder) == {"outputs/asr/b": b"b"}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "x,y"},
        {"GNU.sparse.size": "many"},
        {"size": "-1536"},
        {"size": "-1"},
    ],
    ids=str,
)
def test_hostile_headers_are_one_error(folder, fetch, headers):
    with pytest.raises(OtterError, match="no sound tar") as caught:
        fetch(("outputs/a", b"a"), ("outputs/x", b"", headers))
    assert caught.value.hint
    assert held(folder) == {"outputs/asr/a": b"a"}


def test_sparse_files_of_formats_that_nobody_writes_are_refused(folder, fetch):
    sparse = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999999999"}
    with pytest.raises(OtterError, match="a sparse file of an old format"):
        fetch(("outputs/x", b"x", sparse), ("outputs/b", b"b"))
    assert held(folder) == {"outputs/asr/b": b"b"}


@pytest.mark.parametrize("holes", ["2\n0\n512\n256\n256\n", "1\n9\n-1\n", "1\n99\n99\n"])
def test_maps_of_holes_that_make_no_sense_are_refused(folder, fetch, holes):
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "outputs/x",
              "GNU.sparse.realsize": "100"}  # fmt: skip
    data = holes.encode().ljust(512, b"\0") + bytes(1024)
    with pytest.raises(OtterError, match=r"makes no sense|no sound tar"):
        fetch(("outputs/x", data, sparse))
    assert held(folder) == {}


@pytest.mark.parametrize("data", [b"", b"no tar", bytes(range(256)) * 8])
def test_what_is_no_tar_is_one_error(tmp_path, folder, data):
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(OtterError, match="results of module asr: no sound tar") as caught:
        folder.unpack("asr", tmp_path / "t")
    assert caught.value.hint


def test_compressed_tars_are_refused(fetch):
    with pytest.raises(OtterError, match="no sound tar"):
        fetch(("outputs/a", b"a"), mode="w:gz")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", "a\0", "a\n", "n" * 65])
def test_a_run_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(OtterError, match="the agent names a run"):
        RunFolder.of(tmp_path, msgspec.structs.replace(SPEC, run=name))


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", "a\0", "a\n", "A"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, folder, name):
    with pytest.raises(OtterError, match="the agent names a mesh"):
        RunFolder.of(tmp_path, msgspec.structs.replace(SPEC, name=name))
    module = msgspec.structs.replace(MODULE, name=name)
    with pytest.raises(OtterError, match="the agent names a module"):
        RunFolder.of(tmp_path, msgspec.structs.replace(SPEC, modules=(module,)))
    with pytest.raises(OtterError, match="the agent names a module"):
        folder.unpack(name, tmp_path / "t")
