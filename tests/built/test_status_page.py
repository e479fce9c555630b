"""The status page has a line for each chapter, with the weight of its page, and the versions of the build."""

import re

import pytest
import torch
from chapters import ROOT, chapters

PAGE = ROOT / "_build" / "html" / "book" / "status.html"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason=f"no built book at {PAGE}: run make book first")


def test_each_chapter_has_its_line():
    text = PAGE.read_text(encoding="utf-8")
    for path in chapters():
        row = text.split(f'href="{path.stem}.html"><span>')[1].split("</tr>")[0]
        numbers = [int(n) for n in re.findall(r"<td><p>(\d+)</p></td>", row)]
        assert len(numbers) == 5 and min(numbers[:3]) >= 5 and numbers[4] >= 1, path.stem
        weight = int(re.search(r'data-weight="[^"]+">(\d+) kB<', row)[1])
        assert abs(weight - PAGE.with_name(f"{path.stem}.html").stat().st_size / 1000) <= 1
        assert re.search(r"<td><p>\d+ s</p></td>", row)
    assert f"<td><p>{torch.__version__}</p></td>" in text
