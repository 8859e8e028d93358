"""`cp`: the rules of `docker cp`, for both runtimes, whatever is in the module."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest
from helpers.folders import tree, write_tree
from helpers.otter import BIN, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]
MAKE = (
    "cd $OTTER_WORK; mkdir -p box/in; echo one > box/a; echo two > box/in/b; chmod 751 box/a;"
    "echo x > file; echo made"
)


@pytest.fixture
def cp(place, tmp_path):
    """`otterctl cp` in a folder of its own, of a module that has made some files."""
    place.otter("apply", place.topology(place.module(f"{MAKE}; exec sleep 1000")))
    place.says("made")

    def run(*words, code=0):
        return place.otter("cp", "-m", "data", *words, code=code, cwd=tmp_path)

    return run


def test_out_of_a_module(cp, tmp_path):
    cp("m:file", ".")
    cp("m:file", "other")
    cp("m:/work/box", ".")
    cp("m:box", "renamed")
    cp("m:box/.", tmp_path)
    assert (tmp_path / "file").read_text() == (tmp_path / "other").read_text() == "x\n"
    assert tree(tmp_path / "box") == tree(tmp_path / "renamed") == {"a", "in", "in/b"}
    assert {"a", "in/b"} <= tree(tmp_path)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o751
    cp("m:box", ".")  # again: into the folder that is there now
    assert "box/in" not in {p for p in tree(tmp_path / "box") if p.startswith("box/box")}
    assert cp("m:file", "new", "--json").stdout


def test_into_a_module(cp, place, tmp_path):
    write_tree(tmp_path, {"f": "text\n", "d/e/g": "deep\n"})
    (tmp_path / "d" / "run").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "d" / "run").chmod(0o755)
    (tmp_path / "d" / "link").symlink_to("e/g")
    cp("f", "m:")
    cp("f", "m:/work/renamed")
    cp("f", "m:box/in")
    cp("d", "m:box")
    cp("d", "m:copy")
    cp("d/.", "m:box/in/")
    shown = place.inside(
        "sh", "-c", "cd $OTTER_WORK; cat f renamed box/in/f box/d/e/g copy/link box/in/e/g"
    )
    assert shown == "text\n" * 3 + "deep\n" * 3
    assert place.inside(
        "sh", "-c", "cd $OTTER_WORK; test -x copy/run && wc -c < copy/run"
    ).split() == ["256000"]
    cp("m:copy/run", "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "d" / "run").read_bytes()


def test_as_a_tar_both_ways(cp, place, tmp_path):
    words = [BIN / "otterctl", "cp", "-m", "data", "m:box", "-"]
    done = subprocess.run(words, env=place.otter.env, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert {"box/a", "box/in/b"} <= set(archive.getnames())
    words[-2:] = ["-", "m:/work/in-tar"]
    place.inside("sh", "-c", "mkdir $OTTER_WORK/in-tar")
    subprocess.run(words, env=place.otter.env, input=done.stdout, check=True)
    assert place.inside("sh", "-c", "cat $OTTER_WORK/in-tar/box/in/b") == "two\n"


MISFITS = [
    (["m:none", "."], "m:none: no such file or folder in the module"),
    (["m:none/none", "."], "no such file or folder in the module"),
    (["m:file/", "."], "m:file/: it is no folder"),
    (["m:box", "there"], "there: it is no folder"),
    (["m:file", "no/where"], "no: there is no such folder"),
    (["m:file", "nowhere/"], "nowhere/: there is no such folder"),
    (["none", "m:"], "none: no such file or folder"),
    (["there/", "m:"], "there/: it is no folder"),
    (["there", "m:no/where"], "m:no/where: there is no such folder in the module"),
    (["there", "m:none/"], "there is no such folder in the module"),
    (["folder", "m:file"], "m:file: it is no folder"),
    (["n:file", "."], "no module 'n'"),
]


def test_what_does_not_fit_is_said(cp, tmp_path):
    write_tree(tmp_path, {"there": "kept", "folder/x": "x"})
    before = tree(tmp_path)
    for words, said in MISFITS:
        assert said in cp(*words, code=1).stderr, words
        assert tree(tmp_path) == before
    assert (tmp_path / "there").read_text() == "kept"


def test_usage(cp):
    for words in (["a", "b"], ["m:a", "n:b"], ["./m:a", "b"]):
        assert "must be MODULE:PATH" in cp(*words, code=2).stderr


def test_a_stopped_module_and_one_that_has_ended(cp, place, tmp_path):
    place.otter("stop", "-m", "data", "m")
    (tmp_path / "f").write_text("later")
    cp("m:box/a", ".")
    cp("f", "m:f")
    assert (tmp_path / "a").read_text() == "one\n"
    place.otter(
        "apply", place.topology(place.module("echo done > $OTTER_WORK/f; exit 0"), name="data")
    )
    place.otter.wait_state("data", "m", "done")
    cp("m:f", "end")
    assert (tmp_path / "end").read_text() == "done\n"


def test_links_of_a_module_lead_nowhere_else(cp, place, tmp_path):
    """A hostile module puts links where its user is going to copy from and to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    script = f"cd $OTTER_WORK; ln -s {outside} out; ln -s {outside}/mine leaf; ln -s ../../.. up"
    place.inside("sh", "-c", script)
    (tmp_path / "f").write_text("f")
    for words in (["m:out/mine", "x"], ["m:out/", "x"], ["-L", "m:leaf", "x"],
                  [f"m:up/{outside}/mine", "x"], ["f", "m:out/f"], ["f", "m:out"]):  # fmt: skip
        cp(*words, code=None)
    assert tree(outside) == {"mine"}
    assert (outside / "mine").read_text() == "mine"
    assert not (tmp_path / "x").exists()
    cp("m:leaf", "x")  # without -L the link itself
    assert os.readlink(tmp_path / "x") == f"{outside}/mine"


def test_links_here_are_not_written_through(cp, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "in").symlink_to(outside)
    assert "could not be written" in cp("m:box", ".", code=1).stderr
    assert tree(outside) == set()


def test_ten_gigabytes_that_are_a_hole(place, cp, tmp_path):
    """A sparse file: what isn't there doesn't travel (through an engine it does, as zeros)."""
    size = 10 << 30 if place.runtime == "process" else 64 << 20
    place.inside("sh", "-c", f"cd $OTTER_WORK; echo begin > big; truncate -s {size} big")
    cp("m:big", ".")
    facts = (tmp_path / "big").stat()
    assert facts.st_size == size
    with (tmp_path / "big").open("rb") as file:
        assert file.read(7) == b"begin\n\0"
    if place.runtime == "process":
        assert facts.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("place", ["docker"], indirect=True)
def test_an_image_with_nothing_but_its_program(place, scratch_image, tmp_path):
    text = (
        'name = "data"\n[hosts.h]\n[modules.m]\nruntime = "docker"\n'
        f'image = "{scratch_image}"\ncommand = ["/busybox", "sleep", "1000"]\n'
    )
    place.otter("apply", place.otter.topology(text))
    (tmp_path / "f").write_text("f")
    for words in (["f", "m:/f"], ["m:/f", "g"], ["m:/busybox", "busybox"]):
        place.otter("cp", "-m", "data", *words, cwd=tmp_path)
    assert (tmp_path / "g").read_text() == "f"
    assert os.access(tmp_path / "busybox", os.X_OK)


def test_completion_offers_modules(cp, place):
    env = {**place.otter.env, "_OTTERCTL_COMPLETE": "bash_complete",
           "COMP_WORDS": "otterctl cp m", "COMP_CWORD": "2"}  # fmt: skip

    def offered():
        """An answer that takes too long for a Tab key is none."""
        return subprocess.run([BIN / "otterctl"], env=env, capture_output=True, text=True).stdout

    wait_for(lambda: "m:" in offered(), "it was never offered")
