"""What counts as a question, what the language model is told, and what is taken of its answer."""

from __future__ import annotations

import pytest

from modules.image_analysis.questions import (
    NAMED,
    QuestionError,
    answer_of,
    prompt,
    question_of,
    with_article,
)


@pytest.mark.parametrize(
    "text",
    ["What animal is it?", "what animal is it", "Is it a cat?", "A cat?", "Tell me what you see.",
     "Describe the picture.", "Wie heißt das Tier?", "  What\n is it? "],
)  # fmt: skip
def test_questions_are_questions(text: str) -> None:
    assert question_of(text) == " ".join(text.split())


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("The weather is nice.", "is no question"),
        ("", "no words"),
        (" \n ", "no words"),
        ("?", "no words"),
        ("42 ?!", "no words"),
        ("What is it? " * 50, "599 letters"),
        (42, "int is no question"),
        (None, "NoneType is no question"),
        ({"question": "What is it?"}, "dict is no question"),
        (b"What is it?", "bytes is no question"),
    ],
)
def test_what_is_none_is_refused(value: object, why: str) -> None:
    with pytest.raises(QuestionError, match=why):
        question_of(value)


def test_the_prompt_ends_where_the_answer_begins() -> None:
    text = prompt("Egyptian Mau", "What animal is it?")
    end = "Picture: a photo of an Egyptian Mau.\nQuestion: What animal is it?\nAnswer:"
    assert text.endswith(f"\n\n{end}")
    assert all(name in text for name in NAMED)


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        (" It is an Egyptian Mau, a cat.\n\nPicture: a", "It is an Egyptian Mau, a cat."),
        ("\n", "It is an Egyptian Mau."),
        (" It is a golden retriever, a dog.", "It is an Egyptian Mau."),
        (" Yes.", "Yes."),
    ],
)
def test_the_answer_is_its_first_line_unless_that_is_copied(written: str, answer: str) -> None:
    assert answer_of(written, "Egyptian Mau") == answer


def test_an_example_may_be_right() -> None:
    assert answer_of(" It is a bald eagle, a bird.", "bald eagle") == "It is a bald eagle, a bird."


def test_articles() -> None:
    assert with_article("orange") == "an orange"
    assert with_article("unicycle") == "a unicycle"
    assert with_article("Egyptian Mau") == "an Egyptian Mau"
