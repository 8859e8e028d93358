"""What can be sent, and how the rest is refused."""

from __future__ import annotations

import numpy as np
import pytest

from net.errors import LocalWireError, RemoteWireError
from net.values import LONG_TEXT, MAX_BUFFERS, Slot, pack, slots


def unpack(packed):
    """The receiver's side of `pack`, without a wire."""
    import json

    made = slots(json.loads(json.dumps(packed.entries)))
    tree = json.loads(packed.tree)
    for slot, buffer in zip(made, packed.buffers, strict=True):
        slot.memory()[:] = buffer
        tree = slot.place(tree)
    return tree


def test_the_readme_example_of_the_format():
    packed = pack({"image": np.zeros((4, 6, 3), np.uint8), "text": "a dog"})
    assert packed.tree == '{"image":null,"text":"a dog"}'
    assert packed.entries == [["a", ["image"], "|u1", [4, 6, 3]]]
    assert [len(b) for b in packed.buffers] == [72]


def test_arrays_are_not_copied():
    array = np.zeros(1000)
    buffer = pack([array]).buffers[0]
    array[0] = 1.0
    assert bytes(buffer[:8]) == array[:1].tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4).T,
        np.arange(12)[::-2],
        np.zeros((0, 7), np.float32),
        np.array(3.5, np.float16),
        np.array([True, False]),
        np.array(["é", "long text"]),
        np.array([b"a", b"bc"]),
        np.array(["2026-01-02T03:04", "NaT"], "M8[s]"),
        np.array([5], "m8[25us]"),
        np.array([1 + 2j], np.complex64),
        np.arange(3, dtype=">i4"),
    ],
)
def test_every_common_array_comes_back_the_same(array):
    back = unpack(pack(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable
    assert back.flags.owndata


@pytest.mark.parametrize(
    "value",
    [None, True, 7, -1.5, "", "x", "x" * LONG_TEXT, "\ud800 lone", b"", b"\0\xff", [], {}, [[None]],
     {"a": [b"1", {"b": "y" * LONG_TEXT, "c": None}], "": 10**100}],
)  # fmt: skip
def test_plain_values_come_back_the_same(value):
    back = unpack(pack(value))
    assert back == value
    assert type(back) is type(value)


def test_numpy_scalars_stay_numpy_scalars():
    back = unpack(pack({"score": np.float32(0.5)}))
    assert type(back["score"]) is np.float32


class Custom:
    pass


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Custom(), "Custom"),
        ({"a": [1, Custom()]}, "value['a'][1]"),
        ({1: 2}, "key 1"),
        ({3, 4}, "set"),
        (np.array([object()]), "dtype object"),
        (np.zeros(2, np.longdouble), "float128"),
        (np.zeros(2, [("x", "f4")]), "dtype"),
        (np.ma.masked_array([1, 2], mask=[0, 1]), "masked"),
        ([np.zeros(1)] * (MAX_BUFFERS + 1), str(MAX_BUFFERS)),
        ([10**5000], "4300"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_place_and_type(value, says):
    with pytest.raises(LocalWireError) as caught:
        pack(value)
    assert says in str(caught.value)


def test_a_value_that_holds_itself_is_refused():
    value: list[object] = []
    value.append(value)
    with pytest.raises(LocalWireError, match="holds itself"):
        pack(value)


@pytest.mark.parametrize(
    "entry",
    [
        None, [], ["a"], ["x", [], 3], ["a", [], "|O", [1]], ["a", [], "O", [1]],
        ["a", [], "i4,i4", [1]],
        ["a", [], "<f16", [1]], ["a", [], "|V8", [1]], ["a", [], "<U0", [1]],
        ["a", [], "|u1", [-1]],
        ["a", [], "|u1", [1.0]], ["a", [], "|u1", [True]], ["a", [], "|u1", [1] * 33],
        ["a", [], "|u1", [2**62]], ["a", [], "(2,2)u1", [1]], ["a", {}, "|u1", [1]],
        ["n", [], "|u1", [1]],
        ["b", [], -1], ["b", [], 1.5], ["b", [], True], ["s", [], "5"], ["a", [], ["|u1"], [1]],
    ],
)  # fmt: skip
def test_hostile_entries_are_refused(entry):
    with pytest.raises(RemoteWireError):
        Slot(entry)


@pytest.mark.parametrize(
    ("path", "tree"),
    [([], 5), (["a"], {}), ([0], []), ([-1], [None]), ([True], [None, None]), (["a"], {"a": 1}),
     ([[0]], [None]), (["a", "b"], {"a": None}), ([0], None), ([0], "text")],
)  # fmt: skip
def test_hostile_places_are_refused(path, tree):
    slot = Slot(["b", path, 0])
    slot.memory()
    with pytest.raises(RemoteWireError):
        slot.place(tree)


@pytest.mark.parametrize(
    ("dtype", "content"), [("|b1", b"\x02"), ("<U1", b"\xff" * 4), (">U1", b"\x00\x11\x00\x00")]
)
def test_bits_that_numpy_must_not_see_are_refused(dtype, content):
    slot = Slot(["a", [], dtype, [1]])
    slot.memory()[:] = content
    with pytest.raises(RemoteWireError):
        slot.place(None)


def test_a_text_that_is_not_utf8_is_refused():
    slot = Slot(["s", [], 1])
    slot.memory()[:] = b"\xff"
    with pytest.raises(RemoteWireError):
        slot.place(None)
