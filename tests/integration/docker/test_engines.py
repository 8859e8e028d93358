"""What engines and images do to a runtime: odd images, restarts, crashes, others on the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from helpers.dockerd import Dockerd, unavailable
from helpers.images import busybox_root, scratch_root, tar
from helpers.workloads import log_text, make_workload, run, until, until_exit

from otter_agent.cgroups import open_cgroups
from otter_agent.errors import ContainerError
from otter_agent.runtimes.base import Phase
from otter_agent.runtimes.docker import DockerRuntime

pytestmark = pytest.mark.docker


POLITE = ("sh", "-c", "trap exit TERM; while true; do sleep 0.1; done")


async def test_an_image_with_nothing_in_it(runtime, layout, scratch_image):
    work = make_workload(layout, scratch_image)
    up = await run(runtime, work)
    assert up.phase is Phase.RUNNING
    async with asyncio.timeout(20):
        while b"sleep\x003600" not in Path(f"/proc/{up.pid}/cmdline").read_bytes():
            await asyncio.sleep(0.01)
    other = make_workload(layout, scratch_image, ("/busybox", "echo", "hi"), module="other")
    await run(runtime, other)
    assert (await until_exit(runtime, other.key)).exit_code == 0
    assert await log_text(runtime, other.key) == ["hi"]


async def test_an_images_own_user_may_write_and_is_held(runtime, layout, dockerd):
    image = "otter-test/nobody:1"
    script = "id -un; touch /work/out /run/otter-state/ready; pwd"
    dockerd.import_image(
        image, busybox_root(), "USER nobody", "WORKDIR /tmp", f'CMD ["sh", "-c", "{script}"]'
    )
    work = make_workload(layout, image)
    await runtime.create(work)
    assert (await runtime.start(work.key)).phase is Phase.HELD
    await runtime.release(work.key)
    assert (await until_exit(runtime, work.key)).exit_code == 0
    assert await log_text(runtime, work.key) == ["nobody", "/tmp"]
    assert work.paths.ready.exists()


@pytest.mark.parametrize(("changes", "command", "said"), [
    (('ENTRYPOINT ["echo", "a"]', 'CMD ["b", "c d"]'), None, "a b c d"),
    (('ENTRYPOINT ["echo", "only"]',), None, "only"),
    (("CMD echo shell $HOME",), None, "shell /root"),
    (('ENTRYPOINT ["echo", "a"]', 'CMD ["b"]'), ("echo", "instead"), "instead"),
])  # fmt: skip
async def test_entrypoint_and_command(runtime, layout, dockerd, changes, command, said):
    image = f"otter-test/mix:{abs(hash(changes))}"
    dockerd.import_image(image, busybox_root(), *changes)
    work = make_workload(layout, image, command)
    await run(runtime, work)
    assert (await until_exit(runtime, work.key)).exit_code == 0
    assert await log_text(runtime, work.key) == [said]


async def test_an_image_without_a_command_needs_one(runtime, layout, dockerd):
    dockerd.import_image("otter-test/bare:1", scratch_root())
    work = make_workload(layout, "otter-test/bare:1")
    with pytest.raises(ContainerError, match="has no command") as caught:
        await runtime.create(work)
    assert "command = " in caught.value.hint


async def test_an_image_may_have_a_stop_signal_of_its_own(runtime, layout, dockerd, busybox_image):
    _build(dockerd, "otter-test/usr1:1", f"FROM {busybox_image}\nSTOPSIGNAL USR1\n".encode())
    script = "trap 'exit 9' USR1; echo up; while true; do sleep 0.05; done"
    work = make_workload(layout, "otter-test/usr1:1", ("sh", "-c", script))
    await run(runtime, work)

    async def up() -> bool:
        return await log_text(runtime, work.key) == ["up"]

    await until(up, "it listens")
    assert (await runtime.stop(work.key, 30)).exit_code == 9


async def test_health_checks_of_an_image_do_not_run(runtime, layout, dockerd, busybox_image):
    dockerfile = (
        f'FROM {busybox_image}\nHEALTHCHECK --interval=1s CMD ["touch", "/work/checked"]\n'
    ).encode()
    _build(dockerd, "otter-test/health:1", dockerfile)
    work = make_workload(layout, "otter-test/health:1")
    up = await run(runtime, work)
    shown = await runtime.engine.json("GET", f"/containers/{up.id}/json")
    assert shown["Config"]["Healthcheck"]["Test"] == ["NONE"]
    assert "Health" not in shown["State"]


async def test_an_absent_image_says_so(runtime, layout):
    work = make_workload(layout, "otter-test/absent:1")
    with pytest.raises(ContainerError, match="No such image") as caught:
        await runtime.create(work)
    assert caught.value.hint


async def test_a_tag_that_moved_is_read_anew(runtime, layout, dockerd):
    for text in ("old", "new"):
        dockerd.import_image("otter-test/moves:1", busybox_root(), f'CMD ["echo", "{text}"]')
        work = make_workload(layout, "otter-test/moves:1", module=text)
        await run(runtime, work)
        await until_exit(runtime, work.key)
        assert await log_text(runtime, work.key) == [text]


async def test_a_foreign_container_with_our_name_is_left_alone(
    runtime, layout, dockerd, busybox_image, agent_id
):
    name = f"otter-{agent_id}.m.mod"
    made = dockerd.request("POST", f"/containers/create?name={name}", {"Image": busybox_image})
    work = make_workload(layout, busybox_image)
    with pytest.raises(ContainerError, match="isn't ours") as caught:
        await runtime.create(work)
    assert name in str(caught.value)
    await runtime.remove(work.key)
    assert await runtime.list() == []
    assert dockerd.request("GET", f"/containers/{name}/json")["Id"] == made["Id"]
    dockerd.request("DELETE", f"/containers/{name}")


async def test_names_with_dashes_do_not_clash(runtime, layout, busybox_image):
    one = make_workload(layout, busybox_image, mesh="a-b", module="c")
    two = make_workload(layout, busybox_image, mesh="a", module="b-c")
    await runtime.create(one)
    await runtime.create(two)
    assert [i.key for i in await runtime.list()] == [two.key, one.key]


async def test_two_agents_on_one_engine(runtime, layout, docker_url, busybox_image, tmp_path):
    cgroups = open_cgroups("t-other")
    other = DockerRuntime(docker_url, "t-other", layout, cgroups)
    work = make_workload(layout, busybox_image)
    first = await runtime.create(work)
    second = await other.create(work)
    assert first.id != second.id
    assert [i.id for i in await runtime.list()] == [first.id]
    await other.remove(work.key)
    assert [i.id for i in await runtime.list()] == [first.id]
    await other.aclose()
    cgroups.remove("")


async def test_removed_behind_our_back(runtime, layout, dockerd, busybox_image):
    work = make_workload(layout, busybox_image)
    up = await run(runtime, work)
    dockerd.request("DELETE", f"/containers/{up.id}?force=1")
    with pytest.raises(ContainerError) as caught:
        await runtime.start(work.key)
    assert caught.value.recoverable
    assert await runtime.list() == []
    assert (await runtime.stop(work.key, 1)).exit_code is None
    assert (await run(runtime, work)).phase is Phase.RUNNING


async def test_no_engine_is_recoverable_and_says_where(layout, tmp_path):
    cgroups = open_cgroups("t-none")
    runtime = DockerRuntime(f"unix://{tmp_path}/absent.sock", "t-none", layout, cgroups)
    with pytest.raises(ContainerError, match=r"absent\.sock") as caught:
        await runtime.list()
    assert caught.value.recoverable
    assert "dockerd" in caught.value.hint
    with pytest.raises(ContainerError):
        await anext(runtime.watch())
    await runtime.aclose()


@pytest.fixture
async def on_own(own_dockerd: Dockerd, layout, agent_id):
    """A runtime on an engine that the test may restart."""
    own_dockerd.import_image("own:1", busybox_root(), 'CMD ["sleep", "3600"]')
    cgroups = open_cgroups(agent_id)
    runtime = DockerRuntime(own_dockerd.url, agent_id, layout, cgroups)
    yield runtime
    for instance in await runtime.list():
        await runtime.remove(instance.key)
    await runtime.aclose()
    cgroups.remove("")


async def test_restart_of_the_engine_ends_containers(on_own, own_dockerd, layout):
    work = make_workload(layout, "own:1", POLITE)
    up = await run(on_own, work)
    watching = on_own.watch()
    before = _listeners(own_dockerd)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        task = group.create_task(_outcome(watching))

        async def listens() -> bool:
            return await asyncio.to_thread(_listeners, own_dockerd) > before

        await until(listens, "watch() listens to events")
        await asyncio.to_thread(own_dockerd.terminate)  # the events end before the containers do
        outcome = await task
    assert outcome.recoverable
    await asyncio.to_thread(own_dockerd.start)
    [found] = await on_own.list()
    assert (found.phase, found.id) == (Phase.EXITED, up.id)
    assert (await run_again(on_own, work)).phase is Phase.RUNNING


async def test_a_crash_of_the_engine_is_survived(on_own, own_dockerd, layout):
    work = make_workload(layout, "own:1")
    up = await run(on_own, work)
    await asyncio.to_thread(own_dockerd.kill)
    with pytest.raises(ContainerError) as caught:
        await on_own.list()
    assert caught.value.recoverable
    await asyncio.to_thread(own_dockerd.start)
    [found] = await on_own.list()
    assert found.id == up.id
    assert (await run_again(on_own, work)).phase is Phase.RUNNING


async def test_live_restore_keeps_containers_held_and_running(require, layout, agent_id):
    require("docker", not unavailable(), unavailable())
    with Dockerd(live_restore=True) as engine:
        engine.import_image("own:1", busybox_root(), 'CMD ["sleep", "3600"]')
        cgroups = open_cgroups(agent_id)
        runtime = DockerRuntime(engine.url, agent_id, layout, cgroups)
        runs = await run(runtime, make_workload(layout, "own:1", module="runs"))
        waits = make_workload(layout, "own:1", module="waits")
        await runtime.create(waits)
        held = await runtime.start(waits.key)
        await asyncio.to_thread(engine.terminate)
        await asyncio.to_thread(engine.start)
        assert await runtime.list() == [runs, held]
        assert (await runtime.release(waits.key)).pid == held.pid
        for key in (runs.key, waits.key):
            await runtime.remove(key)
        await runtime.aclose()
        cgroups.remove("")


async def run_again(runtime, work):
    await runtime.start(work.key)
    return await runtime.release(work.key)


async def _outcome(watching) -> ContainerError:
    """How the watching ends; exits may be told before."""
    with pytest.raises(ContainerError) as caught:
        async for _ in watching:
            pass
    return caught.value


def _listeners(engine: Dockerd) -> int:
    return int(engine.request("GET", "/info")["NEventsListener"])


def _build(engine: Dockerd, tag: str, dockerfile: bytes) -> None:
    answer = engine.request("POST", f"/build?t={tag}", tar({"Dockerfile": dockerfile}))
    assert "Successfully built" in str(answer), answer
