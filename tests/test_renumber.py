"""Chapters are renamed to the numbers of their pages, and so is every mention of them, and nothing else."""

import chapters
import pytest
import renumber

NAMES = {"02-b": "03-b", "03-c-d": "02-c-d"}  # they change places


def test_only_names_with_another_number_change():
    pages = {"01-a": "1", "03-c-d": "2", "02-b": "3"}
    assert renumber.renamed(pages) == NAMES
    assert renumber.renamed({"new": "4", "05-x": "5"}) == {"new": "04-new"}


def test_two_chapters_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two chapters have one name"):
        renumber.renamed({"01-a": "2", "02-a": "2"})


def test_mentions_change_all_at_once_and_others_stay():
    text = "{doc}`02-b`, book/03-c-d.ipynb, test_equations_02_b.py::x, test_03_c_d_more, 02-bees, 102-b, 2002-b"
    assert renumber.rewritten(text, NAMES) == (
        "{doc}`03-b`, book/02-c-d.ipynb, test_equations_03_b.py::x, test_02_c_d_more, 02-bees, 102-b, 2002-b"
    )


def test_files_move_even_where_the_new_name_is_taken(tmp_path):
    contents = {
        "book/02-b.ipynb": "see 03-c-d",
        "book/03-c-d.ipynb": "see 02-b",
        "tests/test_equations_02_b.py": "of 02_b",
        "other.txt": "nothing",
    }
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "picture").write_bytes(b"\xff\xfe 02-b")
    changed = renumber.renumber(tmp_path, [*contents, "picture"], NAMES)
    assert changed == [name for name in contents if name != "other.txt"]
    found = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(found) == {
        "book/03-b.ipynb",
        "book/02-c-d.ipynb",
        "tests/test_equations_03_b.py",
        "other.txt",
        "picture",
    }
    assert found["book/03-b.ipynb"].read_text(encoding="utf-8") == "see 02-c-d"
    assert found["book/02-c-d.ipynb"].read_text(encoding="utf-8") == "see 03-b"
    assert found["tests/test_equations_03_b.py"].read_text(encoding="utf-8") == "of 03_b"
    assert found["picture"].read_bytes() == b"\xff\xfe 02-b"


def test_the_book_needs_no_renaming():
    assert renumber.renamed(chapters.chapter_numbers()) == {}, "run python tools/renumber.py"
