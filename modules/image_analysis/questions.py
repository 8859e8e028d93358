"""What is asked and what is answered, as texts. Pure.

The language model sees no picture: it is told what the image model calls it, after a few examples
that show the form. So its answers are about that name. Must not know: models, streams.
"""

from __future__ import annotations

import re
from typing import Any

EXAMPLES = """\
Picture: a photo of a golden retriever.
Question: What animal is it?
Answer: It is a golden retriever, a dog.

Picture: a photo of a bald eagle.
Question: What is in the picture?
Answer: There is a bald eagle, a bird.

Picture: a photo of a laptop.
Question: What object is this?
Answer: It is a laptop, a computer.

"""
NAMED = ("golden retriever", "bald eagle", "laptop")
"""In the examples: a small model copies one now and then."""

MOST_LETTERS = 300
NO_PICTURE = "I cannot look at the picture."
NO_QUESTION = "I did not hear a question."

_ASKING = frozenset({
    "what", "which", "who", "whom", "whose", "where", "when", "why", "how", "is", "are", "was",
    "were", "do", "does", "did", "can", "could", "will", "would", "shall", "should", "may", "might",
    "must", "has", "have", "had", "am",
})  # fmt: skip
_TELLING = ("tell me", "describe", "name the", "name this", "name that", "say what")


class QuestionError(ValueError):
    """Nothing that can be answered; the message says why."""


def question_of(value: Any) -> str:
    """The question in a message, in one line.

    Raises:
        QuestionError: It is none.
    """
    if not isinstance(value, str):
        raise QuestionError(f"a {type(value).__name__} is no question: texts are")
    text = " ".join(value.split())
    if len(text) > MOST_LETTERS:
        raise QuestionError(f"{len(text)} letters long, at most {MOST_LETTERS} are read")
    words = re.findall(r"[^\W\d_]+", text.lower())
    if not words:
        raise QuestionError(f"{text!r} has no words in it")
    asks = text.endswith("?") or words[0] in _ASKING
    if not asks and not " ".join(words).startswith(_TELLING):
        raise QuestionError(f"{text!r} is no question")
    return text


def prompt(label: str, question: str) -> str:
    """What the language model is to go on with."""
    return f"{EXAMPLES}Picture: a photo of {with_article(label)}.\nQuestion: {question}\nAnswer:"


def answer_of(written: str, label: str) -> str:
    """The answer in what the language model wrote.

    Its first line. Where that is empty, or one of the examples again, only what is seen.
    """
    line = written.strip().partition("\n")[0].strip()
    copied = any(name in line.lower() and name not in label.lower() for name in NAMED)
    return line if line and not copied else f"It is {with_article(label)}."


def with_article(name: str) -> str:
    """`an Egyptian Mau`."""
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"
