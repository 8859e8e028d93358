"""What is done on a machine, a step at a time: each says what it does before it is done. Pure.

    /opt/otter/VERSION-BUILD/   a virtual environment
    /opt/otter/current          leads to the one in use
    /opt/otter/lock             held by who makes such an environment
    /opt/otter/wheels/          what it was installed from: an upgrade sends only what is new
    /opt/otter/python/DIGEST/   an interpreter that was brought along, where there was none
    /opt/otter/receipt          what `rm` has to revert
    /usr/local/bin/otter-agent
    otter-agent.service, or /etc/init.d/otter-agent where no systemd runs

Must not know: how commands get to a machine.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from otter_ctl.machine.facts import Facts, Python

TOP = "/opt/otter"
_ALONE = (
    f"umask 077; exec 9>{TOP}/lock; umask 022\n"  # others could hold one that they may open
    "! command -v flock >/dev/null || flock -w 300 9 || "
    "{ echo 'another otterctl machine add is still at work here' >&2; exit 1; }\n"
)
"""One whose way was cut goes on over there: who comes next waits, and finds what that has made."""
_NOT_AS_SENT = "if what was sent isn't what has come: the same again sends it anew"
GROUP = "otter"
"""Its members may use the agent's socket: as good as root, as with Docker's."""
ROOM_BYTES = 350 << 20
"""What one version takes on a disk, with its wheels, and some air."""
ARCHIVE = "python.tar.gz"
"""Name over there of an interpreter that is sent."""
ANSWER_S = 30
SERVED = f"{TOP}/served"
"""Leads to the version whose agent was started last: with `current` elsewhere it is the earlier one
that runs."""
ENDED = "/run/otter-agent.ended"
"""What runs the agent where no systemd does leaves this when it has ended by itself."""
STATE = "/var/lib/otter"
"""What an agent keeps, of whichever way it was installed."""
_UNIT = "/etc/systemd/system/otter-agent.service"
_INIT = "/etc/init.d/otter-agent"
_LOG = "tail -n 1 /var/log/otter-agent.log"
_RUN = "systemctl show -p InvocationID --value otter-agent"
_JOURNAL = (
    # A run that ended is followed by another within a second, and what it said is in the journal
    # a little later: until one has ended, and no more words of it come.
    "said=; early=; before=; silent=0; late=$(($(date +%s) + 20))\n"
    f'while run=$({_RUN}) && [ "$run" != "$was" ] && [ "$(date +%s)" -lt $late ]; do\n'
    "    state=$(systemctl show -p SubState --value otter-agent) || :\n"
    "    journalctl --sync || :\n"
    "    last=$(journalctl _SYSTEMD_INVOCATION_ID=$run -n 1 -o cat -q --no-pager) || :\n"
    '    if [ "$state" = start ]; then early=${last:-$early}\n'
    # One that couldn't even be run says nothing.
    '    elif [ ! "$last" ]; then silent=$((silent + 1)); [ $silent -lt 10 ] || break\n'
    '    else said=$last; [ "$run $last" != "$before" ] || break; before="$run $last"; fi\n'
    "    sleep 0.2\n"
    "done\n"
    'echo "${said:-$early}"'
)
"""What the agent itself said last, in a run after `was`, without systemd's own words on it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One of them.

    Attributes:
        title: What it does, for people.
        script: For `sh`; it may be done again.
        root: It is done as root.
        hint: What to do where it fails.
    """

    title: str
    script: str
    root: bool = True
    hint: str = ""


def install(
    facts: Facts,
    python: Python,
    release: str,
    name: str,
    staged: str,
    sums: Mapping[str, str],
    pip: str,
) -> list[Step]:
    """All of an installation; also of an upgrade, as what is there already is left.

    Args:
        facts: Of the machine.
        python: The interpreter to use.
        release: What to install, `VERSION-BUILD`.
        name: The machine's name.
        staged: Folder over there with the wheels that were sent.
        sums: SHA-256 of each of these wheels, by its name; one at least.
        pip: File name of pip's wheel, among them or those sent earlier.
    """
    venv = f"{TOP}/{release}"
    steps = [
        copy(staged, sums),
        Step(
            f"make the virtual environment {venv} with {python.path}",
            f"{_ALONE}"
            f"[ ! -f {venv}/complete ] || ! {_runs(venv)} || exit 0\n"
            f"rm -rf {venv}\n"
            f"{shlex.quote(python.path)} -m venv --without-pip {venv}\n"
            f"{venv}/bin/python {TOP}/wheels/{pip}/pip install --quiet --no-index --no-compile"
            f" --disable-pip-version-check --no-warn-script-location --find-links {TOP}/wheels"
            f" pip 'otter-mesh[agent]=={release.rpartition('-')[0]}'\n"
            f"{_runs(venv)}\n"
            f"touch {venv}/complete\n",
        ),
        Step(
            f"lead {TOP}/current and /usr/local/bin/otter-agent there",
            f"{_lead(release)}"
            f"mkdir -p /usr/local/bin && ln -sf {TOP}/current/bin/otter-agent /usr/local/bin/\n",
        ),
    ]
    return [*steps, *group(facts), service(facts, name)]


def copy(staged: str, sums: Mapping[str, str]) -> Step:
    """Take from what was sent what is to be taken, and only as it was sent.

    Whatever else is there isn't: pip, which is root here, would choose it if it is newer, and who
    can write there may not be root. What is checked is root's copy, which nobody changes after.
    """
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    return Step(
        f"copy packages to {TOP}/wheels",
        f"mkdir -p {TOP}/wheels && chmod 755 {TOP} {TOP}/wheels\n"
        f"touch {TOP}/receipt\n"
        f"new=$(mktemp -d {TOP}/wheels.XXXXXX)\n"  # its own: others may add at the same time
        "trap 'rm -rf \"$new\"' EXIT\n"
        f"cat > \"$new/sums\" <<'END'\n{listed}END\n"
        "while read -r _ name; do\n"
        f'    cp {staged}/"$name" "$new/"\n'
        'done <"$new/sums"\n'
        'cd "$new"\n'
        "sha256sum -c sums >/dev/null\n"
        "chmod 644 ./*.whl\n"
        "mv ./*.whl ../wheels/\n",
        hint=_NOT_AS_SENT,
    )


def _runs(venv: str) -> str:
    """Its interpreter may be gone: another version of the system has another one."""
    return f"{venv}/bin/python -c 'import otter_agent.service'"


def unpack(folder: str, program: str, staged: str, digest: str) -> Step:
    """Put an interpreter that was sent where it stays, all of it or nothing.

    Args:
        folder: Where.
        program: The interpreter's path then.
        staged: Folder over there with the archive.
        digest: SHA-256 of the archive, of which root checks a copy of its own.
    """
    inside = program.removeprefix(folder)
    copied = f"{folder}.tar.gz"
    return Step(
        f"unpack the Python that was sent to {folder}",
        f"[ ! -x {program} ] || exit 0\n"
        f"rm -rf {folder}.new && mkdir -p {folder}.new && chmod 755 {TOP} {TOP}/python\n"
        f"trap 'rm -f {copied}' EXIT\n"
        f"cp {staged}/{ARCHIVE} {copied}\n"
        f"echo '{digest}  {copied}' | sha256sum -c >/dev/null\n"
        f"tar -xzf {copied} -C {folder}.new --strip-components=1 --no-same-owner\n"
        f"{folder}.new{inside} -c 'import venv, ssl, sqlite3'\n"
        f"mv -T {folder}.new {folder}\n",
        hint=_NOT_AS_SENT,
    )


def group(facts: Facts) -> list[Step]:
    """The group whose members may use the agent; whoever logs in is one of them."""
    script = f"getent group {GROUP} >/dev/null || groupadd --system {GROUP}\n"
    title = f"make the group {GROUP}, whose members may use the agent"
    if facts.uid != 0:
        user = shlex.quote(facts.user)
        script += f"usermod -a -G {GROUP} {user}\n"
        title += f" (as good as root there), with {facts.user} in it"
    return [Step(title, script)]


def service(facts: Facts, name: str) -> Step:
    """Have the agent started now and at each boot; one that runs is started anew."""
    command = f"{TOP}/current/bin/otter-agent serve --name {shlex.quote(name)}"
    if facts.systemd:
        text = data("otter-agent.service").replace("@COMMAND@", command)
        script = f"cat > {_UNIT} <<'END'\n{text}END\nsystemctl daemon-reload\n"
        script += f"systemctl enable --quiet otter-agent\n{_gives_up(_JOURNAL)}"
        script += f"was=$({_RUN})\n"  # restart waits until it is ready
        script += 'why=$(systemctl restart otter-agent 2>&1) || gives_up "$why"\n'
        return Step(f"start otter-agent now and at each boot ({_UNIT})", script + _answers())
    text = data("otter-agent.init").replace("@COMMAND@", command)
    script = f"cat > {_INIT} <<'END'\n{text}END\nchmod 755 {_INIT}\n"
    for level in "2345":
        script += f"mkdir -p /etc/rc{level}.d && ln -sf ../init.d/otter-agent"
        script += f" /etc/rc{level}.d/S03otter-agent\n"
    script += f"{_gives_up(_LOG)}{_INIT} restart\n"
    return Step(
        f"start otter-agent now and at each boot ({_INIT}: no systemd runs)", script + _answers()
    )


def _gives_up(last: str) -> str:
    """A function of the shell: fail with what the agent's log says last, else with its argument."""
    return (
        f"gives_up() {{ said=$({{ {last}\n}} 2>/dev/null) || :\n"
        '[ "$said" ] || said=$(echo "${1:-}" | head -n 1)\n'
        'echo "otter-agent does not answer: $said" >&2; exit 1; }\n'
    )


def _answers() -> str:
    """Wait until it does; say what its log says if it ends, or takes too long."""
    return (
        "tries=0\n"
        "until [ -S /run/otter/agent.sock ]; do\n"
        "    tries=$((tries + 1))\n"
        f"    if [ $tries -gt {ANSWER_S * 10} ] || [ -e {ENDED} ]; then gives_up; fi\n"
        "    sleep 0.1\n"
        "done\n"
        f'ln -sfn "$(readlink {TOP}/current)" {SERVED}\n'
    )


def clean(release: str) -> Step:
    """Remove versions that aren't used any more."""
    return Step(
        "remove older versions",
        f'cd {TOP} && for old in *-*/; do\n    [ "$old" = {release}/ ] || rm -rf "./$old"\ndone\n',
    )


def back(facts: Facts, earlier: str, name: str) -> list[Step]:
    """Return to the version that ran before."""
    return [Step(f"return to {earlier}", _lead(earlier)), service(facts, name)]


def _lead(release: str) -> str:
    """Another version from one moment to the next; a link that was left half-way is replaced."""
    name = shlex.quote(release)
    return f"ln -sfn {name} {TOP}/.current.new && mv -T {TOP}/.current.new {TOP}/current\n"


def stop(facts: Facts) -> Step:
    """End the agent, for good; modules live on."""
    if facts.systemd:
        script = (
            f"[ ! -e {_UNIT} ] || systemctl disable --quiet --now otter-agent\n"
            f"rm -f {_UNIT}\nsystemctl daemon-reload\n"
        )
    else:
        script = f"[ ! -x {_INIT} ] || {_INIT} stop\nrm -f {_INIT} /etc/rc[2345].d/S03otter-agent\n"
    return Step("stop otter-agent, now and at boot", script)


def own(name: str) -> Step:
    """See that what is there is `add`'s, whose receipt comes before an agent and goes after it."""
    of_others = " ".join((STATE, _UNIT, _INIT))
    told = "its agent wasn't installed by otterctl machine add, or is one --via docker"
    hint = "end its meshes, and remove it as it was installed (one --via docker: as a user of group"
    return Step(
        "see that it was installed by otterctl machine",
        f"[ ! -e {TOP}/receipt ] || exit 0\n"
        f"for one in {of_others}; do\n"
        f'    [ ! -e "$one" ] || {{ echo {shlex.quote(told)}": $one is there" >&2; exit 1; }}\n'
        "done\n",
        hint=f"{hint} docker); then otterctl machine rm {name} --forget",
    )


def remove() -> list[Step]:
    """Remove all that `install` made, once the agent is stopped; the receipt last."""
    return [
        Step(
            f"remove {TOP}, /usr/local/bin/otter-agent, {STATE} and /run/otter",
            f"rm -rf {STATE} /run/otter /var/log/otter-agent.log\n"
            "[ ! -L /usr/local/bin/otter-agent ] || rm -f /usr/local/bin/otter-agent\n"
            f"[ ! -d {TOP} ] ||"
            f" find {TOP} -mindepth 1 -maxdepth 1 ! -name receipt -exec rm -rf {{}} +\n"
            f"rm -rf {TOP}\n",
        ),
        Step(
            f"remove the group {GROUP}",
            f"! getent group {GROUP} >/dev/null || groupdel {GROUP}\n",
        ),
    ]


def data(name: str) -> str:
    """A file beside this one, of folder data."""
    return files("otter_ctl.machine").joinpath("data", name).read_text(encoding="utf-8")
