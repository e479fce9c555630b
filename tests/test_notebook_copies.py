"""The copies of the chapters show in any notebook program what the chapters say, and lose nothing."""

import base64
import re
from functools import cache
from itertools import product

import contract
import nbformat
import notebook_copies
import pytest
from chapters import notebooks
from launch import Repository
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_copies import Book, Copy, CopyError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = Repository("grace", "fork", COMMIT)
PLAIN = MarkdownIt("commonmark").enable("table")  # what all programs know
PAGES = [path.stem for path in notebooks()]
KINDS = {"download": None, "colab": REPOSITORY}

each_copy = pytest.mark.parametrize(("page", "kind"), list(product(PAGES, KINDS)))
each_page = pytest.mark.parametrize("page", PAGES)
the_book = cache(Book)


@cache
def copy_of(page: str, kind: str) -> NotebookNode:
    return Copy(the_book(), page, KINDS[kind]).notebook()


def texts(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


@cache
def html(page: str, kind: str) -> str:
    """A copy, or the original, as a program without MyST shows it."""
    notebook = the_book().pages[page] if kind == "original" else copy_of(page, kind)
    return "\n".join(PLAIN.render(source) for source in texts(notebook))


def myst_in(shown: str) -> list[str]:
    """What a reader would see of MyST in a rendered text."""
    return re.findall(r"\{[a-z:-]+\}.?<code>|:{3,}|:[a-z]+: |\$\$\s*\([\w-]+\)|\([\w-]+\)=|<code[^>]*>\{|\{`", shown)


# Every chapter


@each_copy
def test_no_directive_role_or_label_is_left(page, kind):
    assert myst_in(html(page, kind)) == []


@each_page
def test_the_search_for_what_is_left_finds_it_in_the_originals(page):
    assert myst_in(html(page, "original"))


@each_copy
def test_copies_are_valid_notebooks(page, kind):
    nbformat.validate(copy_of(page, kind))


@each_copy
def test_links_lead_somewhere(page, kind):
    def anchors(page):
        return re.findall(r' id="([^"]+)"', html(page, kind))

    own = anchors(page)
    assert len(own) == len(set(own)), "an anchor stands twice"
    links = re.findall(r'<a href="([^"]+)"', html(page, kind))
    assert links
    for link in links:
        link = link.removeprefix("https://colab.research.google.com/github/grace/fork/blob/colab/book/")
        if re.match("https?://", link):
            assert kind == "download" or "colab" not in link
            continue
        other, _, label = link.partition("#")
        assert other.removesuffix(".ipynb") in ("", *PAGES), link
        assert not label or label in (anchors(other.removesuffix(".ipynb")) if other else own), link


@each_copy
def test_equations_have_their_numbers_in_order(page, kind):
    labels = [label for text in texts(the_book().pages[page]) for label in contract.equation_labels(text)]
    chapter = the_book().numbers.get(page)
    numbers = [f"{chapter}.{n}" if chapter else str(n) for n in range(1, len(labels) + 1)]
    source = "\n".join(texts(copy_of(page, kind)))
    assert re.findall(r"\\tag\{([\d.]+)\}", source) == numbers
    assert [a for a in re.findall(r'id="([^"]+)"', source) if a in labels] == labels
    for number, label in zip(numbers, labels, strict=True):
        assert the_book().targets[label].number == number
    referred = re.findall(r"\{eq\}`([^`]+)`", "\n".join(texts(the_book().pages[page])))
    shown = re.findall(r"\[\(([\d.]+)\)\]\(\S*#([\w-]+)\)", source)
    assert shown == [(the_book().targets[label].number, label) for label in referred]


@each_copy
def test_exercises_and_solutions_are_there(page, kind):
    found = [match for text in texts(the_book().pages[page]) for match in contract.DIRECTIVE.finditer(text)]
    titles = [match["argument"].strip() for match in found if match["name"] == "exercise"]
    wanted = [f"Exercise {the_book().numbers[page]}.{n} ({title})" for n, title in enumerate(titles, 1)]
    shown = html(page, kind)
    assert re.findall(r"<h3>(Exercise .*)</h3>", shown) == wanted
    assert re.findall(r"<summary>Solution to (.*)</summary>", shown) == wanted


@each_copy
def test_code_is_the_same_and_folded_where_the_pages_hide_it(page, kind):
    cells = [cell for cell in copy_of(page, kind).cells if cell.cell_type == "code"]
    original = the_book().pages[page]
    pairs = zip(original.cells, contract.solving(original), strict=True)
    hidden = [solves or bool(contract.tags(cell) & contract.HIDDEN) for cell, solves in pairs if "outputs" in cell]
    assert cells == [cell for cell in original.cells if cell.cell_type == "code"]
    assert [cell.metadata.get("cellView") == "form" for cell in cells] == hidden
    assert [cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in cells] == hidden


def words(markdown: str, *without: str) -> str:
    """The text but for links, references, punctuation and what matches one of the patterns."""
    for pattern in (*without, r"\[[^\[\]]*\]\([^()\s]+\)", r"[\s();,]+"):
        markdown = re.sub(pattern, "", markdown, flags=re.M)
    return markdown


@each_copy
def test_no_word_is_lost_or_added(page, kind):
    roles = r"\{(?:eq|doc|ref|numref|cite:t|cite:p)\}`[^`]+`"
    labels = r"(?<=\$\$) \([\w-]+\)$|^\([\w-]+\)=$"
    made = r"^:::\{(chapter-map|chapter-cards|path|cite-book)\}\n(.*?)^:::$"  # from the chapters, for the front page
    source = "\n".join(texts(the_book().pages[page]))
    source = re.sub(made, lambda found: Copy(the_book(), page).front(*found.groups()), source, flags=re.M | re.S)
    original = words(source, r"^:::.*", r"^:[a-z]+:.*", roles, labels, "^# ")
    tags = r"</?(?:details|blockquote)>|<summary>.*</summary>|<a id=[^>]*></a>|\\tag\{.*?\}"
    titles = r"(?<=<blockquote>\n\n)\*\*.*\*\*$|^### Exercise .*|^# (?:\d+\.)?|\*[^*]+\* \(a page of the book\)"
    efforts = r"^\*(?:Easy|Medium|Hard): about .*\*$"
    copied = [cell.source for cell in copy_of(page, kind).cells if cell.cell_type == "markdown"]
    if copied[-1].startswith("## References"):
        copied.pop()
    assert words("\n".join(copied), titles, tags, efforts) == original


def test_a_page_that_is_no_notebook_is_named():
    source = "\n".join(texts(copy_of("index", "download")))
    assert "sources slip: *Where the sources differ* (a page of the book) has all" in source


@each_page
def test_what_is_cited_is_in_the_list_at_the_end(page):
    source = "\n".join(texts(the_book().pages[page]))
    cited = {key.strip() for keys in re.findall(r"\{cite:[tp]\}`([^`]+)`", source) for key in keys.split(",")}
    listed = re.findall(r'^- <a id="ref-(\w+)" name="ref-\w+"></a>\S', copy_of(page, "download").cells[-1].source, re.M)
    assert sorted(cited) == sorted(listed)


# Texts


@pytest.fixture
def book(tmp_path):
    """`book({page: [cell, ...]})`: a book of these pages; a cell that starts with # is one of code."""

    def make(**pages: list[str]) -> Book:
        entries = "".join(f"      - file: book/{page}\n" for page in pages)
        toc = f"root: book/index\nparts:\n  - caption: A part\n    numbered: 1\n    chapters:\n{entries}"
        (tmp_path / "_toc.yml").write_text(toc, encoding="utf8")
        (tmp_path / "book").mkdir(exist_ok=True)
        (tmp_path / "book" / "references.bib").write_text(BIB, encoding="utf8")
        for page, cells in {"index": ["# The book"], **pages}.items():
            kinds = [new_code_cell if cell.startswith("#!") else new_markdown_cell for cell in cells]
            notebook = new_notebook(cells=[kind(cell) for kind, cell in zip(kinds, cells, strict=True)])
            nbformat.write(notebook, tmp_path / "book" / f"{page}.ipynb")
        return Book(tmp_path)

    return make


BIB = r"""
@article{gauss1809, author = {Gau{\ss}, Carl Friedrich}, title = {Theoria}, journal = {J}, year = {1809},
  doi = {10.1/x}}
@article{abc2020, author = {A, X. and van den B, Y. and C, Z.}, title = {T}, journal = {J}, year = {2020},
  note = {arXiv:2001.00001}}
@book{de1999, author = {van den D, E. and F, G.}, title = {S*r}, publisher = {P}, year = {1999}}
"""
OTHER = ["# Other\n\n$$ b $$ (eq-other)\n\n:::{exercise} Two\n:label: ex-two\n:class: minutes-5 pen\n\nWhy?\n\n:::"]


@pytest.mark.parametrize(
    ("source", "copy"),
    [
        ("$$ a $$ (eq-a)", '<a id="eq-a" name="eq-a"></a>\n\n$$ a \\tag{1.1} $$'),
        ("$$\na\n$$ (eq-a)", '<a id="eq-a" name="eq-a"></a>\n\n$$\na \\tag{1.1}\n$$'),
        ("- x\n\n  $$ a $$ (eq-a)", '- x\n\n  <a id="eq-a" name="eq-a"></a>\n\n  $$ a \\tag{1.1} $$'),
        ("{eq}`eq-other`", "[(2.1)](two.ipynb#eq-other)"),
        ("{ref}`ex-two`", "[Exercise 2.1 (Two)](two.ipynb#ex-two)"),
        ("{numref}`ex-two`", "[Exercise 2.1](two.ipynb#ex-two)"),
        ("{numref}`the %s <ex-two>`", "[the 2.1](two.ipynb#ex-two)"),
        ("{ref}`that one <ex-two>`", "[that one](two.ipynb#ex-two)"),
        ("{doc}`two`, {doc}`here <two>`, [there](two)", "[Other](two.ipynb), [here](two.ipynb), [there](two.ipynb)"),
        ("(spot)=\n## Here\n\n{ref}`spot`", '<a id="spot" name="spot"></a>\n\n## Here\n\n[Here](#spot)'),
        ("{term}`law`, {term}`laws <law>`", "law, laws"),
        ("{cite:t}`gauss1809`", "[Gauß (1809)](https://doi.org/10.1/x)"),
        (
            "{cite:p}`abc2020,de1999`",
            "([A et al., 2020](https://arxiv.org/abs/2001.00001); [van den D and F, 1999](#ref-de1999))",
        ),
        ("{cite:t}`de1999`\nand so", "[van den D and F (1999)](#ref-de1999)\nand so"),
        ("| a |\n|---|\n| {eq}`eq-other` |", "| a |\n|---|\n| [(2.1)](two.ipynb#eq-other) |"),
        ("`` {eq}`eq-other` `` and $a_{b}`c`$ and \\$5", "`` {eq}`eq-other` `` and $a_{b}`c`$ and \\$5"),
        ("```\n{eq}`x`\n:::{note}\n```", "```\n{eq}`x`\n:::{note}\n```"),
        (
            ":::{admonition} *Care*\n:class: warning\n\nSee {eq}`eq-other`.\n:::",
            "<blockquote>\n\n***Care***\n\nSee [(2.1)](two.ipynb#eq-other).\n\n</blockquote>",
        ),
        (":::{note}\nText.\n:::", "<blockquote>\n\n**Note**\n\nText.\n\n</blockquote>"),
        (
            "::::{dropdown} A *proof*\n:::{note}\nText.\n:::\n::::",
            "<details>\n<summary>A <em>proof</em></summary>\n\n<blockquote>\n\n**Note**\n\nText.\n\n</blockquote>\n\n"
            "</details>",
        ),
        (
            ":::{prf:theorem} Bayes\n:label: th-a\n\nText.\n:::\n\nBy {prf:ref}`th-a`",
            '<a id="th-a" name="th-a"></a>\n\n<blockquote>\n\n**Theorem 1.1 (Bayes)**\n\nText.\n\n</blockquote>\n\n'
            "By [Theorem 1.1](#th-a)",
        ),
        (":::{prf:proof}\nText.\n:::", "<blockquote>\n\n**Proof**\n\nText.\n\n</blockquote>"),
    ],
)
def test_texts(book, source, copy):
    assert Copy(book(one=[source], two=OTHER), "one").notebook().cells[0].source == copy


def test_colab_copies_link_to_colab_copies(book):
    cell = Copy(book(one=["{eq}`eq-other`"], two=OTHER), "one", REPOSITORY).notebook().cells[0]
    assert cell.source == f"[(2.1)]({REPOSITORY.colab('book/two.ipynb')}#eq-other)"


def test_a_solution_may_have_several_cells(book):
    exercise = ":::{exercise} One\n:label: ex-one\n:class: minutes-15 code\n\nHow?\n\n:::"
    start = "Text.\n\n:::{solution-start} ex-one\n:class: dropdown\n:::\n\nSo."
    cells = [exercise, start, "#!\n1", "Then so.", "#!\n2", "At last.\n\n:::{solution-end}\n:::", "#!\n3", "Text."]
    copy = Copy(book(one=cells), "one").notebook()
    assert texts(copy) == [
        '<a id="ex-one" name="ex-one"></a>\n\n### Exercise 1.1 (One)\n\n*Medium: about 15 minutes, with code*\n\nHow?',
        "Text.\n\n<details>\n<summary>Solution to Exercise 1.1 (One)</summary>\n\nSo.\n\n</details>",
        "<details>\n<summary>The solution goes on</summary>\n\nThen so.\n\n</details>",
        "<details>\n<summary>The solution goes on</summary>\n\nAt last.\n\n</details>",
        "Text.",
    ]


def test_pictures_travel_with_their_cells(book, tmp_path):
    cells = ["![A curve](curve.png)", ":::{figure} curve.png\n:alt: A curve\n\nA *curve*.\n:::"]
    made = book(one=cells, two=OTHER)
    (tmp_path / "book" / "curve.png").write_bytes(b"curve")
    first, second = Copy(made, "one").notebook().cells
    assert first.source == "![A curve](attachment:curve.png)"
    assert second.source == "![A curve](attachment:curve.png)\n\nA *curve*."
    for cell in (first, second):
        assert base64.b64decode(cell.attachments["curve.png"]["image/png"]) == b"curve"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (":::{grid} 2\n:::", "directive 'grid': tools/notebook_copies.py does not know how to copy it"),
        (":::{note}\n:::{grid}\n:::\n:::", "'grid'"),
        ("```{note}\nText.\n```", "directive 'note': write it with colons, at the left margin"),
        ("- x\n\n  :::{note}\n  Text.\n  :::", "directive 'note': write it with colons, at the left margin"),
        ("{abbr}`x`", "role 'abbr': tools/notebook_copies.py does not know how to copy it"),
        ("{eq}`eq-lost`", "label 'eq-lost': no page of the book has it"),
        ("[x](#eq-lost)", "label 'eq-lost': no page of the book has it"),
        ("[x](lost)", "link to 'lost': need a notebook of the book"),
        ("{doc}`lost`", "link to 'lost': need a notebook of the book"),
        ("![x](lost.png)", "picture 'lost.png': there is no such file"),
        ("{cite:t}`lost1999`", "citation of 'lost1999': book/references.bib has no such entry"),
        (
            ":::{exercise} {eq}`eq-other`\n:label: ex-a\n:class: minutes-5 pen\n\nHow?\n\n:::",
            "'eq-other' would be shown as it is written",
        ),
        (":::{exercise} One\n\nHow?\n\n:::", "label '': no page of the book has it"),
        (":::{exercise} A\n:label: ex-other\n\nHow?\n\n:::", "exercise 'ex-other': class: '': need one of minutes-5"),
        ("% a remark", "' a remark' would be shown as it is written"),
    ],
)
def test_what_cannot_be_copied_is_refused_by_page_and_cell(book, source, fault):
    with pytest.raises(CopyError, match=r"^one: cell 1: ") as caught:
        Copy(book(one=["# One", source], two=OTHER), "one").notebook()
    assert fault in str(caught.value)


# Files


def test_the_first_cell_for_colab_fetches_that_repository_at_that_commit(book, tmp_path):
    book(one=["# One", "#!\n1"])
    notebook_copies.colab_copies(tmp_path / "out", REPOSITORY, tmp_path)
    copy = nbformat.read(tmp_path / "out" / "book" / "one.ipynb", as_version=4)
    assert f"fetch -q --depth 1 https://github.com/grace/fork {COMMIT}" in copy.cells[0].source
    assert "%cd book-source/book" in copy.cells[0].source
    assert [cell.source for cell in copy.cells[1:]] == ["# 1. One", "#!\n1"]
    assert (tmp_path / "out" / "book" / "index.ipynb").exists()


@pytest.mark.parametrize("repository", [REPOSITORY, None])
def test_the_first_cell_for_all_others_says_what_to_install(book, tmp_path, repository):
    book(one=["# One"])
    notebook_copies.download_copies(tmp_path / "out", repository, tmp_path)
    copy = nbformat.read(tmp_path / "out" / "one.ipynb", as_version=4)
    package = f"dpm_lib[all] @ https://github.com/grace/fork/archive/{COMMIT}.zip" if repository else ".[all]"
    assert f'pip install "{package}"' in copy.cells[0].source
    assert copy.cells[1].source == "# 1. One"


def test_the_command_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(notebook_copies, "ROOT", tmp_path)
    monkeypatch.setattr(notebook_copies, "find_repository", lambda: None)
    assert "usage" in notebook_copies.main([])
    assert "address is not known" in notebook_copies.main([str(tmp_path)])
    monkeypatch.setattr(notebook_copies, "find_repository", lambda: Repository("grace", "fork"))
    assert "commit is not known" in notebook_copies.main([str(tmp_path)])


def test_the_command_says_what_it_cannot_copy(monkeypatch, tmp_path, book):
    made = book(one=["{abbr}`x`"])
    monkeypatch.setattr(notebook_copies, "Book", lambda root: made)
    monkeypatch.setattr(notebook_copies, "find_repository", lambda: REPOSITORY)
    assert notebook_copies.main([str(tmp_path / "out")]).startswith("one: cell 0: role 'abbr'")
