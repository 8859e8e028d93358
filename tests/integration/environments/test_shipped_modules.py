"""The shipped modules do what their pages say, in environments as the process runtime has them."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest
from helpers.byhand import Machine, environment

from otter_agent.runtimes.base import Artifact

pytestmark = pytest.mark.untimed
QUESTION = Path(__file__).parents[3] / "examples" / "data" / "question.wav"

TINY = """
import sys
from transformers import (WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration,
                          WhisperProcessor, WhisperTokenizer)
letters = {chr(i): i - 33 for i in range(33, 127)}
tokenizer = WhisperTokenizer(vocab={**letters, "<|endoftext|>": 94}, merges=[])
end = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"), 94)
model = WhisperForConditionalGeneration(WhisperConfig(
    vocab_size=len(tokenizer) + 8, d_model=16, encoder_layers=1, decoder_layers=1,
    encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
    **end))
model.generation_config.no_timestamps_token_id = len(tokenizer) + 1
model.save_pretrained(sys.argv[1])
WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(sys.argv[1])
"""


@pytest.mark.slow
async def test_hello(root: Path, tmp_path: Path) -> None:
    with Machine(tmp_path) as machine:
        machine.start("hello", await environment(root, "hello"))
        status, output = machine.end("hello")
    assert status == 0
    assert "Hello world from the container\n" in output
    assert (tmp_path / "hello" / "state" / "ready").exists()


@pytest.mark.slow
async def test_exchange(root: Path, tmp_path: Path) -> None:
    streams = [
        "client.west>server-west.request", "server-west.reply>client.west",
        "client.east>server-east.request", "server-east.reply>client.east",
    ]  # fmt: skip
    server = await environment(root, "exchange_server")
    client = await environment(root, "exchange_client")
    with Machine(tmp_path, streams) as machine:
        for name, made in (("server-west", server), ("client", client), ("server-east", server)):
            machine.start(name, made)
        ends = {name: machine.end(name) for name in ("client", "server-west", "server-east")}
    assert {status for status, _ in ends.values()} == {0}, ends
    assert "all exchanges with west, east were right" in ends["client"][1]
    assert "answered 6 requests" in ends["server-east"][1]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_question_is_heard_and_its_text_received(
    root: Path, speech: Artifact, tmp_path: Path
) -> None:
    with Machine(tmp_path, ["asr.text>printer.text"]) as machine:
        work = machine.start("printer", await environment(root, "print_text"))
        machine.start("asr", speech, {"inputs/question.wav": QUESTION})
        status, output = machine.end("asr", 180)
        assert status == 0, output
        assert "heard: What animal is it?\n" in output
        status, output = machine.end("printer")
    assert status == 0, output
    assert "received: What animal is it? (from asr, " in output
    assert (work / "outputs" / "heard.txt").read_text() == "What animal is it?\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_it_also_works_alone(speech: Artifact, tmp_path: Path) -> None:
    with Machine(tmp_path) as machine:
        machine.start("asr", speech, {"inputs/question.wav": QUESTION})
        status, output = machine.end("asr", 180)
    assert status == 0, output
    assert "heard: What animal is it?\n" in output


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_any_whisper_loads_and_long_recordings_are_heard(
    speech: Artifact, tmp_path: Path
) -> None:
    """A tiny random model: it hears nonsense, but all of the loading code runs."""
    import subprocess

    assert speech.argv is not None
    subprocess.run([speech.argv[0], "-c", TINY, str(tmp_path / "models" / "tiny")], check=True)
    long = tmp_path / "long.wav"
    with wave.open(str(long), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(4 * 8000 * 35))
    env = {"OTTER_MODELS": str(tmp_path / "models"), "OTTER_MODEL": "someone/tiny"}
    with Machine(tmp_path / "run") as machine:
        machine.start("asr", speech, {"inputs/a.wav": QUESTION, "inputs/b.wav": long}, **env)
        status, output = machine.end("asr", 180)
    assert status == 0, output
    assert output.count("heard: ") == 2
    assert "b.wav: 35.00 s of sound" in output


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", ["no file", "no sound", "no model"])
async def test_what_it_cannot_do_is_said_in_one_line(
    speech: Artifact, tmp_path: Path, case: str
) -> None:
    readme = Path(__file__).parents[3] / "examples" / "data" / "README.md"
    files = {"inputs/question.wav": readme} if case == "no sound" else {}
    env = {"OTTER_MODEL": "openai/whisper-large"} if case == "no model" else {}
    expected = {
        "no file": "no file matches inputs/*.wav in ",
        "no sound": "can't hear the recording: question.wav: not a WAV file",
        "no model": "openai/whisper-large was not prepared at build: ",
    }
    with Machine(tmp_path) as machine:
        machine.start("asr", speech, files, **env)
        status, output = machine.end("asr", 180)
    assert status == 1
    assert expected[case] in output
    assert "Traceback" not in output
