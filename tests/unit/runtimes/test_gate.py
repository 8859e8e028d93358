"""The gate's committed bytes, and a fresh build of gate.c where there is a compiler, really run."""

from __future__ import annotations

import errno
import os
import platform
import select
import shutil
import subprocess

import pytest

from otter_agent.runtimes.gate import ARCHES, binary, install
from otter_agent.runtimes.gate.rebuild import compile_gate, compiler

DEADLINE_S = 20


def emulator(arch: str) -> list[str] | None:
    if arch == platform.machine():
        return []
    qemu = shutil.which(f"qemu-{arch}-static") or shutil.which(f"qemu-{arch}")
    return [qemu] if qemu else None


@pytest.fixture(params=[f"{arch}-{kind}" for arch in ARCHES for kind in ("committed", "built")])
def gate(request, tmp_path, require):
    arch, kind = request.param.rsplit("-", 1)
    prefix = emulator(arch)
    require("gate", prefix is not None, f"no qemu-user-static to run {arch}")
    if kind == "built":
        require("gate", compiler(arch) is not None, f"no compiler for {arch}")
        data = compile_gate(compiler(arch))
    else:
        data = binary(arch)
    path = tmp_path / "gate"
    path.write_bytes(data)
    path.chmod(0o755)
    return [*prefix, str(path)]


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


class Held:
    """A gate that waits, and what came of it."""

    def __init__(self, gate, fifo, argv, env=None):
        self.fifo = fifo
        self.process = subprocess.Popen(
            [*gate, str(fifo), *argv],
            env={"PATH": os.environ["PATH"]} if env is None else env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def release(self):
        """As the agent does: what is written while the gate closes after a look is written again.

        Only for programs that end by themselves.
        """
        while self.process.poll() is None:
            try:
                end = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # it doesn't wait yet, or is the program now
                    raise
                continue
            try:
                os.write(end, b"\n")
                closed = select.poll()
                closed.register(end, 0)  # once the gate's end closes, polls as an error
                assert closed.poll(DEADLINE_S * 1000)
            except BrokenPipeError:
                continue
            finally:
                os.close(end)
        return self.result()

    def result(self):
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, out.decode(), err.decode()


@pytest.mark.slow
def test_waits_for_one_byte_then_becomes_the_program(gate, fifo):
    held = Held(gate, fifo, ["sh", "-c", "echo $$ $0 $1", "a", "b c"])
    assert held.process.poll() is None
    code, out, err = held.release()
    assert (code, err) == (0, "")
    assert out == f"{held.process.pid} a b c\n"  # the same pid


@pytest.mark.slow
def test_who_only_looks_does_not_release_it(gate, fifo):
    held = Held(gate, fifo, ["echo", "ran"])
    for _ in range(3):
        os.close(os.open(fifo, os.O_WRONLY))  # returns when the gate has it open
    assert held.process.poll() is None
    assert held.release() == (0, "ran\n", "")


@pytest.mark.slow
def test_environment_passes_through_untouched(gate, fifo):
    env = {"PATH": "/usr/bin:/bin", "A": "1", "EMPTY": ""}
    code, out, _ = Held(gate, fifo, ["env"], env=env).release()
    assert code == 0
    assert dict(line.split("=", 1) for line in out.splitlines()) == env


@pytest.mark.slow
def test_searches_path_as_execvp_does(gate, fifo, tmp_path):
    folders = [tmp_path / name for name in ("absent", "denied", "good")]
    for folder in folders[1:]:
        folder.mkdir()
        (folder / "tool").write_text("#!/bin/sh\necho found\n")
    (folders[2] / "tool").chmod(0o755)
    path = ":".join([str(tmp_path / "fifo"), *map(str, folders)])  # a file, absent, not executable
    assert Held(gate, fifo, ["tool"], env={"PATH": path}).release() == (0, "found\n", "")


@pytest.mark.slow
def test_without_path_the_usual_folders_are_searched(gate, fifo):
    assert Held(gate, fifo, ["true"], env={}).release()[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program", "./no", ""])
def test_not_found_is_127(gate, fifo, name):
    code, out, err = Held(gate, fifo, [name]).release()
    assert (code, out) == (127, "")
    assert err.startswith(f"otter gate: cannot run {name}: it (or its interpreter) is not")


@pytest.mark.slow
def test_not_executable_is_126(gate, fifo, tmp_path):
    (tmp_path / "plain").write_text("x")
    assert Held(gate, fifo, [str(tmp_path / "plain")]).release()[0] == 126


@pytest.mark.slow
def test_no_interpreter_line_is_126_and_no_shell_runs_it(gate, fifo, tmp_path):
    script = tmp_path / "script"
    script.write_text("echo ran\n")
    script.chmod(0o755)
    code, out, err = Held(gate, fifo, [str(script)]).release()
    assert (code, out) == (126, "")
    assert "not a program for this machine" in err


@pytest.mark.slow
def test_path_entry_too_long_is_passed_over(gate, fifo):
    env = {"PATH": "/" + "x" * 5000 + ":/bin:/usr/bin"}
    assert Held(gate, fifo, ["true"], env=env).release()[0] == 0


@pytest.mark.slow
def test_no_fifo_is_125(gate, tmp_path):
    code, _, err = Held(gate, tmp_path / "absent", ["true"]).result()
    assert code == 125
    assert "cannot open" in err


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHES)
def test_committed_bytes_are_what_the_source_gives(arch, require):
    cc = compiler(arch)
    require("gate", cc is not None, f"no compiler for {arch}")
    version = subprocess.run([cc, "-dumpfullversion"], capture_output=True, text=True, check=True)
    if version.stdout.strip() != "12.2.0":
        pytest.skip("another compiler gives other bytes; the behaviour is tested above")
    assert compile_gate(cc) == binary(arch)


@pytest.mark.parametrize("arch", ARCHES)
def test_is_small(arch):
    assert len(binary(arch)) < 2048


def test_install_is_idempotent_and_named_by_content(tmp_path):
    path = install(tmp_path / "new" / "folder")
    assert install(tmp_path / "new" / "folder") == path
    assert path.read_bytes() == binary(platform.machine())
    assert [p.name for p in path.parent.iterdir()] == [path.name]
