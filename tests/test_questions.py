"""Numeric questions: what they show, how exactly, and what they refuse."""

import math

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

from dpm_lib.figures.questions import ask


def made(answer, **options):
    return ask("How much is $a$?", answer, hint="Add $b$.", **options)


@pytest.mark.parametrize(
    ("answer", "options", "shown", "within"),
    [
        (0.125, {"within": 0.02}, "0.12", "0.02"),
        (0.125, {}, "0.1250", "0.0013"),
        (np.float64(1 / 3), {}, "0.333", "0.0033"),
        (torch.tensor([[-2.0]]), {"within": 0.1}, "-2.00", "0.1"),
        (12345.6, {}, "12350", "120"),
        (-2.5e-5, {}, "-2.50e-05", "2.5e-07"),
        (-0.0001, {"within": 0.00002}, "-0.00010", "2e-05"),
        (0, {"within": 0.1}, "0.00", "0.1"),
        (math.e, {"within": 0.05, "stderr": 0.01}, "2.72", "0.05"),
    ],
)
def test_an_answer_is_shown_as_exactly_as_its_tolerance_allows(answer, options, shown, within):
    question = made(answer, **options)
    assert (question.shown, question.within) == (shown, within)
    assert abs(float(shown) - float(answer)) <= float(within) / 2, "the answer itself is right, and so is the one shown"


@pytest.mark.parametrize("value", [0.125, 1.0, 0.15, 2 / 3, 1e-7, 995.0, 0.0345])
@pytest.mark.parametrize("options", [{}, {"within": None}])
def test_what_is_shown_does_not_hang_on_the_last_bits(value, options):
    near = [made(value * (1 + error), **options) for error in (-1e-14, 0.0, 1e-14)]
    assert len({(q.shown, q.within) for q in near}) == 1


def test_a_notebook_shows_question_hint_and_answer():
    question = made(0.5, unit="nats", within=0.01)
    page = MarkdownIt("commonmark").render(question._repr_markdown_())
    assert '<div class="question" data-answer="0.500" data-within="0.01" data-unit="nats">\n<p><strong>Question' in page
    assert page.count("<details") == page.count("</details>") == 2 and page.rstrip().endswith("</div>")
    assert "<p>Add $b$.</p>" in page and "0.500 nats (anything within 0.01 of it is right)</details>" in page
    assert repr(question).splitlines() == [
        "Question. How much is $a$?",
        "Hint: Add $b$.",
        "Answer: 0.500 nats (anything within 0.01 of it is right)",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "  "}, "text: '  ': need words"),
        ({"hint": ""}, "hint: '': need words"),
        ({"text": "See {eq}`eq-a`."}, "text: '{eq}`': need Markdown without roles"),
        ({"unit": "$m$"}, r"unit: '\$m\$': need plain words"),
        ({"answer": "two"}, "answer: 'two': need a number"),
        ({"answer": torch.ones(2)}, r"answer: tensor\(\[1., 1.\]\): need a number"),
        ({"answer": math.nan}, "answer: nan: need a finite number"),
        ({"answer": -math.inf}, "answer: -inf: need a finite number"),
        ({"within": 0.0}, "within: 0.0: need a positive number"),
        ({"within": -0.1}, "within: -0.1: need a positive number"),
        ({"within": math.inf}, "within: inf: need a finite number"),
        ({"answer": 0.0}, "within: None: need a tolerance where the answer is 0"),
        ({"within": 0.6}, "within: 0.6: need at most a quarter of the answer, 2.0"),
        ({"answer": -2.0, "within": 0.6}, "within: 0.6: need at most a quarter of the answer, -2.0"),
        ({"within": 0.1, "stderr": 0.05}, "within: 0.1: need at least three standard errors, 0.15"),
        ({"stderr": 0.05}, "within: 0.02: need at least three standard errors, 0.15"),
        ({"stderr": -1.0}, "stderr: -1.0: need a standard error"),
        ({"stderr": math.nan}, "stderr: nan: need a standard error"),
    ],
)
def test_what_could_not_be_answered_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ask(**({"text": "How much?", "answer": 2.0, "hint": "Add."} | options))
