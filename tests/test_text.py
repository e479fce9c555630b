"""The book's prose as data, and texts of one's own."""

import json
import re

import pytest
import torch

from dpm_lib.core import results
from dpm_lib.core.random import seeded
from dpm_lib.data import text


def test_the_prose_is_split_by_chapters():
    data, parts = text.book(), text.chapters()
    assert {*text.VALIDATION, *text.HELD_OUT} < set(parts)
    assert [data.decode(part) for part in data.test] == [parts[slug] for slug in parts if slug in text.HELD_OUT]
    assert len(data.train) + len(data.validation) + len(data.test) == len(parts)
    held_out = {line for slug in text.HELD_OUT for line in parts[slug].split("\n") if len(line) > 60}
    assert len(held_out) > 200
    trained_on = {line for part in data.train for line in data.decode(part).split("\n")}
    assert len(held_out & trained_on) <= 2  # no chapter is on both sides


def test_the_record_fits_the_prose():
    record = results.read("prose.json")
    assert record["characters"] == {slug: len(part) for slug, part in text.chapters().items()}
    assert record["alphabet"] == text.ALPHABET


def test_windows_stand_in_one_part():
    data = text.Text("abc", "abc", 3, *3 * (tuple(text.encode(part, "abc") for part in ("abcab", "cc", "bbbb")),))
    assert [data.decode(row) for row in data.windows()] == ["abc", "bbb"]
    drawn = {data.decode(row) for row in data.batch(200, seeded(0))}
    assert drawn == {"abc", "bca", "cab", "bbb"}


def test_numbers_and_characters():
    data = text.book(32)
    assert data.decode(data.encode("a score, or 2?")) == "a score, or 2?"
    assert data.decode(torch.tensor([data.characters, 2]), "?!") == "?a"
    with pytest.raises(ValueError, match=r"text: 'E', 'é': need characters of the alphabet .* the first is at 3"):
        data.encode("abcEé")
    with pytest.raises(ValueError, match="numbers: 0 to 50: need 0 to 49, the mask"):
        data.decode(torch.tensor([0, 50]))


def test_a_text_of_ones_own(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("Übung " * 100, encoding="utf-8")
    data = text.own(path, 8)
    assert data.alphabet == " bgnuÜ"
    assert [len(part) for group in (data.train, data.validation, data.test) for part in group] == [480, 60, 60]
    assert data.decode(data.windows("train")[0]) == "Übung Üb"
    with pytest.raises(ValueError, match=r"text: validation of text:.* has 60 characters: need 61, a window"):
        text.own(path, 61)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"text: .*own\.txt: "):
        text.own(path)
    with pytest.raises(ValueError, match="length: 1: need at least 2"):
        text.book(1)


def test_plain_prose(monkeypatch):
    monkeypatch.syspath_prepend("tools")
    from prose import plain

    markdown = """## The *bound* of a chain, $K$

Let $x_0$ be **bits** – see {eq}`eq-bound`, `terms` and [the paper](https://example.org), naïve.

$$
K = 1
$$ (eq-bound)

:::{exercise} How large is the bound
:label: ex-k
:class: minutes-5 pen

| a | table that is left out |

:::

```python
print("code that is left out")
```

- a list of *two words* here"""
    assert plain(markdown) == [
        "the bound of a chain, *",
        "let * be bits - see *, * and the paper, naive.",
        "how large is the bound",
        "a list of two words here",
    ]


def test_nothing_of_the_markup_is_left():
    prose = "\n".join(text.chapters().values())
    assert not re.findall(r"\b(?:eq|def|ex)-[a-z]+-[a-z]+|minutes-\d+", prose)
    assert json.dumps(prose).isascii() and prose.count("*") < 0.02 * len(prose)
