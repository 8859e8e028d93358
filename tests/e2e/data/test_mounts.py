"""Folders of the machine inside modules: what is shown, and what is refused before anything is."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading

import pytest
from helpers.otter import wait_for

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]


def test_files_and_folders_are_shown_read_only_unless_asked_otherwise(place):
    (place.data / "out").mkdir()
    mounts = place.mounts(
        data=f'from = "{place.data}/deep"',
        file=f'from = "{place.data}/x"',
        out=f'from = "{place.data}/out", readonly = false',
        **{"opt/new/place": f'from = "{place.data}/deep/er"'},
    )
    script = "cat /data/er/y /file /opt/new/place/y; echo no > /data/no; echo yes > /out/yes"
    script += "; echo made"
    place.otter("apply", place.topology(place.module(f"{script}; exec sleep 1000", mounts=mounts)))
    said = place.says("made", "Read-only file system")
    assert [said.count(f"of {word}") for word in ("x", "y")] == [1, 2]
    assert not (place.data / "deep" / "no").exists()
    assert (place.data / "out" / "yes").read_text() == "yes\n"
    assert "of x" in place.inside("cat", "/file")  # commands see them as well
    for name in ("/data", "/file", "/out", "/opt/new"):  # nothing was made on the machine
        assert not os.path.exists(name), name


def test_what_is_mounted_below_a_mount_is_not_shown(place):
    other = place.data / "deep" / "other"
    other.mkdir()
    with contextlib.ExitStack() as stack:
        assert os.system(f"mount -t tmpfs tmpfs {other}") == 0
        stack.callback(os.system, f"umount {other}")
        (other / "private").write_text("private")
        mounts = place.mounts(data=f'from = "{place.data}/deep"')
        script = "ls -R /data; echo made; exec sleep 1000"
        place.otter("apply", place.topology(place.module(script, mounts=mounts)))
        assert "private" not in place.says("made")


REFUSED = {
    "outside": ("/etc", "/data", "/etc is below no folder that this machine's agent allows"),
    "beside": ("{data}-more/x", "/data", "is below no folder"),
    "missing": ("{data}/none", "/data", "No such file or directory"),
    "through a file": ("{data}/x/y", "/data", "Not a directory"),
    "a link": ("{data}/link", "/data", "link: it is a symbolic link"),
    "through a link": ("{data}/link/passwd", "/data", "link: it is a symbolic link"),
    "a device": ("{data}/device", "/data", "is a device"),
    "a pipe": ("{data}/pipe", "/data", "neither a file nor a folder"),
    "over our own": ("{data}/deep", "/run/otter", "OTTER uses"),
    "over hosts": ("{data}/x", "/etc/hosts", "OTTER uses"),
    "above our own": ("{data}/deep", "/run", "OTTER uses"),
    "work": ("{data}/deep", "/work", "OTTER uses"),
}


def test_refused_before_anything_is_started(place):
    (place.data / "link").symlink_to("/etc")
    os.mkfifo(place.data / "pipe")
    os.mknod(place.data / "device", 0o20600, os.makedev(1, 3))
    for why, (source, target, said) in REFUSED.items():
        mounts = f'{{ "{target}" = {{ from = "{source.format(data=place.data)}" }} }}'
        done = place.otter("apply", place.topology(place.module(mounts=mounts)), code=None)
        assert done.returncode in (1, 2), why
        assert said in done.stderr, why
        assert "m" in done.stderr.split(said)[0]
        assert target in done.stderr
        assert place.otter.json("ls") == []


def test_one_inside_the_other_is_refused(place):
    mounts = place.mounts(data=f'from = "{place.data}/deep"',
                          **{"data/sub": f'from = "{place.data}/deep/er"'})  # fmt: skip
    done = place.otter("apply", place.topology(place.module(mounts=mounts)), code=None)
    assert "overlaps with `/data`" in done.stderr
    assert place.otter.json("ls") == []


def test_without_configuration_it_says_what_to_write_and_then_works(place):
    text = place.config.read_text()
    place.config.unlink()
    mounts = place.mounts(data=f'from = "{place.data}/deep"')
    file = place.topology(place.module(mounts=mounts))
    done = place.otter("apply", file, code=1)
    assert f'mount_roots = ["{place.data}"] into {place.config}' in done.stderr
    place.config.write_text(text)
    place.otter("apply", file)  # the agent wasn't restarted


def test_a_bad_configuration_is_named(place):
    place.config.write_text('mount_root = ["/srv"]\n')
    done = place.otter("apply", place.topology(place.module()), code=1)
    assert f"{place.config}: unknown key 'mount_root'; did you mean 'mount_roots'?" in done.stderr


def test_a_link_put_in_the_way_later_leads_nowhere(place):
    """The first start was fine; before the second one somebody swaps a folder for a link."""
    secret = place.otter.root / "elsewhere"
    secret.mkdir(exist_ok=True)
    (secret / "y").write_text("STOLEN\n")
    mounts = place.mounts(data=f'from = "{place.data}/deep/er"')
    script = "cat /data/y; exec sleep 1000"
    place.otter("apply", place.topology(place.module(script, mounts=mounts)))
    place.otter("stop", "-m", "data", "m")
    shutil.move(place.data / "deep" / "er", place.data / "moved")
    (place.data / "deep" / "er").symlink_to(secret)
    place.otter("start", "-m", "data", "m", code=None)
    found = place.otter.wait_state("data", "m", "failed")
    assert 'mounts."/data"' in found["reason"]
    assert "symbolic link" in found["reason"]
    assert "STOLEN" not in place.say()


def test_a_link_that_comes_and_goes_is_never_followed(place):
    """Somebody swaps folder and link as fast as can be: whoever checks by path loses the race."""
    secret = place.otter.root / "elsewhere"
    secret.mkdir(exist_ok=True)
    (secret / "y").write_text("STOLEN\n")
    place.otter("apply", place.topology(*[
        place.module("cat /data/y; exec sleep 1000", name=f"m{n}",
                     mounts=place.mounts(data=f'from = "{place.data}/deep/er"'))
        for n in range(8)
    ]))  # fmt: skip
    names = [f"m{n}" for n in range(8)]
    real, link, hidden = (place.data / "deep" / n for n in ("er", "link", "hidden"))
    link.symlink_to(secret)
    done = threading.Event()

    def swap():
        while not done.is_set():
            real.rename(hidden)
            link.rename(real)
            real.rename(link)
            hidden.rename(real)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        restarting = place.otter.popen("restart", "-m", "data", *names, stderr=subprocess.DEVNULL)
        wait_for(
            lambda: all(m["restarts"] or m["state"] == "failed"
                        for m in place.otter.modules("data").values()), "never restarted",
        )  # fmt: skip
    finally:
        done.set()
        swapping.join()
        restarting.wait(60)
    assert "STOLEN" not in "".join(place.say(name) for name in names)
