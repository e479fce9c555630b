"""The glossary's words on the pages: linked once, with their definition, and gathered into an index."""

import re

import pytest
from glossary import Entry, Words
from sphinx.application import Sphinx
from sphinx.errors import SphinxWarning
from sphinx.util.docutils import docutils_namespace, patch_docutils

INDEX = "# Book\n\n```{toctree}\n:numbered: 1\none\ntwo\n```\n\n```{toctree}\nwords\nall\n```\n"
ONE = """# First chains

A Markov chain. *Mixing-times* of Markov chains; `ELBO`, $ELBO$, elbo. The entropies, and the entropy.

## The ELBO

An evidence lower bound is near.

## Nothing
"""
TWO = "# Second\n\nThe entropy of a [Markov chain](one.md), of scores.\n\n:::{dropdown} More\nAn ELBO.\n:::\n"
WORDS = """# Words

:::{glossary}
ELBO
evidence lower bound
  Below $\\log p$, always.

  {place}`one#the-elbo`

entropy
  What is not known.

  {place}`one` {not-in}`two`

Markov chain
  It forgets.

  {place}`one`

mixing time
  How long.

  {place}`one#the-elbo`
:::
"""
ALL = "# All\n\n:::{subject-index}\n:::\n"
OPTIONS = {
    "extensions": ["myst_nb", "sphinx_design", "mathematics", "glossary"],
    "html_math_renderer": "mathml",
    "myst_enable_extensions": ["dollarmath", "colon_fence"],
    "nb_execution_mode": "off",
    "html_theme": "basic",
}


def build(folder, **pages):
    """Write those pages, build what has changed, and return the HTML of all."""
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf8")
    out = folder / "out"
    with patch_docutils(), docutils_namespace():
        Sphinx(folder, None, out, out, "html", OPTIONS, status=None, warningiserror=True).build()
    return {path.stem: path.read_text(encoding="utf8") for path in out.glob("*.html")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("book")


@pytest.fixture(scope="module")
def pages(folder):
    return build(folder, index=INDEX, one=ONE, two=TWO, words=WORDS, all=ALL)


def links(page):
    return re.findall(
        r'<a class="glossary-word" href="words.html#([\w-]+)" aria-describedby="([\w-]+)">(.*?)</a>', page
    )


def test_first_use_is_linked_once(pages):
    assert [(word, text) for word, _, text in links(pages["one"])] == [
        ("term-Markov-chain", "Markov chain"),
        ("term-mixing-time", "Mixing-times"),
        ("term-entropy", "entropies"),
        ("term-ELBO", "evidence lower bound"),
    ]


def test_links_code_folds_and_pages_of_another_sense_are_left_alone(pages):
    assert not links(pages["two"])
    assert not links(pages["words"])


def test_definitions_stand_hidden_at_the_end_without_links(pages):
    said = pages["one"].split('<div class="glossary-said" hidden>')[1]
    for _, about, _ in links(pages["one"]):
        assert f'id="{about}"' in said
    assert "<math" in said.split("always")[0]
    assert "<a" not in said.split("</section>")[0].split('<div class="clearer"')[0]


def test_a_definition_says_where_the_book_introduces_the_word(pages):
    assert re.search(r'always\..*?<a[^>]* href="one\.html#the-elbo"><span>The ELBO', pages["words"], re.DOTALL)


def test_index_has_sections_and_synonyms(pages):
    index = pages["all"]
    line = next(line for line in re.split("<li>", index) if 'id="index-term-ELBO"' in line)
    assert re.search(r'href="one\.html#the-elbo"><span><strong>The ELBO</strong>', line)
    assert "two.html" in line  # also in folds
    assert re.search(r'evidence lower bound, <em>see</em> <a[^>]*href="#index-term-ELBO"', index)
    entropy = next(line for line in re.split("<li>", index) if 'id="index-term-entropy"' in line)
    assert "one.html" in entropy
    assert "two.html" not in entropy


@pytest.mark.parametrize(
    "wrong", ["{place}`one#no-such`", "{place}`none#the-elbo`", "{place}`one#the-elbo` {not-in}`none`"]
)
def test_a_place_that_is_not_there_is_a_warning(tmp_path, wrong):
    with pytest.raises(SphinxWarning, match=r"no (section|page)"):
        build(
            tmp_path, index=INDEX, one=ONE, two=TWO, words=WORDS.replace("{place}`one` {not-in}`two`", wrong), all=ALL
        )


def test_pages_follow_when_the_glossary_changes(pages, folder):
    changed = WORDS.replace("mixing time\n", "nothing known\n")
    page = build(folder, words=changed.replace("It forgets", "It goes on"))["one"]
    assert "term-mixing-time" not in page
    assert "It goes on" in page


def test_words_are_whole_words():
    entry = Entry(["SNR"], "snr", [], set()), Entry(["nat"], "nat", [], set())
    words = Words(list(entry))
    assert [found.anchor for *_, found in words.find("natural nats, SNRs, snr, non-nat, nat-like, Nat", "page")] == [
        "nat",
        "snr",
        "nat",
    ]
