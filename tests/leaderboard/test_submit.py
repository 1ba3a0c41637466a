"""Submit and Maintain, without a browser."""

import json
import tomllib

import pytest
import yaml
from streamlit.testing.v1 import AppTest

from leaderboard import access, tables
from medground import submission
from medground.submission import schema
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


def upload(card: bytes, table: bytes) -> AppTest:
    test = show("submit")
    widget(test.segmented_control, "The card").set_value("Upload entry.yaml")
    test.run()
    widget(test.file_uploader, "entry.yaml").set_value(("entry.yaml", card, "application/yaml"))
    widget(test.file_uploader, "attributions").set_value(("attributions.parquet", table, "application/octet-stream"))
    return test.run()


def both(entry) -> tuple[bytes, bytes]:
    return (entry / "entry.yaml").read_bytes(), (entry / "attributions.parquet").read_bytes()


def send(test: AppTest, who: str = "a@example.org") -> AppTest:
    widget(test.text_input, "Your e-mail").set_value(who)
    test.run()
    widget(test.button, "Submit this").click()
    return test.run()


def waiting(folder) -> list[submission.Receipt]:
    return [receipt for receipt in submission.receipts(folder / "submissions") if receipt.status == "quarantined"]


def test_a_valid_entry_is_previewed_and_received_with_a_permanent_id(folder, entry):
    test = upload(*both(entry))
    assert "No problems" in texts(test) and not test.exception
    assert float(widget(test.metric, "IoU").value) > 0.1 and widget(test.metric, "Coverage").value == "100%"
    assert widget(test.button, "Submit this").disabled  # nobody has said who sends it
    test = send(test)
    (receipt,) = waiting(folder)
    assert test.code[0].value == receipt.id and receipt.id.startswith("careful-look-")
    assert "a@example.org" not in json.dumps(vars(receipt))
    again = send(upload(*both(entry)))
    assert "was received" in again.error[0].value and len(waiting(folder)) == 1


def test_what_became_of_an_entry(folder, entry):
    submission.receive(entry, tables.kept(), folder / "submissions", "a@example.org")
    (receipt,) = waiting(folder)
    submission.reject(receipt.id, folder / "submissions", "the maps are upside down")
    test = show("submit")
    widget(test.text_input, "Its id").set_value(receipt.id)
    assert "rejected the maps are upside down" in texts(test.run())
    widget(test.text_input, "Its id").set_value("nobody-0")
    assert "no entry of this id" in texts(test.run())


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
    assert any(said in what for what in test.dataframe[0].value["What is wrong"])
    assert not [button for button in test.button if button.label.startswith("Submit this")]
    assert not (folder / "submissions").exists()


def test_an_empty_form_lists_every_field_that_is_missing(folder, entry):
    test = show("submit")
    table = (entry / "attributions.parquet").read_bytes()
    widget(test.file_uploader, "attributions").set_value(("attributions.parquet", table, "application/octet-stream"))
    where = test.run().dataframe[0].value["Where"].tolist()
    missing = {"method", "version", "authors", "hardware", "used_test_regions", "trained_on_sources"}
    assert {place.split()[1] for place in where} == missing


def test_the_app_takes_what_the_validator_allows_and_says_so(root):
    config = tomllib.loads((REPOSITORY / ".streamlit/config.toml").read_text())
    assert config["server"]["maxUploadSize"] << 20 == schema.MAX_TABLE_BYTES
    said = f"{schema.MAX_TABLE_BYTES >> 20:,} MB"
    assert said in texts(show("submit")) and said in (REPOSITORY / "submissions/README.md").read_text()


def test_the_form_says_the_same_as_the_card(folder, entry):
    test = show("submit")
    for label, value in {"Method": "Careful Look", "Version": "1.0", "Authors": "A. Author, B. Author"}.items():
        widget(test.text_input, label).set_value(value)
    widget(test.text_input, "Hardware").set_value("pencil")
    widget(test.text_area, "Settings").set_value("layers: 12\nfill: black")
    for question in ("Were expert", "Was anything"):
        widget(test.radio, question).set_value("no")
    table = (entry / "attributions.parquet").read_bytes()
    widget(test.file_uploader, "attributions").set_value(("attributions.parquet", table, "application/octet-stream"))
    test = send(test.run())
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
    assert "medground accept" in texts(test) and "secrets.toml" in texts(test) and not test.button


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
    assert test.dataframe[0].value["split"].tolist() == ["dev", "test"]
    widget(test.button, "Accept").click()
    test = test.run()
    assert "is accepted" in test.success[0].value and "Nothing waits" in texts(test)
    assert (folder / "submissions" / receipt.id / "attributions.parquet").exists()


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
