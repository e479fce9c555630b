"""Numeric questions in a browser: what is taken for a number, the verdict, the hint after a miss, the answer."""

from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from without_solutions import seal, sealed

from dpm_lib.figures.questions import ask

STATIC = Path(__file__).parents[2] / "book" / "_static"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Questions</title>
<meta name="viewport" content="width=device-width">
<script src="questions.js"></script><style>{css}</style><article class="bd-article">{body}</article></html>"""


@pytest.fixture
def address(tmp_path):
    """A page with two questions, the second without a unit."""
    asked = (
        ask("How many <b>nats</b> does it lose?", 2 / 3, hint="Count to three.", unit="nats", within=0.002),
        ask("Which sign?", -0.1 - 0.2, hint="It falls.", within=0.01),
    )
    body = MarkdownIt("commonmark").render("\n\n".join(question._repr_markdown_() for question in asked))
    css, script = ((STATIC / name).read_text(encoding="utf-8") for name in ("questions.css", "questions.js"))
    (tmp_path / "page.html").write_text(PAGE.format(css=css, body=body), encoding="utf-8")
    (tmp_path / "questions.js").write_text(script, encoding="utf-8")
    return (tmp_path / "page.html").as_uri()


def test_an_answer_is_checked_by_keyboard(profile, address):
    watched = profile(320, 640)
    page = watched.page
    page.goto(address)
    first = page.locator(".question").first
    field, verdict = first.get_by_label("Your answer"), first.get_by_role("status")
    hint, answer = first.locator(".question-hint"), first.locator(".question-answer")
    assert not hint.is_visible() and answer.locator("summary").is_visible() and "0.667" not in answer.inner_text()
    page.keyboard.press("Tab")
    page.keyboard.type("0.5")
    page.keyboard.press("Enter")
    assert verdict.inner_text() == "Not yet: 0.5 is more than 0.002 from the answer. There is a hint."
    assert hint.is_visible() and field.get_attribute("aria-invalid") == "true"
    field.fill("2/3 nats")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert verdict.inner_text().startswith("Right: 0.666") and field.get_attribute("aria-invalid") == "false"
    field.fill("two thirds")
    first.get_by_role("button", name="Check").click()
    assert verdict.inner_text() == "This is not a number: write 0.25, 1e-3 or 2/3."
    answer.locator("summary").focus()
    page.keyboard.press("Enter")
    assert "0.667 nats (anything within 0.002 of it is right)" in answer.inner_text()
    second = page.locator(".question").nth(1)
    for typed, word in (("0.3", "Not"), ("-0.29", "Right"), ("−0,31", "Right"), ("-0.3101", "Not"), ("", "No number")):
        second.get_by_label("Your answer").fill(typed)
        second.get_by_role("button").click()
        assert second.get_by_role("status").inner_text().startswith(word), typed
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.emulate_media(media="print")
    assert field.is_visible() and not verdict.is_visible() and not answer.is_visible() and not hint.is_visible()
    watched.check()


def test_what_is_taken_for_a_number(profile, address):
    page = profile().page
    page.goto(address)
    typed = ["1e-3", " 0.001", ".5", "5.", "2/3", "-1/4", "0,5", "−2", "1 000", "+7", "3E2", "1/-4", "12 nats"]
    values = [1e-3, 1e-3, 0.5, 5, 2 / 3, -0.25, 0.5, -2, 1000, 7, 300, -0.25, 12]
    none = [
        "",
        " ",
        "e",
        "1e",
        "0x10",
        "1/0",
        "1/2/3",
        "1,000.5,",
        "1.2.3",
        "NaN",
        "Infinity",
        "1e999",
        "--1",
        "2 bits",
    ]
    read = "(all) => all.map((one) => bookQuestions.parse(one, 'nats'))"
    assert page.evaluate(read, typed) == values
    assert page.evaluate(read, none) == [None] * len(none)


def test_without_scripts_hint_and_answer_are_folded_below(profile, address):
    page = profile(java_script_enabled=False).page
    page.goto(address)
    assert page.locator("form").count() == 0 and page.locator("summary:visible").count() == 4
    page.locator(".question-answer summary").first.click()
    assert page.get_by_text("0.667 nats").is_visible() and not page.get_by_text("Count to three").is_visible()


def test_a_sealed_question_takes_the_same_numbers_and_shows_no_answer(profile, address, tmp_path):
    body = MarkdownIt("commonmark").render(
        sealed(ask("Which sign?", -0.1 - 0.2, hint="It falls.", within=0.01)._repr_markdown_(), "salt")
    )
    assert "0.3" not in body
    (tmp_path / "page.html").write_text(PAGE.format(css="", body=body), encoding="utf-8")
    page = profile().page
    page.goto(address)
    for typed, word in (("0.3", "Not"), ("-0.29", "Right"), ("-0.31", "Right"), ("-0.3101", "Not"), ("-0.2899", "Not")):
        page.get_by_label("Your answer").fill(typed)
        page.get_by_role("button").click()
        assert page.get_by_role("status").inner_text().startswith(word), typed
    assert page.get_by_text("Answer", exact=True).count() == 0
    opens = "([seal, values]) => values.map((value) => bookQuestions.opens(seal, value, 0))"
    for answer, within in (("0.143", "0.001"), ("0", "0.25"), ("-0.50", "0.02"), ("12345", "50"), ("1.234e-5", "1e-8")):
        a, w = float(answer), float(within)
        values = [a - 3 * w, a - 1.1 * w, a - 0.9 * w, a, a + 0.9 * w, a + 1.1 * w, a + 3 * w]
        right = page.evaluate(opens, [seal(answer, within, "s"), values])
        assert right == [False, False, True, True, True, False, False], answer
