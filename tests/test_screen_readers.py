"""What the built pages say to a screen reader beyond what the theme writes."""

from screen_readers import mend


def test_visible_words_are_the_name():
    search = '<button class="btn search-button-field x" title="Search" aria-label="Search" data-a="b">Search</button>'
    assert mend(search) == search.replace(' aria-label="Search"', "")
    fold = '<summary aria-label="Toggle hidden content"><p>Show code</p></summary>'
    assert mend(fold) == "<summary><p>Show code</p></summary>"
    arrow = '<summary><span class="toctree-toggle" role="presentation"></span></summary>'  # without words
    assert mend(arrow) == arrow.replace("<summary>", '<summary aria-label="Pages below this one">')


def test_roles_and_landmarks():
    assert mend('<div class="citation" role="doc-biblioentry">') == '<div class="citation" role="listitem">'
    table = '<div class="book-table mathjax_ignore" role="{}" tabindex="0" aria-label="In bits">'
    assert mend(table.format("region")) == table.format("group")
    bar = mend('<div id="pst-primary-sidebar" class="x">')
    assert bar == '<div id="pst-primary-sidebar" role="region" aria-label="Book" class="x">'
    assert mend(bar) == bar  # a build that changes one page mends all again
