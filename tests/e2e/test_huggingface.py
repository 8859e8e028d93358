"""`otterctl init --huggingface`: a model's folder becomes a module that works, or says why not."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from helpers.byhand import environment
from helpers.otter import wait_for

import otter_ctl

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(600)]

TINY = """
import sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast)
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "animal", "is", "it"]
split = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
split.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=split, pad_token="[PAD]", unk_token="[UNK]")
config = BertConfig(
    vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, id2label={0: "asking", 1: "telling"},
    label2id={"asking": 0, "telling": 1},
)
whole, headless, bare = sys.argv[1:]
BertForSequenceClassification(config).save_pretrained(whole)
BertModel(config).save_pretrained(headless)
BertModel(config, add_pooling_layer=False).save_pretrained(bare)
for folder in sys.argv[1:]:
    tokenizer.save_pretrained(folder)
"""
LOADS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import tasks
from net.weights import WeightsError
for task, folder in zip(sys.argv[2::2], map(Path, sys.argv[3::2])):
    try:
        found = tasks.load(task, folder)("what animal is it")
        print(folder.name, task, tasks.shown(found)[:20])
    except WeightsError as exc:
        print(exc)
"""
MODEL = Path(otter_ctl.__file__).parent / "templates" / "huggingface" / "model"


@pytest.fixture(scope="session")
def made(session_otter):
    """An environment with PyTorch and `transformers`."""
    return asyncio.run(environment(session_otter.root / "a", "speech_to_text", "torch"))


@pytest.fixture(scope="session")
def tiny(made, tmp_path_factory):
    """A folder with a random model that tells texts apart.

    Beside it are `headless`, of the same kind without what tells them apart, and `bare`, which has
    no pooler either.
    """
    base = tmp_path_factory.mktemp("tiny")
    folders = [base / name for name in ("tiny", "headless", "bare")]
    subprocess.run([made.argv[0], "-c", TINY, *folders], env=made.env, check=True)
    return folders[0]


def test_a_models_folder_becomes_a_module(shared_otter, tiny, tmp_path):
    otter = shared_otter
    task = ("--task", "text-classification")
    made = otter(
        "init", "--huggingface", "Someone/Tiny.Bert", *task, "--weights", tiny, cwd=tmp_path
    )
    folder = tmp_path / "tiny-bert"
    assert "tiny-bert/weights" in made.stdout
    otter("apply", folder / "topology.toml", "--set", "defaults.module.runtime=process")
    (tmp_path / "question.txt").write_text("What animal is it?")
    (tmp_path / "empty.txt").write_text(" \n")
    otter("cp", tmp_path / "empty.txt", "model:inputs/a.txt")
    otter("cp", tmp_path / "question.txt", "model:inputs/b.txt")
    log = wait_for(lambda: "b.txt: [{label: '" in (text := otter("logs").stdout) and text, "no b")
    assert "Someone/Tiny.Bert loaded in " in log
    assert "computes on c" in log
    assert "a.txt: can't be worked on: a text was expected, not str ''" in log
    otter("destroy", "--yes", "--no-fetch")


def test_a_model_for_another_task_says_so(shared_otter, tiny, tmp_path):
    otter = shared_otter
    more = ("--task", "image-classification", "--weights", tiny)
    otter("init", "wrong", "--huggingface", "someone/tiny", *more, cwd=tmp_path)
    topology = tmp_path / "wrong" / "topology.toml"
    otter("apply", topology, "--set", "defaults.module.runtime=process", code=1)
    log = otter("logs", "-m", "wrong").stdout
    assert "tiny can't be loaded for image-classification: " in log
    assert "Traceback" not in log


def test_a_model_that_lacks_what_its_task_needs_is_not_served(shared_otter, tiny, tmp_path):
    """It would have random numbers there, and answer nonsense."""
    otter = shared_otter
    more = ("--task", "text-classification", "--weights", tiny.parent / "headless")
    otter("init", "lacking", "--huggingface", "someone/headless", *more, cwd=tmp_path)
    topology = tmp_path / "lacking" / "topology.toml"
    otter("apply", topology, "--set", "defaults.module.runtime=process", code=1)
    log = otter("logs", "-m", "lacking").stdout
    why = "headless lacks weights: classifier.bias, classifier.weight; take a model for text-class"
    assert why in log
    assert "Traceback" not in log


def test_what_a_task_has_no_use_for_may_be_lacking(made, tiny):
    """Of the same models: those of which the task uses all that is there."""
    asked = (
        ("text-classification", tiny), ("feature-extraction", tiny.parent / "headless"),
        ("feature-extraction", tiny.parent / "bare"), ("fill-mask", tiny.parent / "headless"),
    )  # fmt: skip
    words = [word for pair in asked for word in pair]
    env = {**made.env, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [made.argv[0], "-c", LOADS, MODEL, *words], env=env, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if not line.startswith("computes on ")]
    assert said[0].startswith("tiny text-classification [{label: ")
    assert [line.split(" [")[0] for line in said[1:3]] == [
        "headless feature-extraction", "bare feature-extraction",
    ]  # fmt: skip
    assert said[3].startswith("headless lacks weights: cls.predictions.")
