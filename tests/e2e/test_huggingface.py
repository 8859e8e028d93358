"""`otterctl init --huggingface`: a model's folder becomes a module that works, or says why not."""

from __future__ import annotations

import asyncio
import subprocess

import pytest
from helpers.byhand import environment
from helpers.otter import wait_for

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(600)]

TINY = """
import sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "animal", "is", "it"]
split = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
split.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=split, pad_token="[PAD]", unk_token="[UNK]")
tokenizer.save_pretrained(sys.argv[1])
BertForSequenceClassification(BertConfig(
    vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, id2label={0: "asking", 1: "telling"},
    label2id={"asking": 0, "telling": 1},
)).save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="session")
def tiny(session_otter, tmp_path_factory):
    """A folder with a random model that tells texts apart."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    made = asyncio.run(environment(session_otter.root / "a", "speech_to_text", "torch"))
    subprocess.run([made.argv[0], "-c", TINY, folder], env=made.env, check=True)
    return folder


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
