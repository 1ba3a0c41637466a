"""Submit: from files to a receipt, with every problem and a preview of the dev score on the way."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import streamlit as st
import yaml

from leaderboard import access, charts, entries, tables
from leaderboard.tables import ON_BOARD
from leaderboard.text import plain
from medground import submission
from medground.errors import MedgroundError
from medground.submission import CARD, TABLE
from medground.submission.preview import NAME
from medground.submission.schema import MAX_TABLE_BYTES

CODE = """from medground.submission import write

maps = {case_id: heat, ...}  # 2-D arrays of any resolution, larger meaning more evidence for the answer
write("my-entry", maps=maps, method="Mine", version="1", authors=["A. Author"], licence="CC-BY-4.0",
      models=[...], modes=[...], hardware="1x A100", used_test_regions=False, trained_on_sources=False)"""


def how() -> None:
    """What an entry is, and the three lines that make one."""
    st.markdown(
        f"An entry is a folder with `{CARD}` (its card) and `{TABLE}` (a map or boxes for each case). "
        "What you send is checked here at once, waits in quarantine, and is ranked when a maintainer has accepted it. "
        "Failed attempts cost nothing."
    )
    with st.expander("How to make one"):
        st.code(CODE, language="python")
        st.markdown(
            "A map covers the whole film unless you say which native `extent` it covers. Boxes are in native pixels, "
            f"the best first. A case that is missing scores 0. `{TABLE}` may have {MAX_TABLE_BYTES >> 20:,} MB; large "
            "files go faster as a pull request that adds the folder under `submissions/`, or with `medground submit`."
        )


def card_by_form(cases: pd.DataFrame) -> bytes:
    """The card as the form says it, in YAML; what was left empty is left out, and then reported as missing."""
    models, modes = (sorted(cases[name].unique()) for name in ("model", "mode"))
    with st.container(border=True):
        left, right = st.columns(2)
        with left:
            card = {"method": st.text_input("Method", max_chars=80), "version": st.text_input("Version", max_chars=80)}
            authors = st.text_input("Authors", placeholder="A. Author, B. Author", max_chars=1000)
            card["authors"] = [name.strip() for name in authors.split(",") if name.strip()]
            card["link"] = st.text_input("Link (optional)", placeholder="https://", max_chars=500)
            card["licence"] = st.text_input("Licence of the maps", "CC-BY-4.0", max_chars=80)
        with right:
            card["models"] = st.multiselect("Models that it explains", models, default=models)
            card["modes"] = st.multiselect("Modes", modes, default=modes)
            card["hardware"] = st.text_input("Hardware", placeholder="1x A100", max_chars=80)
            card["claimed_iou"] = st.number_input("Your own mean IoU (optional)", 0.0, 1.0, None, 0.01, format="%.4f")
            card["settings"] = st.text_area(
                "Settings (optional), one `name: value` a line", height=68, placeholder="layers: 12", max_chars=5000
            )
        for key, question in (
            ("used_test_regions", "Were expert regions of the test split used in any way?"),
            ("trained_on_sources", "Was anything trained on films or labels of the sources?"),
        ):
            said = st.radio(question, ["no", "yes"], index=None, horizontal=True, key=f"submit_{key}")
            card[key] = {"no": False, "yes": True}.get(said)
    lines = [line.partition(":") for line in card["settings"].splitlines() if line.strip()]
    card["settings"] = {name.strip(): value.strip() for name, _, value in lines}
    given = {key: value for key, value in card.items() if value not in (None, "", [], {})}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True).encode()


def files(cases: pd.DataFrame) -> tuple[bytes, bytes | None]:
    """The card and, once it is there, the table."""
    ways = "Fill in a form", "Upload entry.yaml"
    if st.segmented_control("The card", ways, default=ways[0], required=True) == ways[1]:
        sent = st.file_uploader(f"{CARD}", type=["yaml", "yml"], key="submit_card")
        card = sent.getvalue() if sent else b""
    else:
        card = card_by_form(cases)
    limit = f"At most {MAX_TABLE_BYTES >> 20:,} MB; maps on a model's own token grid take a few."
    table = st.file_uploader(f"{TABLE}", type=["parquet"], key="submit_table", help=limit)
    return card, table.getvalue() if table else None


def folder_of(card: bytes, table: bytes, at: str) -> Path:
    """The two files as the folder that the validator looks at."""
    folder = Path(at) / "entry"
    folder.mkdir()
    if card:
        (folder / CARD).write_bytes(card)
    (folder / TABLE).write_bytes(table)
    return folder


@st.cache_data(show_spinner="Checking and scoring", max_entries=16)
def check(digest: str, version: object, _card: bytes, _table: bytes) -> tuple[list[dict], dict | None, list[dict]]:
    """The problems of an entry, its card, and the rows of the dev board with it where it can be scored."""
    cases = tables.kept()
    with tempfile.TemporaryDirectory(prefix="medground-") as at:
        folder = folder_of(_card, _table, at)
        report = submission.validate(folder, cases)
        rows = entries.preview(folder, report, cases, "dev") if report.scorable else []
    return [problem.as_dict() for problem in report.problems], report.card, rows


def problems(found: list[dict]) -> None:
    """Everything that is wrong, with what to do about it."""
    count = "1 problem" if len(found) == 1 else f"{len(found):,} problems"
    st.error(f"{count}. Nothing was sent, and nothing is counted.", icon=":material/error:")
    table = pd.DataFrame(found)[["where", "message", "value", "remedy"]]
    table.columns = ["Where", "What is wrong", "Value", "What to do"]
    st.dataframe(table, hide_index=True, alt="Problems of the entry")


def preview(rows: list[dict]) -> None:
    """What the board would say on dev, beside the leaders and the floors."""
    st.subheader("Preview on the dev cases")
    mine = next(row for row in rows if row["entry"] == NAME)
    with st.container(horizontal=True):
        for key, label in ON_BOARD.items():
            if mine.get(key) is not None:
                st.metric(label, f"{mine[key]:.3f}")
        st.metric("Coverage", f"{mine['coverage']:.0%}", help="Share of the dev cases with a valid map")
    st.altair_chart(charts.whiskers(pd.DataFrame(rows)), alt="Your entry beside the leaders and the floors, on dev")
    st.caption(
        f"{mine['cases']:,} dev cases; a case that you did not explain scores 0. The test score comes with the board."
    )


def send(card: bytes, table: bytes) -> None:
    """The last step: who sends it, and the button."""
    who = access.user()
    if who is None:
        who = st.text_input(
            "Your e-mail",
            help="Only a digest of it is kept, to count entries a day.",
            max_chars=200,
            key="submit_who",
        )
    if st.button("Submit this entry", type="primary", icon=":material/send:", disabled="@" not in who):
        with tempfile.TemporaryDirectory(prefix="medground-") as at:
            try:
                receipt = submission.receive(
                    folder_of(card, table, at), tables.kept(), tables.root() / "submissions", who
                )
            except MedgroundError as error:
                st.error(plain(error), icon=":material/error:")
                return
        st.session_state.receipt = asdict(receipt)
        st.rerun()


def receipt(received: dict) -> None:
    """What a submitter takes home."""
    st.success("Received. Your entry waits for a maintainer.", icon=":material/check_circle:")
    st.markdown("Its permanent id:")
    st.code(received["id"], language=None)
    with st.container(horizontal=True):
        st.download_button(
            "Download the receipt",
            json.dumps(received, indent=1),
            f"{received['id']}.json",
            "application/json",
            icon=":material/download:",
        )
        if st.button("Submit another", icon=":material/add:"):
            del st.session_state.receipt
            st.rerun()


def follow() -> None:
    """What became of an entry."""
    with st.expander("What became of my entry?", icon=":material/receipt_long:"):
        asked = st.text_input("Its id", key="submit_follow").strip()
        if asked:
            known = {entry.id: entry for entry in submission.receipts(tables.root() / "submissions")}
            if asked in known:
                st.text(f"received {known[asked].received}: {known[asked].status} {known[asked].reason}")
            else:
                st.text("There is no entry of this id.")


st.title("Submit")
if "receipt" in st.session_state:
    receipt(st.session_state.receipt)
else:
    how()
    known = tables.cases()
    card, table = files(known[known.kept])
    if table is None:
        st.caption("Choose your files; they are checked as soon as they are here.")
    else:
        digest = hashlib.sha256(hashlib.sha256(card).digest() + hashlib.sha256(table).digest()).hexdigest()
        found, said, rows = check(digest, tables.version_of_cases(), card, table)
        if found:
            problems(found)
        else:
            st.success("No problems.", icon=":material/check_circle:")
            with st.expander("The card, as it will be shown"):
                entries.facts(said)
        if rows:
            preview(rows)
        if not found:
            send(card, table)
follow()
