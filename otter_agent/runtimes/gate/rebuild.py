"""Build the gate and write it as text: `python -m otter_agent.runtimes.gate.rebuild`.

Needs gcc (and gcc-aarch64-linux-gnu) of Debian 12 to give the committed bytes; see README.md.
"""

from __future__ import annotations

import base64
import platform
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path

from otter_agent.runtimes.gate import ARCHES

HERE = Path(__file__).parent

FLAGS = [
    *("-Os", "-std=c11", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin"),
    *("-nostdlib", "-nostartfiles", "-static", "-fno-pic", "-no-pie", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-ident"),
    *("-fno-tree-loop-distribute-patterns", "-Wl,--build-id=none", "-Wl,-z,noseparate-code"),
    *("-Wl,-z,noexecstack", "-Wl,-s"),
]
"""One small segment, no time stamps, no paths: the same compiler gives the same bytes."""


def compiler(arch: str) -> str | None:
    """A C compiler for that architecture, if one is installed."""
    native = "gcc" if arch == platform.machine() else None
    return shutil.which(f"{arch}-linux-gnu-gcc") or (native and shutil.which(native))


def compile_gate(cc: str) -> bytes:
    """What this compiler makes of gate.c."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "gate")
        subprocess.run([cc, *FLAGS, "-o", str(output), str(HERE / "gate.c")], check=True)
        return output.read_bytes()


def write(arch: str, data: bytes) -> None:
    """Write the data file of one architecture."""
    lines = textwrap.wrap(base64.b64encode(data).decode(), 96)
    text = "\n".join(lines)
    (HERE / f"{arch}.py").write_text(
        f'"""gate.c for {arch}, {len(data)} bytes; written by rebuild.py."""\n\n'
        f'BASE64 = """\n{text}\n"""\n'
    )


def main() -> None:
    """Rebuild for every architecture that has a compiler here."""
    for arch in ARCHES:
        if cc := compiler(arch):
            write(arch, compile_gate(cc))
        else:
            print(f"{arch}: no compiler, left as it is")


if __name__ == "__main__":
    main()
