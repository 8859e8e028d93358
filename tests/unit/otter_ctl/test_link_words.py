"""What links counted, in words: drops by cause, and a machine that was too slow."""

from __future__ import annotations

from msgspec.structs import replace

from otter_agent import api
from otter_agent.links.base import Counters
from otter_agent.links.counting import counted
from otter_agent.links.ways import Way
from otter_ctl.cli.gpu import _show
from otter_ctl.cli.links import show_doubts, show_drivers, show_links, show_tunnels, too_slow


def link(name="radio", driver="tun"):
    return api.LinkStatus(name=name, from_="a", to="b", driver=driver, asked={}, applied={})


def test_counters_go_to_their_direction():
    counters = {Way("radio", "a", "b"): Counters(packets=7, dropped={"loss": 2})}
    one, other = counted((link(), link("wire")), counters)
    assert one.counters.packets == 7
    assert one.counters.dropped == {"loss": 2}
    assert other.counters is None
    [plain] = counted((link(driver="none"),), counters)
    assert plain.counters is None


def test_drops_are_shown_by_cause(capsys):
    counters = {Way("radio", "a", "b"): Counters(packets=7, dropped={"loss": 2, "queue": 0})}
    show_links(counted((link(),), counters))
    shown = capsys.readouterr().out
    assert shown.split("\n")[1].split()[-5:] == ["7", "-", "-", "loss", "2"]
    assert "too slow" not in shown


def test_how_much_of_a_rate_is_used_and_how_long_packets_wait_for_it(capsys):
    told = Counters(packets=7, use_ratio=0.314, queue_delay_s=0.0123)
    show_links(counted((link(),), {Way("radio", "a", "b"): told}))
    titles, row, *_ = capsys.readouterr().out.split("\n")
    assert titles.split()[-4:] == ["PASSED", "USED", "WAITS", "DROPPED"]
    assert row.split()[-5:] == ["7", "31%", "12.3", "ms", "-"]


def test_an_answer_that_tells_no_counters_has_no_columns_of_them(capsys):
    show_links([link()])
    assert "PASSED" not in capsys.readouterr().out


def test_which_driver_shapes_links_is_told_with_why_and_how_exactly(capsys):
    why = "tun: TUN devices (not netem: sch_netem is missing)"
    one = api.MachineStatus(
        name="m1", reachable=True, version="1", link_driver="tun", link_driver_why=why,
        link_error_s=0.0001,
    )  # fmt: skip
    show_drivers([one])
    said = "driver tun: TUN devices (not netem: sch_netem is missing); delays are off by 100us"
    assert capsys.readouterr().out == f"  {said} (median)\n"
    silent = api.MachineStatus(name="m2", reachable=False, version="")
    show_drivers([one, silent])
    assert capsys.readouterr().out.splitlines() == [f"  m1: {said} (median)"]
    many = [replace(one, name=f"m{n}") for n in range(1, 6)]
    other = replace(one, name="m9", link_driver="netem", link_driver_why="", link_error_s=None)
    show_drivers([*many[:4], other, many[4]])
    alike, apart = capsys.readouterr().out.splitlines()
    assert alike == f"  m1, m2, m3 and 2 more: {said} (median)"
    assert apart == "  m9: driver netem"


def test_a_machine_that_is_too_slow_is_told():
    slow = Counters(packets=7, dropped={"overrun": 3}, late_mean_s=0.004)
    [line] = too_slow(counted((link(),), {Way("radio", "a", "b"): slow}))
    assert line.startswith("radio:a>b: this machine is too slow: 3 packets were lost on the way")
    assert "4 ms late on average" in line
    quick = Counters(packets=7, late_mean_s=0.0001, late_max_s=0.02)
    assert too_slow(counted((link(),), {Way("radio", "a", "b"): quick})) == []


def test_of_many_such_links_some_are_named():
    slow = Counters(dropped={"overrun": 1})
    links = [link(f"l{i}") for i in range(30)]
    lines = too_slow(counted(links, {Way(x.name, "a", "b"): slow for x in links}))
    assert len(lines) == 9
    assert lines[-1] == "and 22 more likewise"


def test_nothing_that_a_machine_tells_is_obeyed_by_the_terminal(capsys):
    evil = "\x1b[2Jall is well"
    told = replace(link(), error=evil, lacks={"jitter_s": evil}, tunnel=api.TunnelState(why=evil))
    show_links([told])
    show_tunnels([told])
    doubt = api.Doubt(cause="late", text=evil, since=0.0, until=1.0, seconds=1.0)
    show_doubts(api.Fidelity(run="r", valid=False, why=(doubt,), checked_s=1.0))
    _show({"m1": api.GpuState(why=evil)})
    shown = "".join(capsys.readouterr())
    assert shown.count("all is well") == 5
    assert "\x1b[2J" not in shown
