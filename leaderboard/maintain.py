"""Maintain: review what was sent, accept or reject it, make the board again, publish it."""

from __future__ import annotations

import re
import subprocess
import sys

import pandas as pd
import streamlit as st

from leaderboard import access, entries, tables
from leaderboard.tables import ON_BOARD
from leaderboard.text import plain
from medground import submission
from medground.errors import MedgroundError
from medground.submission.preview import NAME

OFF = """
No sign-in is configured, so nothing can be decided here. Submissions wait in quarantine, where they harm nobody,
until a maintainer decides on the command line:

```
medground entries                        # what waits
medground accept ID
medground reject ID --reason "..."
dvc repro                                # scores what was accepted, and ranks
```

To decide here, register this app with any OpenID Connect provider and write `.streamlit/secrets.toml`:

```toml
[auth]
redirect_uri = "https://YOUR.HOST/oauth2callback"
cookie_secret = "a long random string"
client_id = "..."
client_secret = "..."
server_metadata_url = "https://YOUR.PROVIDER/.well-known/openid-configuration"

[maintain]
emails = ["you@example.org"]
```
"""
REPOSITORY_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def submissions():
    """The folder of all entries."""
    return tables.root() / "submissions"


def review(waiting: list[submission.Receipt]) -> None:
    """One entry after the other: card, check, scores, decision."""
    st.subheader("In quarantine")
    if not waiting:
        st.info("Nothing waits for a decision.", icon=":material/inbox:")
        return
    for receipt in waiting:
        with st.container(border=True):
            st.markdown(f"**{plain(receipt.id)}**")
            st.caption(f"received {plain(receipt.received)}, submitter {plain(receipt.submitter)}")
            found, card, rows = inspect(receipt.id, receipt.sha256, tables.version_of_cases())
            if card:
                entries.facts(card)
            if found:
                st.error(f"{len(found)} problems; accepting it would stop the pipeline.", icon=":material/error:")
                st.dataframe(pd.DataFrame(found), hide_index=True, alt="Problems of the entry")
            if rows:
                known = [name for name in ON_BOARD if any(row.get(name) is not None for row in rows)]
                shown = pd.DataFrame(rows)[["split", "cases", "pairs", "coverage", *known]].rename(columns=ON_BOARD)
                st.dataframe(shown, hide_index=True, column_config=dict.fromkeys(ON_BOARD.values(), THREE))
            decide(receipt.id, bool(found))


@st.cache_data(show_spinner="Checking and scoring", max_entries=32)
def inspect(entry: str, digest: str, version: object) -> tuple[list[dict], dict | None, list[dict]]:
    """The problems of an entry, its card, and its row of the board on dev and test."""
    folder, cases = submission.place(entry, submissions()), tables.kept()
    report = submission.validate(folder, cases)
    rows = []
    for split in ("dev", "test") if report.scorable else ():
        rows += [row for row in entries.preview(folder, report, cases, split) if row["entry"] == NAME]
    return [problem.as_dict() for problem in report.problems], report.card, rows


def decide(entry: str, broken: bool) -> None:
    """Accept, or reject with a reason."""
    reason = st.text_input("Reason, if you reject it", key=f"reason_{entry}", max_chars=500)
    with st.container(horizontal=True):
        accept = st.button("Accept", key=f"accept_{entry}", icon=":material/check:", disabled=broken)
        reject = st.button("Reject", key=f"reject_{entry}", icon=":material/close:")
    try:
        if accept:
            submission.accept(entry, submissions())
            st.session_state.done = f"{entry} is accepted; make the board again to rank it."
        elif reject:
            submission.reject(entry, submissions(), reason)
            st.session_state.done = f"{entry} is rejected."
    except MedgroundError as error:
        st.error(plain(error), icon=":material/error:")
        return
    if accept or reject:
        st.rerun()


def remake() -> None:
    """Score and rank again, then publish."""
    st.subheader("The board")
    st.markdown("Scores what changed and only that, ranks, and exports the dataset folder.")
    if st.button("Score and rank again", icon=":material/refresh:"):
        run("dvc repro export", [sys.executable, "-m", "dvc", "repro", "export"])
    st.subheader("Publish")
    repository = st.text_input("Dataset on the Hub", placeholder="ORG/NAME", key="publish_repository").strip()
    known = bool(REPOSITORY_NAME.fullmatch(repository))
    command = [sys.executable, "-c", "from medground.cli import main; main()", "publish", "--repo", repository]
    with st.container(horizontal=True):
        if st.button("Show what would change", icon=":material/difference:", disabled=not known):
            run("medground publish --dry-run", [*command, "--dry-run"])
        if st.button("Publish", icon=":material/cloud_upload:", disabled=not known):
            run("medground publish", [*command, "--yes"])


def run(name: str, command: list[str]) -> None:
    """Run a command in the repository and show what it says, as text."""
    with st.status(f"`{name}` is running", expanded=True) as status:
        place, said = st.empty(), []
        with subprocess.Popen(
            command, cwd=tables.root(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout:
                said = [*said, line.rstrip()][-30:]
                place.code("\n".join(said), language=None)
        failed = process.returncode != 0
        status.update(label=f"`{name}` {'failed' if failed else 'is done'}", state="error" if failed else "complete")


def past(decided: list[submission.Receipt]) -> None:
    """What was decided before."""
    if decided:
        with st.expander(f"Decided before ({len(decided)})"):
            table = pd.DataFrame([vars(receipt) for receipt in decided])[["id", "received", "status", "reason"]]
            st.dataframe(table, hide_index=True, alt="Entries that were decided")


THREE = st.column_config.NumberColumn(format="%.3f")

st.title("Maintain")
if not access.configured():
    st.markdown(OFF)
elif access.user() is None:
    st.markdown("Maintainers decide here what goes on the board.")
    st.button("Sign in", icon=":material/login:", on_click=st.login, type="primary")
elif access.maintainer() is None:
    st.warning("You are signed in, but not as one of the maintainers.", icon=":material/block:")
    st.button("Sign out", icon=":material/logout:", on_click=st.logout)
else:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"Signed in as {plain(access.maintainer())}")
        st.button("Sign out", icon=":material/logout:", on_click=st.logout)
    if "done" in st.session_state:
        st.success(plain(st.session_state.pop("done")), icon=":material/check_circle:")
    known = submission.receipts(submissions())
    review([receipt for receipt in known if receipt.status == "quarantined"])
    past([receipt for receipt in known if receipt.status != "quarantined"])
    remake()
