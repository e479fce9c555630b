"""Digits of a class at each strength of guidance: what the page shows is what the record holds."""

import base64

import numpy as np
import pytest
from figures import guided_digits, guided_record
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import GuidedDigits
from dpm_lib.figures.widgets.guided_digits import tiled

RECORD = guided_record()
SHAPE = RECORD["pictures"]["shape"]
PICTURES = np.frombuffer(base64.b64decode(RECORD["pictures"]["uint8"]), "u1").reshape(SHAPE)


def test_the_sheet_is_that_of_the_record(js):
    code = """(m, a) => a.places.map(([w, c]) => {
      const { width, height, grey } = m.tiles(a.bytes, m.placeOf(a.shape, w, c), a.shape[2], a.shape[3]);
      return [width, height, [...grey]]; })"""
    places = [[0, 0], [3, 1], [2, 3]]
    sent = {"places": places, "shape": list(SHAPE), "bytes": PICTURES.flatten().astype("f8")}
    for (w, c), (width, height, grey) in zip(places, js("guided_digits.js", code, sent), strict=True):
        expected = tiled(PICTURES[w, c])
        assert (height, width) == expected.shape == (7, 15) and grey == expected.flatten().tolist()
        assert (expected[:3, 4:7] == PICTURES[w, c, 1]).all() and (expected[4:, :3] == PICTURES[w, c, 4]).all()


def test_it_follows_its_slider_and_its_class(page, write_page):
    open_figures(page, write_page, guided_digits(label="Digits", caption="Move the slider."))
    whole = [row for row in RECORD["rows"] if row["way"] == "whole"]
    assert float(data(page, "w")) == 1 and data(page, "digit") == "2"
    page.get_by_role("slider").focus()
    for key, k in (("ArrowRight", 3), ("Home", 0), ("ArrowRight", 1)):
        page.keyboard.press(key)
        settle(page)
        assert float(data(page, "w")) == whole[k]["w"]
        for name in ("agreement", "spread"):
            assert float(data(page, name)) == pytest.approx(whole[k][name]["mean"], rel=1e-12)
    page.get_by_role("combobox").select_option("3")
    settle(page)
    words = page.locator(".dpm-now").text_content()
    assert f"{round(50 * whole[1]['by_class'][3])} of 50 drawn for 3" in words and "real digits 98.0 %" in words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": 0.7}, r"w: 0\.7: need one of 0\.0, 0\.5, 1\.0, 2\.5"),
        ({"digit": 4}, "digit: 4: need at most 3"),
        ({"record": {"rows": []}}, "record: has no 'pictures': need one with rows, pictures, real, each"),
        ({"record": RECORD | {"rows": RECORD["rows"][1:]}}, r"record: w: need shape \(4\), got \(3,\)"),
        (
            {"record": RECORD | {"pictures": {**RECORD["pictures"], "uint8": "AAAA"}}},
            r"record: 3 bytes of pictures: need shape \(w, class, n, side, side\)",
        ),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        GuidedDigits(**{"record": RECORD} | change)
