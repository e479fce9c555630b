"""Citations as the pages show them: what reads the same is one work."""

import re
from collections import defaultdict

import pytest
from chapters import ROOT

HTML = ROOT / "_build" / "html" / "book"
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")
CITATION = re.compile(r'([^<>]{0,60})\[?<a [^>]*href="(?:references\.html)?#(id\d+)"[^>]*>([^<]*\d{4}\w?)</a>')


def test_what_reads_the_same_is_the_same_work():
    found = defaultdict(set)
    for path in HTML.glob("*.html"):
        page = path.read_text(encoding="utf-8").replace("<em>et al.</em>", "et al.")
        for before, work, words in CITATION.findall(page):
            textual = words[:4].isdigit()  # the authors then stand before the link
            found[f"{before.strip(' [').split()[-3:]} {words}" if textual else words].add(work)
    assert len(set.union(*found.values())) > 100
    assert not {words: works for words, works in found.items() if len(works) > 1}
    assert {"Song et al., 2021a", "Song et al., 2021b"} <= set(found)
