import csv
import io

import pandas as pd
import pytest

from leaderboard.text import plain, safe_csv, share


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", '=HYPERLINK("http://x")'])
def test_a_formula_is_disarmed_in_a_download(formula):
    rows = list(
        csv.reader(io.StringIO(safe_csv(pd.DataFrame({"name": [formula], "iou": [-0.5]})).decode(), newline=""))
    )
    assert rows == [["name", "iou"], ["'" + formula, "-0.5"]]


def test_ordinary_values_are_untouched_in_a_download():
    table = pd.DataFrame({"name": ["a=b", "grad-cam"], "iou": [0.25, None], "cases": [3, 4]})
    again = pd.read_csv(io.BytesIO(safe_csv(table)))
    pd.testing.assert_frame_equal(again, table, check_dtype=False)


@pytest.mark.parametrize(
    "text", ["**bold**", "[x](http://y)", "<b>x</b>", "$x$", ":red[x]", "a\nb", "# x", "`x`", "~~x~~"]
)
def test_markup_is_escaped(text):
    shown = plain(text)
    assert "\n" not in shown
    for place, char in enumerate(shown):
        if char in r"*[]()<>$:#`~":
            assert shown[place - 1] == "\\"
    assert shown.replace("\\", "") == text.replace("\n", " ")


def test_share_of_nothing_is_no_number():
    assert (share(1, 4), share(0, 0)) == ("25 %", "–")
