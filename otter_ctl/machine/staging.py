"""What is sent to a machine before it is installed: a folder there, that a cut way leaves as it is.

    make ─► what has come before, as far as it is right ─► what is lacking of a file, by `cat`
                                                        └► files of which there is nothing, as a tar

The folder is named by what is to be in it, so that the next try finds it again. Pure.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

FOLDER = re.compile(r"/tmp/otter-add\.\w{6,12}", re.ASCII)
OLD = """find /tmp -maxdepth 1 -name 'otter-add.*' -user "$(id -un)" {} -exec rm -rf {{}} +"""
"""Of one that was interrupted, what it sent goes after an hour, or with all else."""
_THERE = re.compile(r"(\d+) ([0-9a-f]{64}) \./(\S+)")
# A folder of that name may be somebody else's, or be there for long: then it is one of another
# name. What is in it is compared, and once more by root, who takes no other files of it.
_MAKE = f"""\
umask 077; folder=/tmp/otter-add.@KEY@
mkdir $folder 2>/dev/null ||
    {{ [ -n "$(find $folder -maxdepth 0 -type d -user "$(id -un)" ! -perm /077 2>/dev/null)" ] &&
        [ -n "$(find $folder -mmin -60 2>/dev/null)" ]; }} ||
    folder=$(mktemp -d /tmp/otter-add.XXXXXX) || exit 1
touch $folder
{OLD.format("-mmin +60")} 2>/dev/null
cd $folder && find . -type f | while read -r path; do
    digest=$(sha256sum "$path") && echo "$(stat -c %s "$path") ${{digest%% *}} $path"
done
echo $folder
"""


@dataclass(frozen=True, slots=True)
class Staging:
    """Files, by name.

    Attributes:
        files: All that is to be there.
        come: How many bytes of each have come before, from its beginning.
    """

    files: dict[str, bytes]
    come: dict[str, int]

    @property
    def come_bytes(self) -> int:
        """That needn't be sent."""
        return sum(self.come.values())

    def rests(self) -> list[tuple[str, bytes]]:
        """What is lacking of files that have come in part."""
        found = [(name, self.files[name][at:]) for name, at in self.come.items() if at]
        return [(name, rest) for name, rest in found if rest]

    def tar(self) -> bytes:
        """The files of which nothing has come; empty: there are none."""
        wanted = {name: raw for name, raw in self.files.items() if not self.come[name]}
        return _tar(wanted) if wanted else b""


def make(files: Sequence[tuple[str, bytes]]) -> str:
    """A script that makes the folder, and says what of it is there already."""
    key = hashlib.sha256()
    for name, raw in sorted(files):
        key.update(f"{name}\0{hashlib.sha256(raw).hexdigest()}\0".encode())
    return _MAKE.replace("@KEY@", key.hexdigest()[:12])


def compared(files: Sequence[tuple[str, bytes]], said: str) -> Staging:
    """What of the files is there, by what `make` has said."""
    there = {name: (int(size), digest) for size, digest, name in _THERE.findall(said)}
    come = {}
    for name, raw in files:
        size, digest = there.get(name, (0, ""))
        right = size <= len(raw) and hashlib.sha256(raw[:size]).hexdigest() == digest
        come[name] = size if right else 0
    return Staging(dict(files), come)


def _tar(files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name, raw in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(raw), 0o644
            archive.addfile(entry, io.BytesIO(raw))
    return memory.getvalue()
