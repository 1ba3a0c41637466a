"""Each page on a small, complete tree, without a browser."""

import csv
import io
import shutil

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from leaderboard import tables
from medground import records
from tests.leaderboard.conftest import REPOSITORY

PAGES = ("board", "compare", "cases", "submit", "benchmark", "maintain")


def show(page: str, **query: str) -> AppTest:
    test = AppTest.from_file(str(REPOSITORY / f"leaderboard/{page}.py"), default_timeout=60)
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def widget(kind, label: str):
    """The first widget of a kind with this label."""
    return next(w for w in kind if w.label.startswith(label))


def texts(test: AppTest) -> str:
    """All that is written on the page."""
    kinds = (test.text, test.markdown, test.caption, test.info, test.error, test.warning, test.success)
    return "\n".join(element.value for kind in kinds for element in kind)


def copy(tree, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(tree, folder)
    monkeypatch.setenv("MEDGROUND_ROOT", str(folder))
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_with_its_title(root, page):
    test = show(page)
    assert not test.exception
    assert len(test.title) == 1


def test_the_app_opens_on_the_board(root):
    test = AppTest.from_file(str(REPOSITORY / "leaderboard/app.py"), default_timeout=60).run()
    assert test.title[0].value == "Leaderboard" and not test.exception


@pytest.mark.parametrize("page", ("board", "compare", "cases", "benchmark"))
def test_without_data_a_page_names_the_command_to_run(tmp_path, monkeypatch, page):
    monkeypatch.setenv("MEDGROUND_ROOT", str(tmp_path))
    test = AppTest.from_file(str(REPOSITORY / "leaderboard/app.py"), default_timeout=60).run()
    if page != "board":
        test.switch_page(f"{page}.py").run()
    assert "dvc repro" in test.error[0].value.replace("\\", "") and not test.exception


def test_the_board_shows_every_entry_ranked_as_its_table_says(root):
    shown = show("board").dataframe[0].value
    board = pd.read_parquet(root / "data/board/board.parquet").query("split == 'test' and track == 'all'")
    ordered = board.sort_values(["rank", "iou_at_area", "entry"], ascending=[True, False, True])
    assert shown["Entry"].tolist() == ordered.entry.tolist() == board.entry.tolist()
    assert shown["IoU"].tolist() == ordered.iou.tolist()


def test_the_board_filters_by_kind_name_split_and_track(root):
    test = show("board")
    widget(test.pills, "Show").set_value(["method"])
    test.run()
    assert set(test.dataframe[0].value["Kind"]) == {"reproduced here"}
    widget(test.text_input, "Find").set_value("FOCUS")
    test.run()
    assert test.dataframe[0].value["Entry"].tolist() == ["medfocus"]
    widget(test.text_input, "Find").set_value("nobody")
    assert "No entry fits" in texts(test.run())
    widget(test.text_input, "Find").set_value("")
    widget(test.segmented_control, "Split").set_value("dev")
    widget(test.selectbox, "Track").set_value("finding")
    test.run()
    widget(test.selectbox, "Finding").set_value("cardiomegaly")
    test.run()
    board = tables.board().query("split == 'dev' and track == 'finding=cardiomegaly' and kind == 'method'")
    assert test.dataframe[0].value["Cases"].tolist() == board.cases.tolist()


def test_the_board_sorts_by_any_column(root):
    test = show("board")
    widget(test.selectbox, "Sort").set_value("recall")
    recall = test.run().dataframe[0].value["Recall"]
    assert recall.is_monotonic_decreasing


def test_the_board_says_what_its_order_rests_on_and_why_an_entry_has_no_rank(root):
    test = show("board")
    rows = pd.read_parquet(root / "data/board/board.parquet").query("split == 'test' and track == 'all'")
    said = test.dataframe[0].value.set_index("Entry")["Not ranked because"].to_dict()
    assert said == rows.set_index("entry").reason.fillna("").to_dict()
    assert {said[entry] for entry in rows[rows.kind == "floor"].entry} == {"looks at no model"}
    assert "There are no pairs on this track" in texts(test) and "IoU at equal area" in test.dataframe[0].value
    widget(test.selectbox, "Sort").set_value("iou")
    assert test.run().dataframe[0].value["Entry"].iloc[0] == rows.set_index("entry").iou.idxmax()


def test_a_hostile_name_is_shown_as_text_and_downloaded_without_its_formula(tree, tmp_path, monkeypatch):
    folder = copy(tree, tmp_path, monkeypatch)
    name = '=cmd|" /C calc"!A1 <img src=x onerror=alert(1)> **x**'
    rows = records.read_rows(folder / "data/board/board.parquet", records.BOARD)
    for row in rows:
        row["entry"] = name if row["entry"] == "occlusion" else row["entry"]
    records.write_table(rows, records.BOARD, folder / "data/board/board.parquet")
    from leaderboard.text import safe_csv

    test = show("board")
    assert name in test.dataframe[0].value["Entry"].tolist()
    assert not test.exception
    lines = list(csv.reader(io.StringIO(safe_csv(tables.board()).decode())))
    assert not [cell for line in lines for cell in line if cell.startswith("=")]


def test_compare_states_the_paired_difference_that_the_library_finds(root):
    from medground.ranking import paired_difference

    test = show("compare")
    widget(test.selectbox, "First").set_value("gradcam")
    widget(test.selectbox, "Second").set_value("random")
    test.run()
    cases, scores = tables.cases(), tables.scores(("gradcam", "random"))
    ranked = cases[cases.kept & (cases.control == "honest") & (cases.split == "test")]
    both = scores.pivot(index="case_id", columns="entry", values="iou").loc[ranked.case_id]
    found = paired_difference(both.gradcam, both.random, ranked.patient_id, resamples=200, seed=1)
    assert test.metric[0].value == f"{found['difference']:+.3f}"
    assert f"{found['low']:+.3f} to {found['high']:+.3f}" in texts(test)
    assert "**gradcam** leads random" in texts(test)
    differences = test.dataframe[-1].value["Difference"].abs()
    assert differences.is_monotonic_decreasing


def test_comparing_an_entry_with_itself_asks_for_another(root):
    test = show("compare")
    widget(test.selectbox, "Second").set_value(widget(test.selectbox, "First").value)
    assert "two different entries" in texts(test.run())


def test_a_case_shows_question_answer_gates_and_their_verdicts(root):
    cases = tables.cases()
    case = cases[cases.kept].iloc[7]
    test = show("cases", case=case.case_id)
    assert widget(test.selectbox, "Case").value == case.case_id
    shown = texts(test)
    assert case.question in shown and case.answer in shown
    assert shown.count("wanted yes") == 3 and shown.count("wanted no") == 1
    assert len(test.get("image")) == 3 + 4  # the film and two maps, then the gates
    assert "nan" not in shown


def test_next_and_previous_step_through_the_filtered_cases(root):
    test = show("cases")
    first = widget(test.selectbox, "Case").value
    names = widget(test.selectbox, "Case").options
    widget(test.button, "Next").click()
    second = widget(test.run().selectbox, "Case").value
    assert second != first
    widget(test.button, "Previous").click()
    assert widget(test.run().selectbox, "Case").value == first
    widget(test.button, "Previous").click()
    assert names[-1].endswith(widget(test.run().selectbox, "Case").value)


def test_cases_that_were_not_kept_say_why(root):
    cases = tables.cases()
    for reason in ("wrong", "not flipped", "not stayed"):
        case = cases[cases.reason == reason].iloc[0]
        test = show("cases", case=case.case_id)
        assert widget(test.selectbox, "Case").value == case.case_id
        assert "Not kept" in texts(test) and "have maps" in texts(test)
        assert len(test.get("image")) == 1 + 4


def test_hidden_test_regions_appear_nowhere(tree, tmp_path, monkeypatch):
    """No region, no edited film, no score of a single case: each would give the region away."""
    folder = copy(tree, tmp_path, monkeypatch)
    settings = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(settings.replace("hide_test_regions: false", "hide_test_regions: true"))
    cases = tables.cases()
    hidden = show("cases", case=cases[cases.kept & (cases.split == "test")].case_id.iloc[0])
    assert len(hidden.get("image")) == 3 and "kept back" in texts(hidden)
    assert widget(hidden.toggle, "Expert region").disabled and "IoU" not in texts(hidden)
    assert "kept back" in texts(show("compare")) and len(show("compare").dataframe) == 1
    shown = show("cases", case=cases[cases.kept & (cases.split == "dev")].case_id.iloc[0])
    assert len(shown.get("image")) == 7 and "IoU" in texts(shown)


def test_what_a_licence_keeps_back_is_shown_only_in_private(tree, tmp_path, monkeypatch):
    """The same films under a source that lets only keys and verdicts leave."""
    folder = copy(tree, tmp_path, monkeypatch)
    from medground.sources import SOURCES

    monkeypatch.setattr(type(SOURCES.get("phantom_lesion")), "licence", SOURCES.get("imagenome").licence)
    cases = tables.cases()
    case = cases[cases.kept & (cases.source == "phantom_lesion")].iloc[0]
    held = show("cases", case=case.case_id)
    assert not held.get("image") and case.question not in texts(held) and "Licence" in texts(held)
    assert not [o for o in widget(held.selectbox, "Case").options if "phantom_lesion" in o and "·" in o]
    monkeypatch.setenv("MEDGROUND_PRIVATE", "1")
    assert len(show("cases", case=case.case_id).get("image")) == 7
    assert folder.exists()


def test_the_benchmark_page_counts_what_the_filter_kept(root):
    counts = tables.retention()
    test = show("benchmark")
    values = {metric.label: metric.value for metric in test.metric}
    assert values["Questions asked"] == f"{counts.asked.sum():,}"
    assert values["Verified"] == f"{counts.kept.sum():,}"
    assert values["Cases of the benchmark"] == f"{tables.cases().kept.sum():,}"
    honest = counts[counts.control == "honest"]
    assert values["Honest answers kept"] == f"{honest.kept.sum() / honest.right.sum():.0%}".replace("%", " %")
