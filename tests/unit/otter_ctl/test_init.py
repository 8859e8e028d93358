"""`otterctl init`: what it writes, and options that need each other."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import otter_ctl
from otter_ctl.cli.init import TASKS, command
from otter_ctl.topology import load
from otter_ctl.topology.model import Gpu


def init(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(command, [str(a) for a in arguments])
    return done.exit_code, f"{done.output}{done.exception or ''}"


def test_a_huggingface_module_is_whole_and_knows_its_model(tmp_path: Path) -> None:
    more = ("--into", tmp_path / "m", "--task", "image-classification", "--weights", "cats==1.0")
    code, said = init("--huggingface", "me/My_Cats.v2", *more)
    assert code == 0, said
    topology = tomllib.loads((tmp_path / "m" / "topology.toml").read_text())
    assert topology["name"] == "my_cats-v2"
    module = tmp_path / "m" / "model"
    assert (
        'MODEL, TASK = "me/My_Cats.v2", "image-classification"'
        in (module / "module.py").read_text()
    )
    assert topology["modules"]["model"]["weights"] == {"My_Cats.v2": "package:cats==1.0"}
    assert topology["modules"]["model"]["accelerator"] == "cpu"
    assert "gpu" not in topology["modules"]["model"]
    written = [path.read_text() for path in (tmp_path / "m").rglob("*") if path.is_file()]
    assert not [text for text in written if re.search(r"@[A-Z]+@", text)]


def test_the_device_picks_the_base_and_weights_come_from_the_hub(tmp_path: Path) -> None:
    more = ("--into", tmp_path / "m", "--task", "fill-mask", "--device", "cuda")
    code, said = init("--huggingface", "me/big", *more)
    assert code == 0, said
    (module,) = load(tmp_path / "m" / "topology.toml").modules
    assert (module.base, module.accelerator) == ("torch", "cuda")
    assert module.gpu == Gpu(count=1)  # else a container is given none
    (weights,) = module.weights
    assert (weights.name, weights.hub, weights.revision) == ("big", "me/big", "main")


def test_every_task_has_a_kind_of_input(tmp_path: Path) -> None:
    init("x", "--into", tmp_path / "x", "--huggingface", "a/b", "--task", "fill-mask")
    tree = ast.parse((tmp_path / "x" / "model" / "tasks.py").read_text())
    (kinds,) = (
        node.value for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "KINDS"
    )  # fmt: skip
    assert sorted(ast.literal_eval(kinds)) == sorted(TASKS)


def test_a_task_that_is_not_known_is_taken_with_what_it_takes(tmp_path: Path) -> None:
    more = ("--into", tmp_path / "m", "--task", "mask-generation", "--input", "image")
    code, said = init("--huggingface", "me/masks", *more)
    assert code == 0, said
    module = (tmp_path / "m" / "model" / "module.py").read_text()
    assert 'MODEL, TASK = "me/masks", "mask-generation"\nINPUT = "image"' in module


def tasks_of_the_template() -> ModuleType:
    file = Path(otter_ctl.__file__).parent / "templates" / "huggingface" / "model" / "tasks.py"
    spec = importlib.util.spec_from_file_location("tasks", file)
    assert spec is not None
    assert spec.loader is not None
    tasks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tasks)
    return tasks


@pytest.mark.parametrize(
    ("sees", "made_for", "device", "said"),
    [
        (True, "13.0", "cuda", ""),
        (False, None, "cpu", ""),
        (False, "13.0", "cpu", "built for CUDA, but sees no GPU"),
    ],
)
def test_a_model_that_is_to_compute_on_a_gpu_and_sees_none_says_so(
    sees: bool, made_for: str | None, device: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: sees), version=SimpleNamespace(cuda=made_for)
    )
    assert tasks_of_the_template().device_of(torch) == device
    printed = capsys.readouterr().out
    assert said in printed
    assert bool(printed) == bool(said)


@pytest.mark.parametrize(
    ("task", "lacking", "needed"),
    [
        ("text-classification", {"classifier.weight", "classifier.bias"},
         ["classifier.bias", "classifier.weight"]),
        ("text-classification", {"bert.pooler.dense.bias"}, ["bert.pooler.dense.bias"]),
        ("feature-extraction", {"pooler.dense.bias"}, []),  # as roberta-base
        ("image-feature-extraction", {"vit.pooler.dense.bias"}, []),
        ("automatic-speech-recognition", {"wav2vec2.masked_spec_embed"}, []),
        ("fill-mask", set(), []),
    ],
)  # fmt: skip
def test_weights_that_a_task_has_no_use_for_may_be_lacking(
    task: str, lacking: set[str], needed: list[str]
) -> None:
    assert tasks_of_the_template().needed(task, lacking) == needed


def test_what_a_model_cannot_take_is_told_and_ends_nothing() -> None:
    tasks = tasks_of_the_template()

    def model(text: str) -> Any:
        raise RuntimeError(f"{len(text)} letters\nare too many")

    with pytest.raises(tasks.InputError, match=r"the model can't take it: 5 letters$"):
        tasks.given(model, tasks.text_of)("hello")
    assert tasks.given(str.upper, tasks.text_of)("hello") == "HELLO"
    for sound in ({"samples": [0.0], "rate_hz": float("inf")}, b"RIFF", {}):
        with pytest.raises(tasks.InputError, match="a sound was expected"):
            tasks.audio_of(sound)


def test_a_folder_of_weights_goes_beside_the_module(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    more = ("--huggingface", "a/b", "--task", "fill-mask", "--weights", weights)
    code, said = init("x", "--into", tmp_path / "x", *more)
    assert code == 1
    assert "no config.json in it" in said
    (weights / "config.json").write_text("{}")
    code, said = init("x", "--into", tmp_path / "x", *more)  # nothing of the first try is there
    assert code == 0, said
    assert (tmp_path / "x" / "weights" / "config.json").is_file()
    (module,) = load(tmp_path / "x" / "topology.toml").modules
    assert [w.folder for w in module.weights] == [str(tmp_path / "x" / "weights")]


def test_weights_that_no_build_takes_are_told_at_once(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    with (weights / "model.safetensors").open("wb") as file:
        file.truncate(8193 << 20)  # sparse: takes no disk
    more = ("--huggingface", "a/b", "--task", "fill-mask", "--weights", weights)
    code, said = init("x", "--into", tmp_path / "x", *more)
    assert code == 1
    assert "8193 MiB, a folder may have 8192" in said
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ((), 2, "name the new folder, or a model"),
        (("x", "--task", "fill-mask"), 2, "--task goes with --huggingface"),
        (("x", "--weights", "y"), 2, "--weights goes with --huggingface"),
        (("x", "--device", "cuda"), 2, "--device goes with --huggingface"),
        (("--huggingface", "a/b"), 2, "--huggingface needs --task"),
        (("--huggingface", "a/b", "--task", "image-clasification"), 2,
         "did you mean image-classification?"),
        (("--huggingface", "a/b", "--task", "mask-generation"), 2,
         "others with --input text|image|audio"),
        (("--huggingface", "a/b", "--task", 'x"y', "--input", "text"), 2, "known: "),
        (("--huggingface", "a/b", "--task", "fill-mask", "--input", "text"), 2,
         "what fill-mask takes is known"),
        (("x", "--input", "text"), 2, "--input goes with --huggingface"),
        (("--huggingface", "a/b/c", "--task", "fill-mask"), 2, "OWNER/NAME"),
        (("x", "--huggingface", "..", "--task", "fill-mask"), 2, "OWNER/NAME"),
        (("x", "--huggingface", "a/..", "--task", "fill-mask"), 2, "OWNER/NAME"),
        (("--huggingface", 'a"b', "--task", "fill-mask"), 2, "OWNER/NAME"),
        (("--huggingface", "a/b", "--task", "fill-mask", "--weights", "/no/such"), 1,
         "neither a folder nor a package"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said(
    arguments: tuple[str, ...], code: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(*arguments)[0] == code
    assert why in init(*arguments)[1]
