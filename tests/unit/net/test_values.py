"""What can be sent, and how the rest is refused."""

from __future__ import annotations

import numpy as np
import pytest

from net.errors import LocalWireError, RemoteWireError
from net.layouts import blocks, layout, padded
from net.values import ARRAY, GENERAL, LONG_TEXT, MAX_BUFFERS, dumps, pack


def received(form, metadata, buffers):
    """The value that a receiver makes of these."""
    found = layout(form, metadata, padded([len(b) for b in buffers]))
    parts = blocks(found)
    for part, buffer in zip(parts, [b for b in buffers if len(b) or found.sizes], strict=True):
        part[:] = np.frombuffer(buffer, np.uint8)
    return found.value(parts)


def unpack(packed):
    """The receiver's side of `pack`, without a wire."""
    buffers = packed.buffers if packed.nbytes or packed.form in (ARRAY, GENERAL) else []
    return received(packed.form, packed.metadata, buffers)


def test_the_readme_example_of_the_format():
    packed = pack({"image": np.zeros((4, 6, 3), np.uint8), "text": "a dog"})
    assert packed.metadata == (
        b'{"b":[["a",["image"],"|u1",[4,6,3]]],"v":{"image":null,"text":"a dog"}}'
    )
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
        np.asfortranarray(np.arange(60.0).reshape(3, 4, 5)),
        np.zeros(3, [("x", "<f4"), ("t", "<M8[ns]"), ("inner", [("n", ">u2", (2, 3))])]),
        np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [0, 8]})),
    ],
)
def test_every_common_array_comes_back_the_same(array):
    for back in (unpack(pack(array)), unpack(pack({"in": [array]}))["in"][0]):
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        np.testing.assert_array_equal(back, array)
        assert back.flags.writeable
        assert back.__array_interface__["data"][0] % 64 == 0 or not back.size


def test_an_array_in_fortran_order_stays_so_and_is_not_copied():
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    packed = pack(array)
    array[0, 0] = 99
    back = unpack(packed)
    assert back.flags.f_contiguous
    assert back[0, 0] == 99


class Tensor:
    """As torch's and TensorFlow's: no numpy array, but willing to be one."""

    def __init__(self, array, why=None):
        self.array, self.why = array, why

    def __dlpack__(self, **options):
        if self.why:
            raise RuntimeError(self.why)
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Old:
    """As libraries before DLPack."""

    def __array__(self, dtype=None, copy=None):
        return np.arange(3.0)


def test_tensors_of_other_libraries_are_arrays_without_a_copy():
    array = np.arange(6.0).reshape(2, 3)
    packed = pack({"t": Tensor(array)})
    array[0, 0] = 99
    np.testing.assert_array_equal(unpack(packed)["t"], array)
    np.testing.assert_array_equal(unpack(pack(Old())), np.arange(3.0))


def test_a_tensor_that_can_not_be_sent_says_why_and_what_to_do():
    with pytest.raises(LocalWireError, match=r"value\['t'\] .*Tensor.* needs grad.*detach"):
        pack({"t": Tensor(np.ones(1), "it needs grad")})


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
        (np.zeros(2, [("x", "O")]), "dtype"),
        (np.zeros(2, np.dtype([(("title", "x"), "f4")])), "dtype"),
        (
            np.zeros(
                2, np.dtype({"names": ["a", "b"], "formats": ["u4", "u2"], "offsets": [0, 2]})
            ),
            "dtype",
        ),
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
        layout(GENERAL, dumps({"b": [entry], "v": None}).encode(), 0)


@pytest.mark.parametrize(
    ("path", "tree"),
    [([], 5), (["a"], {}), ([0], []), ([-1], [None]), ([True], [None, None]), (["a"], {"a": 1}),
     ([[0]], [None]), (["a", "b"], {"a": None}), ([0], None), ([0], "text")],
)  # fmt: skip
def test_hostile_places_are_refused(path, tree):
    metadata = dumps({"b": [["b", path, 0]], "v": tree}).encode()
    with pytest.raises(RemoteWireError):
        received(GENERAL, metadata, [b""])


@pytest.mark.parametrize(
    ("dtype", "content"), [("|b1", b"\x02"), ("<U1", b"\xff" * 4), (">U1", b"\x00\x11\x00\x00")]
)
def test_bits_that_numpy_must_not_see_are_refused(dtype, content):
    with pytest.raises(RemoteWireError):
        received(ARRAY, dumps([dtype, [1]]).encode(), [content])
    with pytest.raises(RemoteWireError):
        received(ARRAY, dumps([[["a", "|u1"], ["b", dtype]], [1]]).encode(), [b"x" + content])


def test_a_text_that_is_not_utf8_is_refused():
    metadata = dumps({"b": [["s", [], 1]], "v": None}).encode()
    with pytest.raises(RemoteWireError):
        received(GENERAL, metadata, [b"\xff"])


def test_types_of_too_many_fields_or_too_deep_are_refused():
    wide = [[f"f{n}", "|u1"] for n in range(300)]
    deep: list[object] = [["x", "|u1"]]
    for _ in range(20):
        deep = [["x", deep]]
    for form in (wide, deep, [["x", "|u1"], ["x", "|u1"]], [["", "|u1"]], [["x", "|V4"]]):
        with pytest.raises(RemoteWireError):
            layout(ARRAY, dumps([form, [0]]).encode(), 0)
