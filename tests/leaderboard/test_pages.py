"""Each page on a small, complete tree, without a browser."""

import csv
import io
import json
import re
import shutil
import threading

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from leaderboard import charts, names, tables
from medground import ranking, records, submission
from medground.evaluation.tables import RESULTS
from medground.scoring.tables import load_cases
from tests.leaderboard.conftest import REPOSITORY
from tests.leaderboard.fixture import rank, write_entry

PAGES = ("board", "causes", "models", "compare", "cases", "submit", "benchmark", "maintain")
QUESTION = "Does the map show what made the model answer?"


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


@pytest.fixture(scope="module")
def without_causes(tree, tmp_path_factory):
    """A repository about models of which nobody knows what they answer from, so that there are no pairs."""
    folder = shutil.copytree(tree, tmp_path_factory.mktemp("published") / "repository")
    table = folder / "data/cases/cases.parquet"
    unknown = {"control": "honest", "cause": None, "verified": None, "pair": None}
    records.write_table([row | unknown for row in records.read_rows(table, records.CASES)], records.CASES, table)
    rank(folder)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_where_no_causes_are_known(without_causes, monkeypatch, page):
    monkeypatch.setenv("MEDGROUND_ROOT", str(without_causes))
    test = show(page)
    assert not test.exception and not test.error


@pytest.mark.parametrize("page", ("causes", "models", "compare"))
def test_what_a_page_looks_up_does_not_grow_with_the_cases(root, page, monkeypatch):
    asked, settings = [], tables.settings
    monkeypatch.setattr(tables, "settings", lambda: asked.append(page) or settings())
    assert not show(page).exception
    assert 0 < len(asked) < len(tables.cases()) / 4


def test_what_a_page_does_to_its_frames_nobody_else_sees(root):
    for read in (tables.cases, tables.board, tables.samples):
        found, before = read(), read()
        found["split"] = "gone"
        found.loc[0, "source" if "source" in found else "entry"] = "gone"
        pd.testing.assert_frame_equal(read(), before)
    kinds = tables.kinds()
    kinds[:] = "gone"
    assert "gone" not in set(tables.kinds())


def test_the_app_opens_on_the_board(root):
    test = AppTest.from_file(str(REPOSITORY / "leaderboard/app.py"), default_timeout=60).run()
    assert test.title[0].value == QUESTION and not test.exception


@pytest.mark.parametrize("page", ("board", "causes", "models", "compare", "cases", "benchmark"))
def test_without_data_a_page_names_the_command_to_run(tmp_path, monkeypatch, page):
    monkeypatch.setenv("MEDGROUND_ROOT", str(tmp_path))
    test = AppTest.from_file(str(REPOSITORY / "leaderboard/app.py"), default_timeout=60).run()
    if page != "board":
        test.switch_page(f"{page}.py").run()
    assert "being made" in test.warning[0].value and "dvc repro" in texts(test) and not test.exception


def test_a_table_that_is_gone_for_a_moment_is_waited_for(tree, tmp_path, monkeypatch):
    """As when the board is made again under a visitor."""
    board = copy(tree, tmp_path, monkeypatch) / "data/board/board.parquet"
    board.rename(board.with_suffix(".away"))
    threading.Timer(0.8, lambda: board.with_suffix(".away").rename(board)).start()
    test = AppTest.from_file(str(REPOSITORY / "leaderboard/app.py"), default_timeout=60).run()
    assert test.title[0].value == QUESTION and not test.warning and not test.exception


def on_test(root) -> pd.DataFrame:
    return pd.read_parquet(root / "data/board/board.parquet").query("split == 'test' and track == 'all'")


def test_the_board_shows_every_entry_ranked_as_its_table_says(root):
    shown = show("board").dataframe[0].value
    board = on_test(root)
    ordered = board.sort_values(["rank", "follows", "entry"], ascending=[True, False, True])
    assert shown["Id"].tolist() == ordered.entry.tolist()
    assert shown["Follows"].tolist() == ordered.follows.tolist()
    assert shown["IoU"].tolist() == ordered.iou.tolist()


def test_the_board_filters_by_kind_name_split_and_track(root):
    test = show("board")
    widget(test.pills, "Show").set_value(["reproduced here"])
    test.run()
    assert set(test.dataframe[0].value["Kind"]) == {"reproduced here"}
    for word in ("FOCUS", "med"):  # the name, and the id
        widget(test.text_input, "Find").set_value(word)
        test.run()
        assert test.dataframe[0].value["Id"].tolist() == ["medfocus"]
    widget(test.text_input, "Find").set_value("nobody")
    assert "No entry fits" in texts(test.run())
    widget(test.text_input, "Find").set_value("")
    widget(test.segmented_control, "Split").set_value("dev")
    widget(test.selectbox, "Track").set_value("finding: cardiomegaly")
    test.run()
    board = tables.board().query("split == 'dev' and track == 'finding=cardiomegaly' and kind == 'method'")
    assert test.dataframe[0].value["Cases"].tolist() == board.cases.tolist()


def drawn(test: AppTest) -> list[str]:
    """The names that the board's chart draws, from top to bottom."""
    spec = json.loads(test.get("vega_lite_chart")[-1].proto.spec)
    return next(layer["encoding"]["y"]["sort"] for layer in spec["layer"] if "y" in layer.get("encoding", {}))


def test_table_and_chart_follow_the_metric_the_order_and_the_search(root):
    test = show("board")
    for label in ("Recall", "Pointing", "Points at the cause"):
        widget(test.selectbox, "Order").set_value(label)
        test.run()
        shown = test.dataframe[0].value
        assert shown[label].is_monotonic_decreasing
        methods = shown[shown.Kind != "floor"].Method.tolist()
        assert drawn(test)[: len(methods)] == methods
        assert label in test.get("vega_lite_chart")[-1].proto.spec
    widget(test.text_input, "Find").set_value("prompting")
    test.run()
    assert drawn(test) == ["Prompting", *[name for name in drawn(test) if name != "Prompting"]]
    assert {"Random box", "Whole film", "Middle of the film"} < set(drawn(test))  # the floors stay


def test_floors_are_drawn_at_any_number_of_entries(tree, tmp_path, monkeypatch):
    folder = copy(tree, tmp_path, monkeypatch)
    rows = records.read_rows(folder / "data/board/board.parquet", records.BOARD)
    first = [row for row in rows if row["entry"] == "medfocus"]
    rows += [row | {"entry": f"again-{number:03d}"} for number in range(60) for row in first]
    records.write_table(rows, records.BOARD, folder / "data/board/board.parquet")
    test = show("board")
    names = drawn(test)
    assert len(names) == 25 + 3 and len(set(names)) == len(names)
    assert set(names[-3:]) == {"Random box", "Whole film", "Middle of the film"}
    assert "more are in the table" in texts(test) and len(test.dataframe[0].value) == 67
    spec = json.loads(test.get("vega_lite_chart")[-1].proto.spec)
    assert spec["height"] == {"step": 26}  # a row has its height, however many there are


def test_an_entry_that_is_picked_stays_picked_through_every_order_and_search(root):
    """A row is another entry in another order: what is picked is the entry."""
    test = show("board")
    last = test.dataframe[0].value.Method.tolist()[-1]
    widget(test.selectbox, "About").set_value(last)
    test.run()
    assert f"**{last}**" in texts(test).replace("\\", "")
    keys = set()
    for order in ("IoU", "Pointing", "Rank"):
        widget(test.selectbox, "Order").set_value(order)
        test.run()
        assert f"**{last}**" in texts(test).replace("\\", "") and not test.exception
        place = test.dataframe[0].value.Method.tolist().index(last)
        assert test.dataframe[0].value.Method[place] == last
        keys.add(tuple(test.dataframe[0].value.Method))
    assert len(keys) > 1
    widget(test.text_input, "Find").set_value("focus")  # one row is left, of another entry
    test.run()
    assert not test.exception and f"**{last}**" in texts(test).replace("\\", "")
    widget(test.pills, "Show").set_value(["submitted"])
    assert "No entry fits" in texts(test.run()) and not test.exception


def test_the_board_says_what_its_order_rests_on_and_why_an_entry_has_no_rank(root):
    test = show("board")
    rows = on_test(root).set_index("entry")
    said = test.dataframe[0].value.set_index("Id")["Not ranked because"].to_dict()
    assert said == rows.reason.fillna("").to_dict()
    assert {said[entry] for entry in rows[rows.kind == "floor"].index} == {"looks at no model"}
    assert "is not above the floor" in said["prompting"]
    assert f"{rows.pairs.iloc[0]} pairs, {rows.cases.iloc[0]} verified cases" in texts(test)
    widget(test.selectbox, "About").set_value("Prompting")
    assert "is not above the floor" in texts(test.run()).replace("\\", "")


def test_the_board_names_authors_dates_and_papers(tree, tmp_path, monkeypatch):
    """Of what was reproduced, the paper; of a submission, what its card says, flags included."""
    folder = copy(tree, tmp_path, monkeypatch)
    entry = write_entry(tmp_path / "entry", tree, method="Методика", link="https://example.org/x",
                        trained_on_sources=True)  # fmt: skip
    received = submission.receive(entry, tables.kept(), folder / "submissions", "a@example.org")
    submission.accept(received.id, folder / "submissions")
    rank(folder)
    shown = show("board").dataframe[0].value.set_index("Id")
    assert shown.loc["gradcam", ["Method", "By", "Date"]].tolist() == ["Grad-CAM", "Selvaraju et al.", "2017"]
    assert shown.loc["gradcam", "Link"].startswith("https://")
    assert shown.loc[received.id, ["Method", "By", "Link", "Flags", "Date"]].tolist() == [
        "Методика", "A. Author, B. Author", "https://example.org/x", "trained on the sources", received.received[:10]
    ]  # fmt: skip
    card = folder / "submissions" / received.id / "entry.yaml"
    card.write_text(card.read_text().replace("B. Author", "C. Author"))
    shown = show("board").dataframe[0].value.set_index("Id")
    assert shown.loc[received.id, "By"] == "A. Author, C. Author"


@pytest.mark.parametrize("page", ["board", "models", "benchmark"])
def test_what_is_drawn_from_memory_is_what_was_drawn_first(root, page):
    def drawn(test: AppTest) -> list[bytes]:
        kinds = ("vega_lite_chart", "image", "markdown", "dataframe")
        return [element.proto.SerializeToString(deterministic=True) for kind in kinds for element in test.get(kind)]

    st.cache_data.clear()
    st.cache_resource.clear()
    first, again = drawn(show(page)), drawn(show(page))
    assert len(first) > 3
    assert again == first


def test_a_chart_has_the_colours_of_each_readers_theme(root, monkeypatch):
    for paint, other in ((charts.LIGHT, charts.DARK), (charts.DARK, charts.LIGHT)):
        monkeypatch.setattr(charts, "colours", lambda paint=paint: paint)
        said = show("board").get("vega_lite_chart")[0].proto.spec
        assert paint["first"] in said and other["first"] not in said


def test_the_first_screen_says_who_leads_and_what_cannot_be_told_apart(root):
    said, rows = texts(show("board")), on_test(root)
    ranked = rows[rows.ranked.astype(bool)].sort_values(["rank", "entry"])
    methods = rows[rows.kind != "floor"]
    first = ranked[ranked["rank"] == 1]
    verb = "leads" if len(first) == 1 else "lead"
    assert f"{verb} the {len(ranked)} of {len(methods)} methods" in said
    assert f"{len(ranked[ranked.tie == first.tie.iloc[0]]) - len(first)} more share" in said
    assert "Phantom films" in said and "Letters" in said and "Gray" in said
    kept = json.loads((root / "data/cases/filter.json").read_text())["by_control"]["honest"]
    assert f"{kept['kept'] / kept['right']:.0%}".replace("%", " %") in said


def test_the_proof_shows_a_map_that_prints_the_finding_beside_one_that_follows(root):
    test = show("board")
    assert len(test.get("image")) == 4
    said = texts(test)
    assert said.count("on the cause") == 3 and said.count("misses it") == 1
    assert "**Prompting** :red-badge" in said  # it prints the region, whatever the cause


@pytest.mark.parametrize("axis", ["finding", "model", "mode", "source", "kind of cause"])
def test_the_heat_map_says_what_the_tables_say(root, axis):
    test = show("board", view="Heat map", by=axis)
    spec = json.loads(test.get("vega_lite_chart")[-1].proto.spec)
    columns = spec["layer"][0]["encoding"]["x"]["sort"]
    if axis == "kind of cause":
        assert columns == ["finding", "letter"]
    else:
        board = tables.board().query("split == 'test'")
        tracks = board[board.track.str.startswith(f"{axis}=") & board.follows.notna()]
        assert columns == sorted(set(tracks.track.str.partition("=")[2]))
    numbers = test.table[0].value
    assert numbers.index[0] == "MedFocus" and (numbers.loc["MedFocus"] == 1).all()


def test_an_address_that_names_what_is_not_here_says_so(root):
    asked = [("board", {"split": "tset"}), ("board", {"entry": "nobody"}), ("compare", {"first": "nobody"})]
    asked += [("cases", {"case": "no/such/case/1"}), ("causes", {"pair": "x"}), ("models", {"over": "x"})]
    for page, choice in asked:
        test = show(page, **choice)
        said = "\n".join(warning.value for warning in test.warning).replace("\\", "")
        assert "The address asks for" in said and next(iter(choice.values())) in said, page
        assert not test.exception
        assert not show(page).warning


def test_a_hostile_name_is_shown_as_text_and_downloaded_without_its_formula(tree, tmp_path, monkeypatch):
    folder = copy(tree, tmp_path, monkeypatch)
    name = '=cmd|" /C calc"!A1 <img src=x onerror=alert(1)> **x**'
    rows = records.read_rows(folder / "data/board/board.parquet", records.BOARD)
    for row in rows:
        row["entry"] = name if row["entry"] == "occlusion" else row["entry"]
    records.write_table(rows, records.BOARD, folder / "data/board/board.parquet")
    from leaderboard.text import safe_csv

    test = show("board")
    assert name in test.dataframe[0].value["Id"].tolist()
    assert not test.exception
    lines = list(csv.reader(io.StringIO(safe_csv(tables.board()).decode())))
    assert not [cell for line in lines for cell in line if cell.startswith("=")]


def test_compare_opens_with_the_two_that_lead_on_the_split(root):
    board = on_test(root)
    ordered = board.sort_values(["rank", "follows", "entry"], ascending=[True, False, True]).entry.tolist()
    test = show("compare")
    called = names.labels(ordered)
    assert [widget(test.selectbox, label).value for label in ("First", "Second")] == [called[e] for e in ordered[:2]]
    assert widget(test.selectbox, "Metric").value == "Follows"


@pytest.mark.parametrize("metric", ["iou", "follows", "cause_pointing"])
def test_compare_states_the_paired_difference_that_the_library_finds(root, metric):
    test = show("compare", first="Grad-CAM", second="Random box", metric=tables.ON_BOARD[metric])
    results = ranking.Results.of(
        records.read_table(root / "data/scores/scores.parquet", records.SCORES), load_cases(root / "data")
    )
    how = {"resamples": 200, "seed": 1}
    found = next(row for row in ranking.lead(results, "gradcam", "all", "test", metric=metric, **how)
                 if row["entry"] == "random")  # fmt: skip
    assert test.metric[0].value == f"{found['difference']:+.3f}"
    assert f"{found['low']:+.3f} to {found['high']:+.3f}" in texts(test)
    assert "**Grad-CAM** leads Random box" in texts(test).replace("\\", "")


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
        case = cases[(cases.reason == reason) & cases.pair.isna()].iloc[0]
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
    assert "kept back" in texts(show("compare")) and "case=" not in str(show("compare").get("html"))
    assert all(tables.cases().set_index("case_id").split[tables.pairs()["first"]] == "dev")
    assert "kept back" in texts(show("causes")) and "kept back" in texts(show("models"))
    shown = show("cases", case=cases[cases.kept & (cases.split == "dev")].case_id.iloc[0])
    assert len(shown.get("image")) == 7 and "IoU" in texts(shown)


def test_what_a_licence_keeps_back_is_shown_only_in_private(tree, tmp_path, monkeypatch):
    """The same films under a source that lets only keys and verdicts leave."""
    folder = copy(tree, tmp_path, monkeypatch)
    from medground.sources import SOURCES

    monkeypatch.setattr(type(SOURCES.get("phantom_causes_lesion")), "licence", SOURCES.get("imagenome").licence)
    cases = tables.cases()
    case = cases[cases.kept & (cases.source == "phantom_causes_lesion")].iloc[0]
    held = show("cases", case=case.case_id)
    assert not held.get("image") and case.question not in texts(held) and "Licence" in texts(held)
    assert not [o for o in widget(held.selectbox, "Case").options if "phantom_causes_lesion" in o and "·" in o]
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
    assert values["From the finding"] == f"{honest.kept.sum() / honest.right.sum():.0%}".replace("%", " %")


def test_no_two_pages_have_a_choice_of_one_name_in_the_address():
    """It would be carried from page to page, and Back would not come back."""
    named: dict[str, str] = {}
    for path in sorted((REPOSITORY / "leaderboard").glob("*.py")):
        for name in re.findall(r'key=f?"([\w{}]+)",\s+bind=BIND', path.read_text()):
            assert named.setdefault(name, path.name) == path.name, name
    assert {"split", "pair", "over", "on", "of", "case", "maps"} <= set(named)


def test_models_are_listed_with_what_was_asked_right_and_grounded(root):
    """Counted anew from the cases."""
    shown = show("models").dataframe[0].value.set_index(["Model", "Mode"])
    known = tables.cases().query("split == 'test'")
    for key, group in known.groupby(["model", "mode"]):
        assert shown.loc[key, "Asked"] == len(group)
        assert shown.loc[key, "Right"] == pytest.approx(100 * group.right.mean())
        grounded = (group.passed > 0) & group.right
        assert shown.loc[key, "Grounded"] == pytest.approx(100 * grounded.mean())
        low, high = (float(end.rstrip("%")) for end in shown.loc[key, "Grounded, 95 %"].split("–"))
        assert low - 1 <= 100 * grounded.mean() <= high + 1


def test_results_of_evaluated_models_are_listed_where_they_are(tree, tmp_path, monkeypatch):
    folder = copy(tree, tmp_path, monkeypatch)
    (folder / "data/results/results.parquet").unlink()
    assert len(show("models").dataframe) == 2  # the board, and what was taught
    counts = {"patients": 9, "asked": 10, "right": 8, "flipped": 6, "stayed": 5, "kept": 5, "absent": 10,
              "right_absent": 9, "unparsable": 0}  # fmt: skip
    shares = {"accuracy": 0.85, "sensitivity": 0.8, "specificity": 0.9, "says_yes": 0.45, "grounded": 0.5}
    ends = {f"{name}{end}": value for name, value in shares.items() for end in ("_low", "_high")}
    row = {"model": "theirs", "revision": "abc", "mode": "direct", "split": "test", "finding": None}
    rows = [row | counts | shares | ends, row | counts | shares | ends | {"finding": "cardiomegaly"}]
    records.write_table(rows, RESULTS, folder / "data/results/results.parquet")
    shown = show("models").dataframe[2].value
    assert shown["Model"].tolist() == ["theirs"]
    assert shown[["Accuracy", "Specificity", "Grounded"]].iloc[0].tolist() == pytest.approx([85, 90, 50])


def test_a_pair_shows_both_causes_and_who_follows(root):
    pairs = tables.pairs()
    pair = pairs.iloc[0]
    known = tables.cases().set_index("case_id", drop=False)
    test = show("causes", of="Prompting", pair=tables.pair_titles(pairs, known)[0])
    said = texts(test)
    kinds = tables.kinds()
    assert kinds[pair["first"]] == "finding" and kinds[pair["second"]] == "letter"
    assert f"It answered from **the {known.finding[pair['first']]}**" in said
    assert "It answered from **the letter**" in said
    assert "does not follow" in said and len(test.get("image")) == 4
    told = tables.scores(("occlusion",)).set_index("case_id").follows[[pair["first"], pair["second"]]]
    shown = test.table[0].value.set_index("Method")
    assert shown.loc["Occlusion", "follows"] == ("yes" if (told == 1).all() else "no")
