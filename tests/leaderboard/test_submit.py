"""Submit and Maintain, without a browser."""

import hashlib
import json
import tomllib

import pyarrow.parquet as pq
import pytest
import yaml
from streamlit.testing.v1 import AppTest

from leaderboard import access, tables
from leaderboard.problems import grouped, heading, which
from medground import submission
from medground.errors import MedgroundError
from medground.submission import preview, schema
from tests.leaderboard.conftest import REPOSITORY
from tests.leaderboard.fixture import write_entry
from tests.leaderboard.test_pages import copy, show, texts, widget


@pytest.fixture
def folder(tree, tmp_path, monkeypatch):
    """A repository that may be written to."""
    return copy(tree, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def entry(tree, tmp_path_factory):
    """A valid entry, which nobody changes."""
    return write_entry(tmp_path_factory.mktemp("entries") / "mine", tree)


def upload(card: bytes, table: bytes, who: str = "a@example.org") -> AppTest:
    """The form with both files, handed in."""
    test = show("submit")
    widget(test.segmented_control, "The card").set_value("Upload entry.yaml")
    test.run()
    widget(test.file_uploader, "entry.yaml").set_value(("entry.yaml", card, "application/yaml"))
    return hand_in(test, table, who)


def hand_in(test: AppTest, table: bytes, who: str = "a@example.org") -> AppTest:
    widget(test.file_uploader, "attributions").set_value(("attributions.parquet", table, "application/octet-stream"))
    if who:
        widget(test.text_input, "Your e-mail").set_value(who)
    widget(test.button, "Check").click()
    return test.run()


def both(entry) -> tuple[bytes, bytes]:
    return (entry / "entry.yaml").read_bytes(), (entry / "attributions.parquet").read_bytes()


def send(test: AppTest) -> AppTest:
    widget(test.button, "Submit this").click()
    return test.run()


def waiting(folder) -> list[submission.Receipt]:
    return [receipt for receipt in submission.receipts(folder / "submissions") if receipt.status == "quarantined"]


def test_a_valid_entry_is_previewed_and_received_with_a_permanent_id(folder, entry):
    test = upload(*both(entry))
    assert "No problems" in texts(test) and not test.exception
    assert float(widget(test.metric, "IoU").value) > 0.1 and widget(test.metric, "Coverage").value == "100%"
    test = send(test)
    (receipt,) = waiting(folder)
    assert test.code[0].value == receipt.id and receipt.id.startswith("careful-look-")
    assert "a@example.org" not in json.dumps(vars(receipt)) and not test.exception
    again = send(upload(*both(entry)))
    assert "was received" in again.error[0].value and len(waiting(folder)) == 1


def test_a_receipt_survives_a_reload_and_says_what_became_of_the_entry(folder, entry):
    """Its address holds the id; a new session shows it."""
    test = send(upload(*both(entry)))
    (receipt,) = waiting(folder)
    assert test.query_params["receipt"] in (receipt.id, [receipt.id])
    assert "waits for a maintainer" in texts(show("submit", receipt=receipt.id))
    submission.reject(receipt.id, folder / "submissions", "the maps are upside down")
    assert "Rejected: the maps are upside down" in texts(show("submit", receipt=receipt.id)).replace("\\", "")
    assert "There is no entry nobody" in texts(show("submit", receipt="nobody-0")).replace("\\", "")
    test = show("submit")
    widget(test.text_input, "Its id").set_value(receipt.id)
    assert "upside down" in texts(test.run())


def test_a_table_is_validated_once_whatever_is_done_with_it(folder, entry, monkeypatch):
    """Handing in validates; looking at the page again, and submitting, do not."""
    times = []
    validate = submission.validator.validate

    def counted(*words):
        times.append(words)
        return validate(*words)

    monkeypatch.setattr(submission, "validate", counted)
    monkeypatch.setattr(submission.store, "validate", counted)
    test = upload(*both(entry))
    first = len(times)  # none where another test handed in the same bytes
    test = test.run()
    send(test)
    assert len(times) == first <= 1 and len(waiting(folder)) == 1


def test_who_sends_must_give_an_address_and_only_the_maintainers_see_it(folder, entry):
    for who in ("", "a@b", "nobody", "a b@example.org"):
        test = upload(*both(entry), who=who)
        assert "Give an e-mail address" in texts(test), who
        assert not [button for button in test.button if button.label.startswith("Submit this")]
    send(upload(*both(entry), who="Me@example.org"))
    (receipt,) = waiting(folder)
    assert access.address_of(receipt.id) == "Me@example.org"
    for guess in ("Me@example.org", "me@example.org"):
        assert hashlib.sha256(guess.encode()).hexdigest()[:16] != receipt.submitter  # nobody can check a guess
    assert access.pseudonym("me@example.org ") == access.pseudonym("Me@example.org")
    private = folder / "submissions/_private"
    assert {path.stat().st_mode & 0o077 for path in private.iterdir()} == {0}


def test_the_quarantine_is_bounded_over_all_visitors(folder, tree, tmp_path, monkeypatch):
    monkeypatch.setattr(submission.store, "MAX_WAITING", 2)
    for number in range(3):
        mine = write_entry(tmp_path / f"entry-{number}", tree, seed=10 + number)
        test = send(upload(*both(mine), who=f"person-{number}@example.org"))
    assert "2 entries wait for a maintainer" in test.error[0].value and len(waiting(folder)) == 2
    monkeypatch.setattr(submission.store, "MAX_WAITING", 200)
    monkeypatch.setattr(submission.store, "MAX_WAITING_BYTES", 1000)
    with pytest.raises(MedgroundError, match="wait for a maintainer"):
        submission.receive(mine, tables.kept(), folder / "submissions", "z")
    assert not list((folder / "submissions/_incoming").iterdir())


def test_who_must_sign_in_sees_no_form_before(folder, monkeypatch):
    monkeypatch.setattr(access, "configured", lambda: True)
    monkeypatch.setattr(access, "user", lambda: None)
    test = show("submit")
    assert "Sign in to submit" in texts(test) and not test.file_uploader
    signed_in(monkeypatch, "a@example.org", ())
    test = show("submit")
    assert test.file_uploader and not [w for w in test.text_input if w.label == "Your e-mail"]


def test_missing_cases_are_counted_and_named_as_a_whole(folder, tree, tmp_path):
    """An entry without the test split: one line says so, however many cases that are."""
    entry = write_entry(tmp_path / "entry", tree)
    cases = {case["case_id"]: case["split"] for case in tables.kept()}
    gone = [name for name, split in cases.items() if split == "test"]
    keep_rows(entry / "attributions.parquet", lambda name: cases[name] == "dev")
    test = upload(*both(entry))
    assert f"**{len(gone)} cases are missing: the whole test split**" in texts(test).replace("\\", "")
    assert f"{len(gone)} problems of one kind" in texts(test)
    known = [{"case_id": name, "split": split, "model": name.split("/")[0], "mode": name.split("/")[1], "source": "s"}
             for name, split in cases.items()]  # fmt: skip
    one = [case["case_id"] for case in known if case["mode"] == "direct"]
    assert which(one, known) == "everything of mode direct"
    assert which(gone[:3], known) == f"3 of {len(gone)} in test"
    assert which(list(cases), known) == "all of them"


def test_problems_beyond_those_that_are_listed_are_counted():
    problems = [submission.Problem(f"attributions.parquet row {n}", "", "has no contrast", "x") for n in range(100)]
    problems += [submission.Problem("attributions.parquet", "", "1,234 more of: has no contrast", "y")]
    (group,) = grouped(problems, (), [])
    assert group.count == 1334 and heading(group) == "1,334 × has no contrast" and len(group.listed) == 100


def keep_rows(path, keep) -> None:
    """Leave only some cases in a table."""
    table = pq.read_table(path)
    pq.write_table(table.filter([keep(name) for name in table["case_id"].to_pylist()]), path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"", "not a readable Parquet file"),
        (b"PAR1" + b"\0" * 100 + b"PAR1", "not a readable Parquet file"),
        (b"<script>alert(1)</script>", "not a readable Parquet file"),
        (float("nan"), "has NaN, empty or infinite values"),
        (1.0, "has no contrast"),
    ],
)
def test_a_broken_table_is_named_and_not_stored(folder, tree, entry, tmp_path, table, said):
    card, _ = both(entry)
    if isinstance(table, float):
        _, table = both(write_entry(tmp_path / "broken", tree, first=table))
    test = upload(card, table)
    assert "Nothing was sent" in texts(test) and not test.exception
    assert said in texts(test).replace("\\", "")
    assert not [button for button in test.button if button.label.startswith("Submit this")]
    assert not (folder / "submissions").exists()


def test_an_empty_form_lists_every_field_that_is_missing(folder, entry):
    said = texts(hand_in(show("submit"), (entry / "attributions.parquet").read_bytes())).replace("\\", "")
    assert "6 × is missing from the card" in said
    for field in ("method", "version", "authors", "hardware", "used_test_regions", "trained_on_sources"):
        assert f"entry.yaml {field}" in said


def test_the_app_takes_what_the_validator_allows_and_says_so(root):
    config = tomllib.loads((REPOSITORY / ".streamlit/config.toml").read_text())
    said = f"{schema.MAX_TABLE_BYTES >> 20:,} MB"
    assert said in texts(show("submit")) and said in (REPOSITORY / "submissions/README.md").read_text()
    assert f"through this page {config['server']['maxUploadSize']}" in texts(show("submit"))


def test_the_form_says_the_same_as_the_card(folder, entry):
    test = show("submit")
    for label, value in {"Method": "Careful Look", "Version": "1.0", "Authors": "A. Author, B. Author"}.items():
        widget(test.text_input, label).set_value(value)
    widget(test.text_input, "Hardware").set_value("pencil")
    widget(test.text_area, "Settings").set_value("layers: 12\nfill: black")
    for question in ("Were expert", "Was anything"):
        widget(test.radio, question).set_value("no")
    send(hand_in(test, (entry / "attributions.parquet").read_bytes()))
    (receipt,) = waiting(folder)
    stored = yaml.safe_load((submission.place(receipt.id, folder / "submissions") / "entry.yaml").read_text())
    assert stored == {
        **yaml.safe_load((entry / "entry.yaml").read_text()),
        "settings": {"layers": "12", "fill": "black"},
    }


def test_the_words_of_a_card_are_shown_as_text(folder, tree, tmp_path):
    hostile = "<img src=x onerror=alert(1)> **bold** [x](http://x) :red[x] $x$"
    mine = write_entry(tmp_path / "hostile", tree, method=hostile, authors=[hostile], settings={hostile: hostile})
    test = upload(*both(mine))
    assert hostile in texts(test) and not test.exception
    markdown = [element.value for kind in (test.markdown, test.caption, test.info) for element in kind]
    assert not [value for value in markdown if "<img" in value.replace("\\<", "") or "**bold" in value]


def test_without_sign_in_maintain_says_how_to_decide(root):
    test = show("maintain")
    assert "medground accept" in test.code[0].value and "secrets.toml" in texts(test) and not test.button


def signed_in(monkeypatch, email: str, maintainers: tuple[str, ...]) -> None:
    monkeypatch.setattr(access, "configured", lambda: True)
    monkeypatch.setattr(access, "user", lambda: email)
    monkeypatch.setattr(access, "maintainer", lambda: email if email in maintainers else None)


def test_who_is_no_maintainer_can_decide_nothing(folder, entry, monkeypatch):
    send(upload(*both(entry)))
    signed_in(monkeypatch, "guest@example.org", ())
    test = show("maintain")
    assert "not as one of the maintainers" in texts(test)
    assert [button.label for button in test.button] == ["Sign out"]


def test_a_maintainer_reviews_and_accepts(folder, entry, monkeypatch):
    send(upload(*both(entry)))
    (receipt,) = waiting(folder)
    signed_in(monkeypatch, "boss@example.org", ("boss@example.org",))
    test = show("maintain")
    assert receipt.id in texts(test).replace("\\", "") and "Careful Look" in texts(test)
    said = texts(test).replace("\\", "")
    assert "On **test**: rank " in said and "On **dev**: " in said and "from a@example.org" in said
    assert {"MedFocus", "Random box", preview.NAME} < set(test.dataframe[0].value["Entry"])
    widget(test.toggle, "Look at its maps").set_value(True)
    assert len(test.run().get("image")) == 8  # four of its maps, and of those of the leader
    widget(test.button, "Accept").click()
    test = test.run()
    assert "is accepted" in test.success[0].value and "Nothing waits" in texts(test)
    assert (folder / "submissions" / receipt.id / "attributions.parquet").exists()


def test_a_maintainer_is_told_of_the_same_maps_under_another_name(folder, entry, tree, tmp_path, monkeypatch):
    send(upload(*both(entry)))
    again = write_entry(tmp_path / "again", tree, method="Another Look")  # the same maps
    send(upload(*both(again), who="b@example.org"))
    signed_in(monkeypatch, "boss@example.org", ("boss@example.org",))
    said = texts(show("maintain")).replace("\\", "")
    first, second = sorted(receipt.id for receipt in waiting(folder))
    assert f"The same maps as {first}" in said and f"The same maps as {second}" in said


def test_a_rejection_needs_a_reason(folder, entry, monkeypatch):
    send(upload(*both(entry)))
    (receipt,) = waiting(folder)
    signed_in(monkeypatch, "boss@example.org", ("boss@example.org",))
    test = show("maintain")
    widget(test.button, "Reject").click()
    assert "needs a reason" in test.run().error[0].value
    widget(test.text_input, "Reason").set_value("no settings given")
    test.run()
    widget(test.button, "Reject").click()
    test.run()
    (decided,) = submission.receipts(folder / "submissions")
    assert (decided.id, decided.status, decided.reason) == (receipt.id, "rejected", "no settings given")


def test_who_signs_in_counts_only_with_a_verified_address(monkeypatch):
    import streamlit as st

    class User(dict):
        is_logged_in = True

    monkeypatch.setattr(
        access, "_secrets", lambda: {"auth": {"client_id": "x"}, "maintain": {"emails": ["Boss@example.org"]}}
    )
    for claims, user, maintainer in (
        ({"email": "boss@example.org", "email_verified": True}, "boss@example.org", "boss@example.org"),
        ({"email": "boss@example.org"}, "boss@example.org", "boss@example.org"),
        ({"email": "boss@example.org", "email_verified": False}, None, None),
        ({"email": "guest@example.org", "email_verified": True}, "guest@example.org", None),
        ({}, None, None),
    ):
        monkeypatch.setattr(st, "user", User(claims))
        assert (access.user(), access.maintainer()) == (user, maintainer)
