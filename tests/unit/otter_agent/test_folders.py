"""Folders of modules: what is as wanted is left alone, and nothing of a former life stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from otter_agent import api, folders, storage
from otter_agent.layout import Layout, ModulePaths

MODULE = api.ModuleSpec(
    name="asr", host="phone", address="100.64.0.2", runtime="process", command=("true",)
)
WIRING = MODULE.wiring("m")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.at(tmp_path)


@pytest.fixture
def paths(layout: Layout) -> ModulePaths:
    return layout.module("m", "asr")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def narrow():
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("narrow")
def test_modules_of_any_user_can_read_their_files_and_write_their_folders(
    layout: Layout, paths: ModulePaths
) -> None:
    folders.make(layout, "m", "asr", "127.0.0.1 localhost\n")
    folders.fill(layout, "m", MODULE, WIRING)
    assert [mode(path) for path in (paths.work, paths.state)] == [0o777] * 2
    files = (paths.hosts, paths.resolv_conf, paths.nsswitch, paths.wiring_file)
    assert [mode(path) for path in files] == [0o644] * 4
    assert mode(layout.meshes) == 0o711
    assert stat.S_ISFIFO(paths.gate.stat().st_mode)


def test_names_change_in_place_and_only_if_they_are_others(
    layout: Layout, paths: ModulePaths
) -> None:
    """A rename would leave a module, which has the file bound over its own, with the old names."""
    folders.make(layout, "m", "asr", "a long list of names\n" * 1000)
    first = paths.hosts.stat()
    folders.make(layout, "m", "asr", "a long list of names\n" * 1000)
    assert paths.hosts.stat().st_mtime_ns == first.st_mtime_ns
    folders.make(layout, "m", "asr", "short\n")
    assert paths.hosts.read_text() == "short\n"
    folders.make(layout, "m", "asr", "other\n")  # as long as before
    assert paths.hosts.read_text() == "other\n"
    assert paths.hosts.stat().st_ino == first.st_ino


def test_a_new_instance_finds_nothing_of_the_last(layout: Layout, paths: ModulePaths) -> None:
    folders.make(layout, "m", "asr", "")
    folders.fill(layout, "m", MODULE, WIRING)
    (paths.work / "deep" / "deeper").mkdir(parents=True)
    (paths.work / "deep" / "answer.wav").write_bytes(b"x")
    paths.ready.touch()
    (layout.lib / "others").mkdir()
    (paths.state / "link").symlink_to(layout.lib / "others")
    folders.fill(layout, "m", MODULE, WIRING)
    assert [list(path.iterdir()) for path in (paths.work, paths.state)] == [[], []]
    assert (layout.lib / "others").exists()
    paths.work.rmdir()
    paths.work.symlink_to(layout.lib / "others")  # a module may do what it likes there
    folders.fill(layout, "m", MODULE, WIRING)
    assert not paths.work.is_symlink()
    assert paths.work.is_dir()


def test_what_a_link_leads_to_is_not_the_modules_own_file_system(paths: ModulePaths) -> None:
    """It would be unmounted with the module: whatever of the machine a module named."""
    paths.base.mkdir(parents=True)
    paths.work.symlink_to("/proc")
    assert os.path.ismount(paths.work.resolve())
    assert not storage.is_mounted(paths.work)
