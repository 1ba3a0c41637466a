"""Submit: from files to a receipt, with every problem and a preview of the dev score on the way."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st
import yaml

from leaderboard import access, address, charts, entries, tables
from leaderboard.problems import grouped, heading
from leaderboard.tables import ON_BOARD
from leaderboard.text import plain
from leaderboard.uploads import MOST_MB
from medground import submission
from medground.errors import MedgroundError
from medground.submission import CARD, FIELDS, TABLE
from medground.submission.preview import NAME
from medground.submission.schema import MAX_TABLE_BYTES

QUESTIONS = {
    "used_test_regions": "Were expert regions of the test split used in any way?",
    "trained_on_sources": "Was anything trained on films or labels of the sources?",
}
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
        st.code(CODE, language=None, wrap_lines=True)
        st.markdown(
            "A map covers the whole film unless you say which native `extent` it covers. Boxes are in native pixels, "
            f"the best first. A case that is missing scores 0. `{TABLE}` may have {MAX_TABLE_BYTES >> 20:,} MB, "
            f"through this page {MOST_MB:,}; a larger one comes as a pull request that adds the folder under "
            "`submissions/`, which `medground submit` prepares."
        )


def form(cases: pd.DataFrame) -> bool:
    """The one form: card, table, who sends them. True when it was handed in; then `st.session_state` has it all."""
    ways = "Fill in a form", "Upload entry.yaml"
    way = st.segmented_control("The card", ways, default=ways[0], required=True, key="submit_way")
    with st.form("submit_form"):
        if way == ways[1]:
            st.file_uploader(CARD, type=["yaml", "yml"], key="submit_card", max_upload_size=1)
        else:
            card_fields(cases)
        st.file_uploader(
            TABLE, type=["parquet"], key="submit_table", max_upload_size=MOST_MB,
            help=f"At most {MOST_MB:,} MB here; maps on a model's own token grid take a few. A status code 503 "
            "says that others are sending: try again in some minutes.",
        )  # fmt: skip
        if not access.configured():
            st.text_input(
                "Your e-mail", key="submit_who", max_chars=200, autocomplete="email",
                help="Kept for the maintainers alone, so that they can write to you. It counts the entries of a day.",
            )  # fmt: skip
        return st.form_submit_button("Check and preview", type="primary", icon=":material/fact_check:")


def card_fields(cases: pd.DataFrame) -> None:
    """The fields of the card."""
    models, modes = (sorted(cases[name].unique()) for name in ("model", "mode"))
    left, right = st.columns(2)
    with left:
        st.text_input("Method", max_chars=80, key="card_method")
        st.text_input("Version", max_chars=80, key="card_version")
        st.text_input("Authors", placeholder="A. Author, B. Author", max_chars=1000, key="card_authors")
        st.text_input("Link to code or paper (optional)", placeholder="https://", max_chars=500, key="card_link")
        st.text_input("Licence of the maps", "CC-BY-4.0", max_chars=80, key="card_licence")
    with right:
        st.multiselect("Models that it explains", models, default=models, key="card_models")
        st.multiselect("Modes", modes, default=modes, key="card_modes")
        st.text_input("Hardware", placeholder="1x A100", max_chars=80, key="card_hardware")
        st.number_input("Your own mean IoU (optional)", 0.0, 1.0, None, 0.01, format="%.4f", key="card_claimed_iou")
        st.text_area(
            "Settings (optional), one `name: value` a line", height=68, placeholder="layers: 12", max_chars=5000,
            key="card_settings",
        )  # fmt: skip
    for key, question in QUESTIONS.items():
        st.radio(question, ["no", "yes"], index=None, horizontal=True, key=f"card_{key}")


def card_of_form() -> bytes:
    """The card as the form says it, in YAML; what was left empty is left out, and then reported as missing."""
    said = {key: st.session_state.get(f"card_{key}") for key in FIELDS}
    said["authors"] = [name.strip() for name in (said["authors"] or "").split(",") if name.strip()]
    lines = [line.partition(":") for line in (said["settings"] or "").splitlines() if line.strip()]
    said["settings"] = {name.strip(): value.strip() for name, _, value in lines}
    said |= {key: {"no": False, "yes": True}.get(said[key]) for key in QUESTIONS}
    given = {key: value for key, value in said.items() if value not in (None, "", [], {})}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True).encode()


def handed_in() -> tuple[bytes, bytes] | None:
    """The card and the table that were handed in, None where there is no table."""
    table = st.session_state.get("submit_table")
    if table is None:
        return None
    if st.session_state.submit_way == "Upload entry.yaml":
        sent = st.session_state.get("submit_card")
        return (sent.getvalue() if sent else b""), table.getvalue()
    return card_of_form(), table.getvalue()


def folder_of(card: bytes, table: bytes, at: str) -> Path:
    """The two files as the folder that the validator looks at."""
    folder = Path(at) / "entry"
    folder.mkdir()
    if card:
        (folder / CARD).write_bytes(card)
    (folder / TABLE).write_bytes(table)
    return folder


@st.cache_data(show_spinner="Checking and scoring", max_entries=16)
def check(digest: str, version: object, _card: bytes, _table: bytes) -> tuple[submission.Report, list[dict], str]:
    """The report on an entry, the rows of the dev board with it where it can be scored, and the digest of what was
    looked at: once for each table, whatever is then done with it."""
    cases = tables.kept()
    with tempfile.TemporaryDirectory(prefix="medground-") as at:
        folder = folder_of(_card, _table, at)
        report = submission.validate(folder, cases)
        rows = entries.preview(folder, report, cases, "dev") if report.scorable else []
        return report, rows, submission.digest(folder) if report.valid else ""


def problems(report: submission.Report) -> None:
    """Everything that is wrong, by kind and counted, with what to do about it."""
    found = grouped(report.problems, report.missing, tables.kept())
    count = sum(group.count for group in found)
    said = "1 problem" if count == 1 else f"{count:,} problems of {len(found)} kinds" if len(found) > 1 else (
        f"{count:,} problems of one kind")  # fmt: skip
    st.error(f"{said}. Nothing was sent, and nothing is counted.", icon=":material/error:")
    for group in found:
        with st.container(border=True):
            st.markdown(f"**{plain(heading(group))}**")
            st.text(group.remedy)
            if group.count > 1:
                with st.expander(f"Where ({len(group.listed)} of {group.count:,})"):
                    st.text("\n".join(f"{where}{f': {value}' if value else ''}" for where, value in group.listed))


def preview(rows: list[dict]) -> None:
    """What the board would say on dev, beside the leaders and the floors."""
    st.header("Preview on the dev cases")
    mine = next(row for row in rows if row["entry"] == NAME)
    with st.container(horizontal=True):
        for key, label in ON_BOARD.items():
            if mine.get(key) is not None:
                st.metric(label, f"{mine[key]:.3f}")
        st.metric("Coverage", f"{mine['coverage']:.0%}", help="Share of the dev cases with a valid map")
    table = entries.named(rows)
    metric = table.order.iloc[0]
    charts.whiskers(
        table,
        metric,
        ON_BOARD[metric],
        alt=f"Your entry beside the leaders and the floors, on dev: {ON_BOARD[metric]} {mine[metric]:.3f}",
    )
    st.caption(
        f"{mine['cases']:,} dev cases; a case that you did not explain scores 0. The test score comes with the board."
    )


def send(card: bytes, table: bytes, report: submission.Report, digest: str, who: str) -> None:
    """The last step: the button."""
    if not access.is_address(who):
        st.warning("Give an e-mail address in the form, and check again: a maintainer may have to write to you.",
                   icon=":material/mail:")  # fmt: skip
        return
    if st.button("Submit this entry", type="primary", icon=":material/send:"):
        with tempfile.TemporaryDirectory(prefix="medground-") as at:
            try:
                received = submission.receive(
                    folder_of(card, table, at), tables.kept(), tables.root() / "submissions", access.pseudonym(who),
                    reports={digest: report},
                )  # fmt: skip
            except MedgroundError as error:
                st.error(plain(error), icon=":material/error:")
                return
        access.keep_address(received.id, who)
        st.session_state.pop("checked", None)
        st.query_params["receipt"] = received.id
        st.rerun()


def receipt(entry: str) -> None:
    """What became of an entry: what a submitter takes home, at an address that can be kept."""
    known = {one.id: one for one in submission.receipts(tables.root() / "submissions")}
    if entry not in known:
        st.warning(f"There is no entry {plain(entry)} here.", icon=":material/link_off:")
    else:
        one = known[entry]
        said = {
            "quarantined": "Received. The entry waits for a maintainer.",
            "accepted": "Accepted. It is on the board once that is made again.",
            "rejected": f"Rejected: {one.reason}",
        }[one.status]
        show = st.error if one.status == "rejected" else st.success
        show(plain(said), icon=":material/check_circle:" if one.status != "rejected" else ":material/block:")
        st.markdown("Its permanent id:")
        st.code(one.id, language=None)
        st.caption(f"Received {plain(one.received)}. The address of this page is the receipt: it stays.")
        told = {name: getattr(one, name) for name in ("id", "received", "status", "reason", "sha256")}
        st.download_button(
            "Download the receipt", json.dumps(told, indent=1), f"{one.id}.json", "application/json",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
    if st.button("Submit another", icon=":material/add:"):
        st.query_params.clear()
        st.rerun()


def follow() -> None:
    """The way to the receipt of an entry."""
    with st.expander("What became of my entry?", icon=":material/receipt_long:"):
        asked = st.text_input("Its id", key="submit_follow").strip()
        if asked:
            st.query_params["receipt"] = asked
            st.rerun()


def author() -> None:
    """The whole way of an entry."""
    how()
    who = access.user()
    if access.configured() and who is None:
        st.info("Sign in to submit: it tells the maintainers whom to write to.", icon=":material/login:")
        st.button("Sign in", icon=":material/login:", on_click=st.login, type="primary")
        return
    if who is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Signed in as {plain(who)}")
            st.button("Sign out", icon=":material/logout:", on_click=st.logout)
    known = tables.cases()
    if form(known[known.kept.fillna(False).astype(bool) | known.pair.notna()]):
        given = handed_in()
        st.session_state.checked = given and (*given, who or st.session_state.get("submit_who", ""))
        if given is None:
            st.error(f"Choose {TABLE}, too.", icon=":material/error:")
    if not st.session_state.get("checked"):
        return
    card, table, sender = st.session_state.checked
    name = hashlib.sha256(hashlib.sha256(card).digest() + hashlib.sha256(table).digest()).hexdigest()
    report, rows, digest = check(name, tables.version_of_cases(), card, table)
    if report.valid:
        st.success("No problems.", icon=":material/check_circle:")
        with st.expander("The card, as it will be shown"):
            entries.facts(report.card or {})
    else:
        problems(report)
    if rows:
        preview(rows)
    if report.valid:
        send(card, table, report, digest, sender)


st.title("Submit")
if st.query_params.get("receipt"):
    receipt(st.query_params["receipt"])
else:
    author()
    follow()
if access.configured() and access.maintainer() is None:
    address.link("For maintainers", "maintain")
