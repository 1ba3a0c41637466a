"""Maintain: review what was sent, accept or reject it, make the board again, publish it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from importlib.util import find_spec

import pandas as pd
import streamlit as st

from leaderboard import access, entries, names, story, tables
from leaderboard.problems import grouped, heading
from leaderboard.tables import ON_BOARD
from leaderboard.text import plain
from medground import submission
from medground.errors import MedgroundError
from medground.hub.data import WITHHELD
from medground.hub.licences import Kind
from medground.submission.preview import NAME

OFF = (
    "No sign-in is configured, so nothing can be decided here. Submissions wait in quarantine, where they harm nobody, "
    "until a maintainer decides on the command line:"
)
COMMANDS = """medground entries                        # what waits
medground accept ID
medground reject ID --reason "..."
dvc repro                                # scores what was accepted, and ranks"""
REGISTER = "To decide here, register this app with any OpenID Connect provider and write `.streamlit/secrets.toml`:"
SECRETS = """[auth]
redirect_uri = "https://YOUR.HOST/oauth2callback"
cookie_secret = "a long random string"
client_id = "..."
client_secret = "..."
server_metadata_url = "https://YOUR.PROVIDER/.well-known/openid-configuration"

[maintain]
emails = ["you@example.org"]"""
REPOSITORY_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


SPLITS = ("test", "dev")
LOOKED_AT = 4  # cases whose maps a maintainer sees


def submissions():
    """The folder of all entries."""
    return tables.root() / "submissions"


def review(waiting: list[submission.Receipt]) -> None:
    """One entry after the other: card, check, place among the others, maps, decision."""
    st.header(f"In quarantine ({len(waiting)})")
    if not waiting:
        st.info("Nothing waits for a decision.", icon=":material/inbox:")
        return
    for receipt in waiting:
        with st.container(border=True):
            st.markdown(f"**{plain(receipt.id)}**")
            address_ = access.address_of(receipt.id)
            who = address_ or "an address that was not kept"
            st.caption(plain(f"received {receipt.received} from {who}"))
            if address_:
                st.link_button("Write to the author", f"mailto:{address_}?subject={receipt.id}", icon=":material/mail:")
            same = twins(receipt.id)
            if same:
                st.warning(plain(f"The same maps as {', '.join(same)}."), icon=":material/content_copy:")
            report, rows = inspect(receipt.id, receipt.sha256, (tables.version_of_cases(), tables.version_of_board()))
            if report.card:
                entries.facts(report.card)
            for group in grouped(report.problems, report.missing, tables.kept()):
                st.error(plain(f"{heading(group)}. Accepting it would stop the pipeline."), icon=":material/error:")
            for split, of_split in rows.items():
                standing(split, of_split)
            if rows and st.toggle("Look at its maps", key=f"maps_{receipt.id}"):
                look(receipt.id)
            decide(receipt.id, not report.valid)


@st.cache_data(show_spinner="Checking and scoring", max_entries=32)
def inspect(entry: str, digest: str, version: object) -> tuple[submission.Report, dict[str, list[dict]]]:
    """The report on an entry, and the rows of the board with it among all others, by split."""
    folder, cases = submission.place(entry, submissions()), tables.kept()
    report = submission.validate(folder, cases)
    rows = {}
    for split in SPLITS if report.scorable else ():
        told = [case for case in cases if case["split"] == split and case["control"] != WITHHELD]
        if any(len(case["regions"]) for case in told):
            rows[split] = entries.preview(folder, report, cases, split, most=None)
    return report, rows


def standing(split: str, rows: list[dict]) -> None:
    """Where an entry would stand among the others of a split."""
    table = entries.named(rows)
    mine = table[table.entry == NAME].iloc[0]
    metric, ranked = mine.order, table["rank"].notna().sum()
    place = f"rank {mine['rank']:.0f} of {ranked}, ties {mine.tie}" if pd.notna(mine["rank"]) else (
        f"not ranked: {mine.reason}")  # fmt: skip
    st.markdown(f"On **{split}**: {plain(place)}; {ON_BOARD[metric].lower()} {mine[metric]:.3f}; coverage "
                f"{mine.coverage:.0%} of {mine.cases} cases.")  # fmt: skip
    with st.expander(f"Among the others, on {split}"):
        shown = table[["rank", "name", "kind", metric, f"{metric}_low", f"{metric}_high", "iou_at_area", "over_floor"]]
        shown.columns = ["Rank", "Entry", "Kind", ON_BOARD[metric], "from", "to", "IoU at equal area", "Over the floor"]
        st.dataframe(
            shown, hide_index=True, height="content", placeholder="–", alt=f"The board of {split} with the entry",
            column_config=dict.fromkeys(shown.columns[3:], THREE),
        )  # fmt: skip


def look(entry: str) -> None:
    """Some of an entry's maps beside those of the one that leads, the expert's region in cyan."""
    known = tables.cases()
    known = known[known.kept.fillna(False).astype(bool) & known.film.map(tables.exists)]
    known = known[known.source.map(lambda source: tables.may_show(source, Kind.PIXELS)).astype(bool)]
    some = known.iloc[:: max(1, len(known) // LOOKED_AT)].head(LOOKED_AT)
    leads = next(iter(tables.in_order("test")), None)
    called = names.everybody()
    for of in (entry, leads):
        if of is None:
            continue
        st.caption(plain(called.get(of, of)))
        with st.container(key=f"pictures_{entry}_{of}"):
            columns = st.columns(LOOKED_AT)
        for column, (_, case) in zip(columns, some.iterrows(), strict=False):
            with column:
                st.image(story.picture(case, of, case.regions), width="stretch", alt=f"{of} on {case.case_id}")
                st.caption(plain(case.case_id))


def twins(entry: str) -> list[str]:
    """Other entries, wherever they stand, whose table of maps has the same bytes; all were written here."""
    digests = {
        path.parent.name: _digest(*tables.stamped(path))
        for where in ("", "_quarantine/", "_rejected/")
        for path in submissions().glob(f"{where}[a-z0-9]*/{submission.TABLE}")
    }
    return sorted(name for name, digest in digests.items() if name != entry and digest == digests.get(entry))


@st.cache_data(show_spinner=False, max_entries=1024)
def _digest(path: str, stamp: object) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def pipeline() -> list[str] | None:
    """The command that scores and ranks again on this machine, None where there is none: DVC beside the repository;
    else the two stages by themselves, where all that they read is here."""
    root = tables.root()
    if (root / "dvc.yaml").is_file() and find_spec("dvc"):
        return [sys.executable, "-m", "dvc", "repro", "export"]
    stages = (root / "stages/score.py").is_file() and tables.exists("data/sanity/sanity.json")
    kept_back = tables.settings().publish.hide_test_regions or tables.untold(tables.cases()).any()
    if stages and not kept_back:
        return [sys.executable, "-c", "import stages.score, stages.rank; stages.score.main(); stages.rank.main()"]
    return None


def publisher() -> list[str] | None:
    """The command that publishes, None where the folder for the Hub or what sends it is not here."""
    known = all(find_spec(name) for name in ("huggingface_hub", "httpx2"))
    here = known and (tables.root() / "data/hub").is_dir() and (tables.root() / "dvc.yaml").is_file()
    return [sys.executable, "-c", "from medground.cli import main; main()", "publish"] if here else None


def remake() -> None:
    """Score and rank again, then publish: what of it this machine can do."""
    st.header("The board")
    again, publish = pipeline(), publisher()
    if again is None:
        st.markdown("It cannot be made again here: run `dvc repro` where the pipeline's repository is.")
    else:
        st.markdown("Scores what was accepted, and ranks. The board stays up meanwhile, as it was.")
        if st.button("Score and rank again", icon=":material/refresh:"):
            run("dvc repro export" if "dvc" in again else "score and rank", again)
    if publish is None:
        return
    st.header("Publish")
    repository = st.text_input("Dataset on the Hub", placeholder="ORG/NAME", key="publish_repository").strip()
    known = bool(REPOSITORY_NAME.fullmatch(repository))
    command = [*publish, "--repo", repository]
    with st.container(horizontal=True):
        if st.button("Show what would change", icon=":material/difference:", disabled=not known):
            run("medground publish --dry-run", [*command, "--dry-run"])
        if st.button("Publish", icon=":material/cloud_upload:", disabled=not known):
            run("medground publish", [*command, "--yes"])


def run(name: str, command: list[str]) -> None:
    """Run a command in the repository and show what it says, as text; of one that fails it stays in view."""
    with st.status(f"`{name}` is running", expanded=True) as status:
        place, said = st.empty(), []
        with subprocess.Popen(
            command, cwd=tables.root(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                said = [*said, line.rstrip()][-30:]
                place.code("\n".join(said), language=None)
        failed = process.returncode != 0
    status.update(  # after the block, which folds the box
        label=f"`{name}` {'failed' if failed else 'is done'}", state="error" if failed else "complete", expanded=True
    )


def past(decided: list[submission.Receipt]) -> None:
    """What was decided before."""
    if decided:
        with st.expander(f"Decided before ({len(decided)})"):
            table = pd.DataFrame([vars(receipt) for receipt in decided])[["id", "received", "status", "reason"]]
            st.dataframe(table, hide_index=True, alt="Entries that were decided")


THREE = st.column_config.NumberColumn(format="%.3f")

st.title("Maintain")
if not access.configured():
    for words, code in ((OFF, COMMANDS), (REGISTER, SECRETS)):
        st.markdown(words)
        st.code(code, language=None, wrap_lines=True)
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
