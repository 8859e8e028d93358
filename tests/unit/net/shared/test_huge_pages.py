"""Huge pages for the sender's memory: asked for where they are filled, and never needed."""

from __future__ import annotations

import mmap
import os
import resource

import pytest

from net.shared import memory

MIB = 2**20
SIZE = 16 * MIB


@pytest.fixture
def region():
    fd, mapped = memory.create(SIZE)
    yield fd, mapped
    os.close(fd)
    mapped.close()


def allocated(fd):
    return os.fstat(fd).st_blocks * 512


def test_a_region_begins_where_a_huge_page_may_on_both_sides(region):
    fd, mapped = region
    read = memory.adopt(os.dup(fd), SIZE)
    assert memory.address(mapped) % (2 * MIB) == memory.address(read) % (2 * MIB) == 0
    mapped[5] = 7
    assert read[5] == 7
    read.close()


@pytest.mark.parametrize(
    ("start", "nbytes", "most"),
    [
        (0, 2 * MIB - 1, 0),
        (MIB, 2 * MIB, 0),  # all over two, but neither filled
        (0, 2 * MIB, 2 * MIB),
        (4096, 4 * MIB - 4096, 4 * MIB),
        (MIB, 4 * MIB, 2 * MIB),
        (SIZE - 3 * MIB, 3 * MIB, 2 * MIB),
    ],
)
def test_no_more_memory_is_taken_than_will_be_filled(region, start, nbytes, most):
    fd, mapped = region
    memory.HugePages(mapped).want(mapped, start, nbytes)
    assert allocated(fd) <= most
    assert bool(allocated(fd)) == bool(most)


@pytest.mark.slow
def test_what_lies_there_already_stays(region):
    fd, mapped = region
    story = bytes(range(256)) * (SIZE // 256)
    mapped[:] = story
    huge = memory.HugePages(mapped)
    huge.want(mapped, 0, SIZE)
    huge.want(mapped, 0, SIZE)
    assert mapped[:] == story
    assert allocated(fd) == SIZE


def test_nothing_is_written_before_what_is_about_to_be_filled():
    """There another thread may be filling another array."""
    written = []

    class Watched(mmap.mmap):
        def __setitem__(self, at, value):
            written.append(at)
            super().__setitem__(at, value)

    with Watched(-1, SIZE) as mapped:
        huge = memory.HugePages(mapped)
        huge._wanted = True  # wherever it is
        start = 64 * 1024
        huge.want(mapped, start, 2 * MIB)
        assert written
        assert all(start <= at < start + 2 * MIB for at in written)


def test_without_descriptors_for_another_try_a_mapping_is_as_good_where_it_is(region, monkeypatch):
    fd, mapped = region
    monkeypatch.setattr(memory, "_HUGE", SIZE)  # the kernel itself sees to 2 MiB
    passed, odd = os.dup(fd), []
    while begins_well(fd):
        odd.append(mmap.mmap(-1, 4096))
    free = os.dup(fd)
    os.close(free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))
    try:
        read = memory.adopt(passed, SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    mapped[5] = 7
    assert read[5] == 7
    read.close()


def begins_well(fd):
    with mmap.mmap(fd, SIZE, prot=mmap.PROT_READ) as mapped:
        return memory.address(mapped) % SIZE == 0


@pytest.mark.parametrize("how", ["a file", "not aligned"])
def test_memory_that_can_have_none_is_as_good(tmp_path, how):
    """On an older kernel each refuses, as files do on some, and mappings elsewhere on all."""
    with open(tmp_path / "f", "w+b") as file:
        file.truncate(SIZE)
        fd = file.fileno()
        size, offset = (SIZE, 0) if how == "a file" else (SIZE - 4096, 4096)
        with mmap.mmap(fd, size, offset=offset) as mapped:
            mapped[-1] = 3
            huge = memory.HugePages(mapped)
            huge.want(mapped, 0, size)
            huge.want(mapped, 4 * MIB, 4 * MIB)
            assert (mapped[0], mapped[-1]) == (0, 3)
