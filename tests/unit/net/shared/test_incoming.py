"""What a sender puts into memory, honest and hostile, as the receiver takes it."""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import threading

import numpy as np
import pytest

from net import wire
from net.errors import MessageTooLarge, RemoteWireError
from net.messages import Parcel
from net.shared import memory, records
from net.shared.incoming import Incoming
from net.values import pack

SIZE = 1 << 20


class Peer:
    """A sender by hand, and what its receiver makes of it."""

    def __init__(self, *, copies=False, limit=SIZE, most=4 * SIZE):
        self.calls = 0
        self.incoming = Incoming(limit, most, copies=copies, released=self.released)
        self.fd, self.memory = memory.create(SIZE)
        self.incoming.announce(1, SIZE)
        self.incoming.region(os.dup(self.fd))

    def released(self):
        self.calls += 1

    def put(self, value, at=0):
        data = encoded(value)
        self.memory[at : at + len(data)] = data
        return len(data)

    def take(self, value, at=0):
        return self.incoming.slot(1, at, self.put(value, at))


@pytest.fixture
def peer():
    made = Peer()
    yield made
    os.close(made.fd)


def encoded(value, seq=1):
    parcel = Parcel(pack(value), run=1, number=1, made=1.0)
    return b"".join(wire.encode(parcel, seq=seq, queued=2.0, sent=3.0))


def test_an_array_is_the_senders_memory_and_cannot_be_written(peer):
    array = np.arange(1000.0)
    got = peer.take(array).value
    np.testing.assert_array_equal(got, array)
    assert got.ctypes.data % 64 == 0
    with pytest.raises(ValueError):
        got[0] = 1
    with pytest.raises(ValueError):
        got.flags.writeable = True


def test_a_slot_is_given_back_with_the_very_last_view(peer):
    message = peer.take({"a": np.arange(1000), "b": [np.ones(500), "text"]})
    view = message.value["a"][10:].reshape(-1, 2).view("u1").T
    other = memoryview(message.value["b"][0])
    del message
    assert peer.incoming.releases(10) == []
    del other
    assert peer.incoming.releases(10) == []
    del view
    assert peer.incoming.releases(10) == [(1, 0)]
    assert peer.calls == 1


def test_a_view_may_be_dropped_in_any_thread(peer):
    kept = [peer.take(np.arange(1000)).value]
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    assert peer.incoming.releases(10) == [(1, 0)]


@pytest.mark.slow
def test_values_without_arrays_give_their_slot_back_at_once(peer):
    assert peer.take({"a": b"x" * 5000, "t": "y" * 50_000}).value["a"] == b"x" * 5000
    gc.collect()
    assert peer.incoming.releases(10) == [(1, 0)]


def test_copies_are_the_modules_own():
    peer = Peer(copies=True)
    message = peer.take(np.zeros(1000))
    assert peer.incoming.releases(10) == [(1, 0)]
    message.value += 1
    peer.memory[:] = bytes(SIZE)
    assert message.value.sum() == 1000
    os.close(peer.fd)


def test_arrays_outlive_their_region(peer):
    array = np.arange(1000)
    got = peer.take(array).value
    peer.incoming.forget(1)
    np.testing.assert_array_equal(got, array)
    with pytest.raises(RemoteWireError):
        peer.incoming.slot(1, 4096, 1000)


@pytest.mark.parametrize(
    ("number", "at", "length"),
    [
        (2, 0, 500), (1, 32, 500), (1, 0, 10), (1, 0, SIZE + 64), (1, SIZE, 500),
        (1, 2**64 - 64, 500), (1, 0, 2**64 - 1), (1, SIZE - 64, 500),
    ],
)  # fmt: skip
def test_slots_outside_are_refused(peer, number, at, length):
    with pytest.raises(RemoteWireError):
        peer.incoming.slot(number, at, length)
    assert peer.incoming.lent == 0


def test_a_message_over_the_limit_is_refused_before_it_is_looked_at():
    peer = Peer(limit=1000)
    with pytest.raises(MessageTooLarge):
        peer.incoming.slot(1, 0, 2000)
    with pytest.raises(MessageTooLarge):
        peer.incoming.piece(1 << 40, memoryview(b"x"))
    os.close(peer.fd)


def test_a_slot_in_use_cannot_be_used_again(peer):
    kept = peer.take(np.arange(1000))
    with pytest.raises(RemoteWireError, match="given back"):
        peer.take(np.arange(1000))
    del kept
    peer.take(np.arange(1000))


def test_reserved_huge_pages_are_no_region(peer):
    """Sealed, too: but their maker can take pages away, and reading there would be a SIGBUS."""
    size = 2 * SIZE
    try:
        fd = os.memfd_create("x", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
        os.ftruncate(fd, size)
    except OSError:
        pytest.skip("this kernel knows no reserved huge pages")
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    peer.incoming.announce(2, size)
    with pytest.raises(RemoteWireError, match="ordinary"):
        peer.incoming.region(fd)


def test_nonsense_in_a_slot_is_an_error_and_frees_it(peer):
    with pytest.raises(RemoteWireError):
        peer.incoming.slot(1, 0, 5000)  # zeros
    assert peer.incoming.lent == 0


def test_a_sender_that_writes_later_spoils_values_only(peer):
    message = peer.take(np.zeros(1000, "u1"))
    peer.memory[:] = b"\xff" * SIZE
    assert set(message.value) == {255}
    assert message.value.shape == (1000,)


def unsealed():
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SIZE)
    return fd


def shrinkable():
    fd = unsealed()
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return fd


def smaller():
    return memory.create(SIZE // 2)[0]


def no_memory():
    return os.open("/dev/null", os.O_RDWR)


@pytest.mark.parametrize("make", [unsealed, shrinkable, smaller, no_memory])
def test_a_region_that_could_be_taken_away_is_refused(make):
    incoming = Incoming(SIZE, SIZE, copies=False, released=lambda: None)
    incoming.announce(1, SIZE)
    fd = make()
    with pytest.raises(RemoteWireError):
        incoming.region(fd)
    with pytest.raises(OSError):
        os.fstat(fd)  # closed


def test_regions_are_bounded(peer):
    for size in (0, 3 * SIZE + 1, 2**64 - 1):
        with pytest.raises(RemoteWireError):
            peer.incoming.announce(2, size)
    with pytest.raises(RemoteWireError):
        peer.incoming.announce(1, SIZE)
    peer.incoming.announce(2, 3 * SIZE)


def test_the_receiver_cannot_write_where_the_sender_does():
    fd, _ = memory.create(SIZE)
    with pytest.raises(OSError):
        mmap.mmap(fd, SIZE)
    with pytest.raises(OSError):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_a_large_message_comes_in_pieces():
    incoming = Incoming(SIZE, 0, copies=False, released=lambda: None)
    array = np.arange(50_000)
    data = memoryview(encoded(array))
    step = records.MAX_PAYLOAD
    for at in range(0, len(data), step):
        message = incoming.piece(len(data), data[at : at + step])
    np.testing.assert_array_equal(message.value, array)
    message.value += 1
    incoming.piece(1000, data[:500])
    with pytest.raises(RemoteWireError):
        incoming.piece(1001, data[500:600])
