"""The agent's policy: from any observed state, step by step, to the desired one."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent import reconcile as policy
from otter_agent.reconcile import Observed, Seen, reconcile
from otter_agent.runtimes.base import Instance, Key, Phase
from otter_agent.supervision import PATIENCE, Supervision, account, ordered

MODULE = api.ModuleSpec(name="m", host="h", address="100.64.0.2", runtime="fake", command=("x",))
SPEC = api.MeshSpec(
    name="mesh", run="r", modules=(MODULE,),
    hosts=(api.HostSpec(name="h", address="100.64.0.1", block="100.64.0.0/24"),),
)  # fmt: skip
DIGEST = api.instance_digest(MODULE)
FRESH = {"m": Supervision(spec_digest=DIGEST)}
WANTED = policy.Wanted.of(SPEC)
STANDING = Observed(folders=WANTED.folders, network=WANTED.network, links=WANTED.links)


def instance(phase: Phase, digest: str = DIGEST, **more) -> Instance:
    return Instance(Key("mesh", "m"), digest, phase, **more)


def decide(seen: Seen, memory=FRESH, *, spec=SPEC, now=1000.0, ground=STANDING):
    return reconcile(policy.Wanted.of(spec), replace(ground, modules={"m": seen}), memory, now)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Seen(), policy.Prepare),
        (Seen(artifact=True), policy.Create),
        (Seen(artifact=True, instance=instance(Phase.CREATED)), policy.Start),
        (Seen(artifact=True, instance=instance(Phase.HELD)), policy.Connect),
        (Seen(artifact=True, instance=instance(Phase.RUNNING)), policy.Connect),
        (Seen(instance=instance(Phase.RUNNING), connected=True), policy.Update),
        (Seen(instance=instance(Phase.RUNNING, "other"), connected=True), policy.Remove),
        (Seen(instance=instance(Phase.EXITED, "other")), policy.Remove),
        (Seen(artifact=True, instance=instance(Phase.EXITED)), policy.Start),
    ],
)
def test_one_step_at_a_time(seen, expected):
    assert decide(seen).actions == (expected("m"),)


def test_as_desired_means_nothing_to_do():
    seen = Seen(
        instance=instance(Phase.RUNNING),
        connected=True,
        budget=policy.budget_of(MODULE),
        ready=True,
    )
    assert decide(seen) == policy.Decision(())


def test_a_new_mesh_begins_with_its_ground_and_its_images_at_once():
    decision = decide(Seen(), ground=Observed())
    assert set(decision.actions) == {policy.Folders(), policy.Network(), policy.Prepare("m")}


def test_no_instance_without_its_folders_and_no_release_without_network():
    assert decide(Seen(artifact=True), ground=replace(STANDING, folders="old")).actions == (
        policy.Folders(),
    )
    held = Seen(artifact=True, instance=instance(Phase.HELD))
    assert decide(held, ground=replace(STANDING, network="old")).actions == (policy.Network(),)


def test_no_release_before_links_are_as_asked():
    held = Seen(artifact=True, instance=instance(Phase.HELD))
    assert decide(held, ground=replace(STANDING, links="old")).actions == (policy.Links(),)
    neither = replace(STANDING, links="old", network="old")
    assert decide(held, ground=neither).actions == (policy.Network(),)


def test_other_properties_of_a_link_touch_no_network():
    link = api.Link(name="l", a="h", b="i", forward=LinkSpec(delay_s=0.1), reverse=LinkSpec())
    slower = msgspec.structs.replace(link, forward=LinkSpec(delay_s=0.2))
    free = msgspec.structs.replace(link, forward=LinkSpec())
    before, after, unshaped = (
        policy.Wanted.of(msgspec.structs.replace(SPEC, links=(x,))) for x in (link, slower, free)
    )
    assert after.network == before.network != unshaped.network
    assert len({before.links, after.links, unshaped.links}) == 3


def test_a_busy_module_is_left_alone():
    assert decide(Seen(busy=True)).actions == ()


def test_an_armed_exit_is_accounted_before_anything_else():
    memory = {"m": Supervision(spec_digest=DIGEST, armed=True)}
    seen = Seen(artifact=True, instance=instance(Phase.EXITED, exit_code=3))
    assert decide(seen, memory).actions == (policy.Account("m"),)


def test_an_exit_is_accounted_once_though_the_agent_was_killed_before_the_start_it_armed():
    memory = {"m": Supervision(spec_digest=DIGEST, armed=True, accounted="7@1", restarts=1)}
    old = Seen(artifact=True, instance=instance(Phase.EXITED, exit_code=3, life="7@1"))
    assert decide(old, memory).actions == (policy.Start("m"),)
    new = replace(old, instance=instance(Phase.EXITED, exit_code=3, life="8@2"))
    assert decide(new, memory).actions == (policy.Account("m"),)


def test_back_off_waits_and_then_starts():
    memory = {"m": Supervision(spec_digest=DIGEST, retry_at=1001.0)}
    seen = Seen(artifact=True, instance=instance(Phase.EXITED, exit_code=3))
    assert decide(seen, memory, now=1000.0) == policy.Decision((), {"m": 1001.0})
    assert decide(seen, memory, now=1001.0).actions == (policy.Start("m"),)


def test_done_and_failed_stay_so_until_the_spec_changes():
    seen = Seen(artifact=True, instance=instance(Phase.EXITED, exit_code=0))
    for outcome in ("done", "failed"):
        memory = {"m": Supervision(spec_digest=DIGEST, outcome=outcome)}
        assert decide(seen, memory).actions == ()


def test_what_the_spec_no_longer_has_is_removed():
    without = replace_modules(SPEC)
    assert decide(Seen(instance=instance(Phase.RUNNING)), spec=without,
                  ground=ground_of(without)).actions == (policy.Remove("m"),)  # fmt: skip


def test_a_failed_action_is_not_repeated_at_once():
    seen = Seen(artifact=True, instance=instance(Phase.HELD), retry_at=1002.0)
    assert decide(seen) == policy.Decision((), {"m": 1002.0})


def replace_modules(spec: api.MeshSpec, *modules: api.ModuleSpec) -> api.MeshSpec:
    return msgspec.structs.replace(spec, modules=modules)


def ground_of(spec: api.MeshSpec) -> Observed:
    wanted = policy.Wanted.of(spec)
    return Observed(folders=wanted.folders, network=wanted.network, links=wanted.links)


class TestAccount:
    """What an exit means, by restart policy."""

    def module(self, restart: str) -> api.ModuleSpec:
        return api.ModuleSpec(name="m", host="h", address="a", runtime="fake", restart=restart)

    @pytest.mark.parametrize(
        ("restart", "code", "outcome"),
        [
            ("no", 0, "done"), ("no", 1, "failed"),
            ("on-failure", 0, "done"), ("on-failure", 1, ""), ("on-failure", None, ""),
            ("always", 0, ""), ("always", 1, ""),
        ],
    )  # fmt: skip
    def test_policies(self, restart, code, outcome):
        memory = account(self.module(restart), Supervision(armed=True), code, 10.0)
        assert memory.outcome == outcome
        assert not memory.armed
        assert memory.exit_code == code
        assert (memory.retry_at > 10.0) == (outcome == "")

    def test_gives_up_after_failures_in_a_row_with_growing_pauses(self):
        memory, pauses = Supervision(), []
        for _ in range(PATIENCE.failures - 1):
            memory = account(self.module("on-failure"), memory, 1, 0.0)
            pauses.append(memory.retry_at)
        assert pauses == sorted(pauses)
        assert pauses[0] < pauses[-1]
        memory = account(self.module("on-failure"), memory, 1, 0.0)
        assert memory.outcome == "failed"
        assert "exited with 1" in memory.reason

    def test_a_long_healthy_run_forgives(self):
        memory = Supervision(streak=PATIENCE.failures - 1, started_at=0.0 + 1)
        after = account(self.module("on-failure"), memory, 1, PATIENCE.healthy_s + 2)
        assert after.outcome == ""
        assert after.streak == 1

    def test_signals_and_memory_are_named(self):
        module = self.module("no")
        assert "signal 9" in account(module, Supervision(), 137, 0.0).reason
        told = account(module, Supervision(), 137, 0.0, oom="asked 20MiB").reason
        assert told == "killed: out of memory (asked 20MiB)"


@pytest.mark.slow
@given(
    phase=st.sampled_from([None, *Phase]), artifact=st.booleans(), connected=st.booleans(),
    armed=st.booleans(), outcome=st.sampled_from(["", "done", "failed"]),
    exit_code=st.sampled_from([None, 0, 1, 137]), same=st.booleans(),
    orders=st.lists(st.sampled_from(["start", "stop", "restart"]), max_size=4),
)  # fmt: skip
@example(Phase.EXITED, False, False, True, "", 0, True, ["start"])  # an end not counted yet
@example(Phase.EXITED, False, False, True, "", 0, True, ["restart"])
def test_following_the_decisions_always_comes_to_rest(
    phase, artifact, connected, armed, outcome, exit_code, same, orders
):
    """From any state a crash may leave, doing what is decided ends with nothing to do.

    And what was ordered last holds in the end.
    """
    seen = Seen(
        instance=instance(phase, DIGEST if same else "old", exit_code=exit_code) if phase else None,
        artifact=artifact, connected=connected and phase is Phase.RUNNING,
    )  # fmt: skip
    memory = Supervision(spec_digest=DIGEST, armed=armed, outcome=outcome)
    now, given = 0.0, list(orders)
    for _ in range(60):
        if given:
            alive = seen.instance is not None and seen.instance.phase in UP
            memory = ordered(memory, given.pop(), alive=alive)
        decision = decide(seen, {"m": memory}, now=now)
        if given and not decision.actions:
            continue
        if not decision.actions and not decision.wakes:
            assert not memory.halting
            if orders and orders[0] == "stop":
                assert memory.outcome == "done" or seen.instance is None or (
                    seen.instance.phase not in UP)  # fmt: skip
            elif orders:
                assert seen.instance.phase is Phase.RUNNING
            return
        if not decision.actions:
            now = decision.wakes["m"]
            continue
        (action,) = decision.actions
        seen, memory = act(action, seen, memory, now)
    raise AssertionError(f"never rests: {seen} {memory}")


def act(action, seen: Seen, memory: Supervision, now: float) -> tuple[Seen, Supervision]:
    """A world in which every action works, and modules that are started keep running."""
    if isinstance(action, policy.Prepare):
        return replace(seen, artifact=True), memory
    if isinstance(action, policy.Create):
        return replace(seen, instance=instance(Phase.CREATED)), memory
    if isinstance(action, policy.Start):
        return replace(seen, instance=instance(Phase.HELD)), replace(
            memory, armed=True, halting=False
        )
    if isinstance(action, policy.Connect):
        return replace(seen, instance=instance(Phase.RUNNING), connected=True), memory
    if isinstance(action, policy.Update):
        return replace(seen, budget=policy.budget_of(MODULE)), memory
    if isinstance(action, policy.Remove):
        return replace(seen, instance=None, connected=False), replace(memory, halting=False)
    if isinstance(action, policy.Halt):
        gone = replace(seen, instance=instance(Phase.EXITED, exit_code=143), connected=False)
        return gone, replace(memory, halting=True, armed=True)
    assert isinstance(action, policy.Account)
    code = seen.instance.exit_code if seen.instance else None
    return seen, account(MODULE, memory, code, now, gone=seen.instance is None)


UP = (Phase.HELD, Phase.RUNNING)


class TestOrders:
    """What is remembered of `start`, `stop` and `restart`."""

    def test_an_ordered_end_is_no_failure_whatever_it_exits_with(self):
        memory = ordered(Supervision(armed=True, streak=2), "stop", alive=True)
        after = account(MODULE, memory, 137, 10.0)
        assert (after.stopped, after.halting, after.outcome) == (True, False, "")
        assert (after.streak, after.restarts, after.reason, after.retry_at) == (0, 0, "", 0.0)

    def test_a_restart_counts_once_however_often_it_is_asked_for_meanwhile(self):
        memory = Supervision(armed=True)
        for _ in range(3):
            memory = ordered(memory, "restart", alive=True)
        assert account(MODULE, memory, 0, 10.0).restarts == 1

    def test_a_stopped_one_stays_so_until_it_is_started(self):
        stopped = {"m": ordered(FRESH["m"], "stop", alive=False)}
        assert decide(Seen(), stopped) == policy.Decision(())
        assert decide(Seen(instance=instance(Phase.HELD)), stopped).actions == (policy.Halt("m"),)
        started = {"m": ordered(stopped["m"], "start", alive=False)}
        assert decide(Seen(), started).actions == (policy.Prepare("m"),)

    @pytest.mark.parametrize("outcome", ["done", "failed"])
    def test_what_is_over_runs_once_more_when_it_is_started(self, outcome):
        over = Supervision(spec_digest=DIGEST, outcome=outcome, streak=5, reason="x")
        after = ordered(over, "start", alive=False)
        assert (after.outcome, after.streak, after.reason) == ("", 0, "")

    def test_what_is_done_stays_done_when_it_is_stopped(self):
        done = Supervision(spec_digest=DIGEST, outcome="done")
        assert ordered(done, "stop", alive=False) == done

    def test_to_start_what_runs_changes_nothing(self):
        runs = Supervision(spec_digest=DIGEST, armed=True, streak=1)
        assert ordered(runs, "start", alive=True) == runs


def test_one_that_somebody_removed_is_accounted_and_made_anew():
    memory = Supervision(spec_digest=DIGEST, armed=True)
    assert decide(Seen(artifact=True), {"m": memory}).actions == (policy.Account("m"),)
    after = account(MODULE, memory, None, 10.0, gone=True)
    assert (after.restarts, after.reason) == (1, "removed from outside")


def test_only_what_was_asked_about_is_decided():
    spec = replace_modules(SPEC, MODULE, msgspec.structs.replace(MODULE, name="n"))
    ground = replace(ground_of(spec), modules={"m": Seen()})
    decision = reconcile(policy.Wanted.of(spec), ground, {}, 0.0, only=["m"])
    assert decision.actions == (policy.Prepare("m"),)
