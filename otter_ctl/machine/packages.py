"""Packages of the system that `add --docker` installs, and `rm` removes: these and no others. Pure.

    /opt/otter/packages.before   all that were installed then; gone when it is known what came
    /opt/otter/receipt           a line `package NAME` for each that came

What an installation was cut short in is told by the list that is still there.
"""

from __future__ import annotations

from otter_ctl.machine.steps import TOP, Step

RECEIPT = f"{TOP}/receipt"
_BEFORE = f"{TOP}/packages.before"
_QUIET = "</dev/null >/dev/null"
_PACKAGES = """\
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
packages() { dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n' | sed -n 's/^i. //p' | sort -u; }
"""
_NOTE = (
    f"[ ! -f {_BEFORE} ] || {{ packages | comm -13 {_BEFORE} - | sed 's/^/package /' >>{RECEIPT}\n"
    f"rm -f {_BEFORE}; }}\n"
)


def docker() -> Step:
    """Install Debian's engine."""
    install = "apt-get -qq install -y --no-install-recommends docker.io"
    return Step(
        "install the Docker engine (apt-get install docker.io)",
        f"{_PACKAGES}mkdir -p {TOP}\n"
        f"[ -f {_BEFORE} ] || {{ packages >{_BEFORE}.new && mv {_BEFORE}.new {_BEFORE}; }}\n"
        f"{install} {_QUIET} 2>&1 || {{ apt-get -qq update && {install} {_QUIET}; }}\n"
        f"{_NOTE}",
    )


_OTHERS = (
    f"{_PACKAGES}{_NOTE}"
    f"came=$(sed -n 's/^package //p' {RECEIPT} | sort -u)\n"
    '[ -n "$came" ] || exit 0\n'
    "goes=$(apt-get -s purge $came </dev/null | sed -n 's/^Purg \\([^ ]*\\).*/\\1/p')\n"
    "others=\n"
    "for one in $goes; do\n"
    '    echo "$came" | grep -qxF "$one" || others="$others$one "\n'
    "done\n"
    'if [ -n "$others" ]; then\n'
    '    echo "others need them, and would go as well: $others(--keep-docker)" >&2; exit 1\n'
    "fi\n"
)


def removable() -> Step:
    """See that nothing that came later needs what came with it, before anything is ended."""
    return Step("see that nothing else needs the packages that add --docker installed", _OTHERS)


def remove() -> Step:
    """Remove what came with it, unless something that came later needs it."""
    return Step(
        "remove the packages that add --docker installed (apt-get purge), with images and volumes",
        f"{_OTHERS}apt-get -qq purge -y $came {_QUIET}\n",
    )
