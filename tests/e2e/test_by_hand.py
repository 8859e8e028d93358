"""`python -m net` as people use it: processes that talk over loopback."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NET = [sys.executable, "-m", "net"]


def net(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NET, *words], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


@contextlib.contextmanager
def receiver(*words: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `recv` that listens, and where."""
    argv = [*NET, "recv", "--listen", "127.0.0.1", "--port", str(port), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            line = process.stderr.readline()
            assert line.startswith("listening at "), line
            yield process, line.split()[-1]
        finally:
            process.kill()


def finished(process: subprocess.Popen[str], number: int | None = None) -> tuple[int, str, str]:
    """Exit status, output, errors; after a signal, if one is given."""
    if number is not None:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_lines_arrive_as_they_were() -> None:
    with receiver("--plain", "--until-end") as (process, where):
        done = net("send", where, stdin="one\ntwo\nlast without an end")
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("3 messages sent in ")
        status, out, err = finished(process)
    assert (status, out) == (0, "one\ntwo\nlast without an end\n")
    assert err.startswith("3 messages, ")


def test_lines_of_a_file(tmp_path) -> None:
    (tmp_path / "lines").write_text("a\nb\n")
    with receiver("--plain", "--count", "2") as (process, where), (tmp_path / "lines").open() as of:
        argv = [*NET, "send", where]
        assert subprocess.run(argv, stdin=of, timeout=60, check=False).returncode == 0
        assert finished(process)[:2] == (0, "a\nb\n")


def test_an_array_and_a_value_in_json() -> None:
    with receiver("--json", "--count", "3") as (process, where):
        assert net("send", where, "--array", "4x3:<f4", "--count", "2").returncode == 0
        assert net("send", where, "--value", '{"n": [1, null]}').returncode == 0
        status, out, _ = finished(process)
    records = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [r["value"] for r in records] == [
        {"dtype": "<f4", "shape": [4, 3]}, {"dtype": "<f4", "shape": [4, 3]}, {"n": [1, None]},
    ]  # fmt: skip
    assert all(r["made"] <= r["sent"] <= r["received"] for r in records)


def test_ping_counts_and_sums_up() -> None:
    with receiver() as (process, where):
        done = net("ping", where, "-c", "3", "-i", "0")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert [line.partition(" time=")[0] for line in lines[:3]] == [
            f"64 bytes from {where}: seq={n}" for n in (1, 2, 3)
        ]
        assert lines[3] == f"--- {where}: 3 sent, 3 answered"
        assert lines[4].startswith("round trip min/median/p99/max = ")
        document = json.loads(net("ping", where, "-c", "5", "-i", "0", "--json").stdout)
        assert (document["sent"], document["answered"], len(document["times_s"])) == (5, 5, 5)
        assert document["min_s"] <= document["median_s"] <= document["p99_s"] == document["max_s"]
        assert finished(process, signal.SIGINT) == (0, "", "0 messages, 0 B\n")


def test_all_of_it_over_udp() -> None:
    with receiver("--udp", "--plain", "--count", "2") as (process, where):
        ping = net("ping", where, "--udp", "-c", "3", "-i", "0")
        assert ping.returncode == 0, ping.stderr
        done = net("bench", where, "--udp", "--sizes", "64,100KiB", "--seconds", "50ms", "--json")
        assert done.returncode == 0, done.stderr
        assert [s["messages"] > 0 for s in json.loads(done.stdout)["sizes"]] == [True, True]
        done = net("send", where, "--udp", "--text", "hello", "--count", "2")
        assert done.returncode == 0, done.stderr
        assert finished(process)[:2] == (0, "hello\nhello\n")


def test_ctrl_c_ends_ping_with_its_summary() -> None:
    with receiver() as (_, where):
        argv = [*NET, "ping", where]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            assert " seq=1 " in p.stdout.readline()
            status, out, err = finished(p, signal.SIGINT)
    assert (status, err) == (0, "")
    assert f"--- {where}: " in out


def test_ping_is_answered_by_a_receiver_that_came_back() -> None:
    """What has restarted doesn't know who asks: who asks says it again."""
    port = free_port()
    # So long for each answer, and for the first connection, when both are only starting.
    argv = [*NET, "ping", f"127.0.0.1:{port}", "-i", "0", "-W", "4s"]
    with receiver(port=port) as (first, _):
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with p:
            assert " seq=1 " in p.stdout.readline()
            finished(first, signal.SIGKILL)
            while not p.stdout.readline().startswith("no answer"):
                pass
            with receiver(port=port):
                while " time=" not in p.stdout.readline():
                    pass
                status, _, err = finished(p, signal.SIGINT)
    assert (status, err) == (0, "")


def test_bench_has_a_figure_per_size() -> None:
    with receiver() as (_, where):
        done = net("bench", where, "--sizes", "64,100KiB", "--seconds", "50ms", "--json")
    assert done.returncode == 0, done.stderr
    small, large = json.loads(done.stdout)["sizes"]
    assert (small["size_bytes"], large["size_bytes"]) == (64, 102400)
    for figures in (small, large):
        assert figures["round_trip_median_s"] > 0
        assert figures["messages"] > 0
        rate = figures["messages_per_s"] * figures["size_bytes"]
        assert figures["bytes_per_s"] == pytest.approx(rate)


@pytest.mark.parametrize("verb", ["send", "ping", "bench"])
def test_nobody_there_is_one_line(verb: str) -> None:
    port = free_port()
    done = net(verb, f"127.0.0.1:{port}", "--wait", "100ms", *["--text", "x"] * (verb == "send"))
    assert done.returncode == 1
    assert done.stderr == (
        f"python -m net {verb}: 127.0.0.1:{port}: nobody listens there (waited 0.1 s); "
        f"start `python -m net recv --port {port}` on it, or wait longer with --wait\n"
    )


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["send", "no.such.host.invalid:9000", "--text", "x"], 1, "no.such.host.invalid:9000"),
        (["ping", "no.such.host.invalid:9000"], 1, "no.such.host.invalid:9000: no way there"),
        (["send", "127.0.0.1:9", "--value", "{"], 2, "--value is no JSON"),
        (["send", "127.0.0.1:9", "--array", "3x:u1"], 2, "--array 3x:u1: "),
        (["send", "127.0.0.1:9", "--array", "3:nope"], 2, "write 480x640x3:u1"),
    ],
)
def test_mistakes_are_one_line(words: list[str], status: int, why: str) -> None:
    done = net(*words)
    assert done.returncode == status
    (line,) = done.stderr.splitlines()
    assert why in line


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = net("recv", "--listen", "127.0.0.1", "--port", str(port))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"python -m net recv: 127.0.0.1:{port}: can't listen: ")


def test_who_reads_may_leave() -> None:
    """As with `recv | head -1`."""
    with receiver() as (process, where):
        process.stdout.close()
        assert net("send", where, "--text", "x", "--count", "3").returncode in (0, 1)
        process.wait(timeout=60)
        assert process.returncode == 1
        assert process.stderr.read() == ""
