"""Who makes which image, and who sends it to whom."""

from __future__ import annotations

from otter_agent.api import ImageLook
from otter_ctl.images.choosing import Job, choose

AMD, ARM = "cpu-amd64", "cpu-arm64"


def look(module, reference, *, present=False, kind=AMD):
    return ImageLook(module=module, reference=reference, kind=kind, present=present)


def test_what_all_have_needs_nothing():
    looks = {name: [look("m", "i:1", present=True)] for name in ("a", "b")}
    assert choose(looks, {"a": {"m"}, "b": {"m"}}, {"m"}) == []


def test_what_one_has_is_sent_to_the_others():
    looks = {
        "a": [look("m", "i:1")],
        "b": [look("m", "i:1", present=True)],
        "c": [look("m", "i:1")],
    }
    needs = {key: {"m"} for key in "abc"}
    assert choose(looks, needs, {"m"}) == [Job("m", "i:1", AMD, "b", False, ("a", "c"))]


def test_what_nobody_has_is_made_once_per_kind():
    looks = {
        "a": [look("m", "i:amd")],
        "b": [look("m", "i:amd")],
        "c": [look("m", "i:arm", kind=ARM)],
        "d": [look("m", "i:arm", kind=ARM)],
    }
    jobs = choose(looks, {key: {"m"} for key in "abcd"}, {"m"})
    assert jobs == [
        Job("m", "i:amd", AMD, "a", True, ("b",)),
        Job("m", "i:arm", ARM, "c", True, ("d",)),
    ]


def test_a_builder_makes_it_though_it_doesnt_need_it():
    looks = {"a": [look("m", "i:1")], "z": [look("m", "i:1")]}
    job = Job("m", "i:1", AMD, "z", True, ("a",))
    assert choose(looks, {"a": {"m"}}, {"m"}, {"z"}) == [job]


def test_a_builder_that_needs_it_keeps_it_too():
    looks = {"a": [look("m", "i:1")], "z": [look("m", "i:1")]}
    job = Job("m", "i:1", AMD, "z", True, ("a",))
    assert choose(looks, {"a": {"m"}, "z": {"m"}}, {"m"}, {"z"}) == [job]


def test_a_builder_of_another_kind_or_version_is_none():
    looks = {
        "a": [look("m", "i:1")],
        "y": [look("m", "i:arm", kind=ARM)],
        "z": [look("m", "i:2")],
    }
    assert choose(looks, {"a": {"m"}}, {"m"}, {"y", "z"}) == []


def test_what_one_machine_alone_needs_is_left_to_it():
    looks = {"a": [look("m", "i:1"), look("n", "j:1")], "b": [look("n", "j:1")]}
    jobs = choose(looks, {"a": {"m"}, "b": {"n"}}, {"m", "n"})
    assert jobs == []


def test_what_is_pulled_each_pulls_unless_somebody_has_it_or_there_is_a_builder():
    looks = {"a": [look("m", "i:1")], "b": [look("m", "i:1")]}
    needs = {"a": {"m"}, "b": {"m"}}
    assert choose(looks, needs, set()) == []
    assert choose(looks, needs, set(), {"b"}) == [Job("m", "i:1", AMD, "b", True, ("a",))]


def test_images_of_one_name_for_two_kinds_arent_mixed_up():
    looks = {"a": [look("m", "i:1", present=True)], "b": [look("m", "i:1", kind=ARM)]}
    assert choose(looks, {"a": {"m"}, "b": {"m"}}, set()) == []
