"""Cases: one verified question at a time, with everything that speaks for and against a map."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import streamlit as st

from leaderboard import address, charts, names, pictures, tables
from leaderboard.tables import ON_BOARD
from leaderboard.text import plain
from medground.geometry import resample
from medground.hub.licences import Kind, source
from medground.scoring import boxes_from_heatmap

GATES = {  # edit: (title, the verdict that passes)
    "original": ("Original", "yes"),
    "region_removed": ("Region removed", "no"),
    "background_removed": ("Background removed", "yes"),
    "background_normal": ("Background normal", "yes"),
}
REASONS = {
    "kept": "Kept: the answer depends on the region, and only on it.",
    "wrong": "Not kept: the model did not find the finding on the original film.",
    "unparsable": "Not kept: the answer on the original film is neither yes nor no.",
    "not flipped": "Not kept: without the region the model still answered yes.",
    "not stayed": "Not kept: a changed background turned the answer.",
    "surplus": "Verified, but not drawn: the benchmark takes a few cases of each model, mode, source and finding.",
}
UNTOLD = (
    "One that every entry explains. What a test answer depends on, and so what the filter made of it, is kept back."
)
ANY = "any"
BIND = "query-params"


def narrow(cases: pd.DataFrame) -> pd.DataFrame:
    """The cases that fit what the reader chose; an address with `?case=` opens wide enough to hold that case."""
    asked = cases[cases.case_id == st.query_params.get("case")]
    address.unknown(case=cases.case_id.tolist(), maps=names.everybody().values())
    with st.expander("Filter cases", icon=":material/filter_list:", expanded=False), st.container(horizontal=True):
        for column in ("split", "model", "mode", "source", "finding"):
            options = [ANY, *sorted(cases[column].unique())]
            value = st.selectbox(column.capitalize(), options, key=f"of_{column}", bind=BIND)
            if value != ANY:
                cases = cases[cases[column] == value]
        options = ["in the benchmark", "not in it", ANY]
        start = 0 if asked.empty or benchmarked(asked).all() else 1
        outcome = st.selectbox("Outcome", options, index=start, key="outcome", bind=BIND)
        if outcome != ANY:
            cases = cases[benchmarked(cases) == (outcome == options[0])]
    return cases


def benchmarked(cases: pd.DataFrame) -> pd.Series:
    """Which cases every entry explains: those that were kept, and those of pairs."""
    return cases.kept.fillna(False).astype(bool) | cases.pair.notna()


def untold(case: pd.Series) -> bool:
    """Whether it is kept back what a case's answer depends on."""
    return bool(tables.untold(pd.DataFrame([case])).all())


def choose(cases: pd.DataFrame) -> pd.Series:
    """One case: picked from the list, stepped to, or named in the address."""
    called = cases.case_id.tolist()

    def step(by: int) -> None:
        st.session_state.case = called[(called.index(st.session_state.case) + by) % len(called)]

    with st.container(horizontal=True, vertical_alignment="bottom", key="case_row"):
        chosen = st.selectbox(f"Case ({len(called):,} fit the filter)", called, key="case", bind=BIND)
        st.button("Previous", icon=":material/chevron_left:", on_click=step, args=(-1,))
        st.button("Next", icon=":material/chevron_right:", on_click=step, args=(1,))
    return cases.iloc[called.index(chosen)]


def explainers(case: pd.Series) -> list[str]:
    """The entries that are on the board of this case's model and mode, best first."""
    return tables.in_order(case.split, f"model={case.model}") or tables.in_order(case.split)


def words(case: pd.Series) -> None:
    """Question and answer, as text."""
    if not tables.may_show(case.source, Kind.TEXT):
        st.info(f"The licence of {plain(case.source)} keeps question and answer back.", icon=":material/lock:")
        return
    first = tables.answers(case)
    first = first[first.edit == "original"]
    with st.container(border=True, gap=None):
        st.caption(plain(f"{case.finding}, split {case.split}. {case.model} was asked ({case['mode']})"))
        st.text(case.question)
        st.caption("and answered")
        st.text(case.answer)
        if len(first):
            margin = first.margin.iloc[0]
            st.caption(f"Margin, log p(Yes) − log p(No): {margin:+.2f} nats" if np.isfinite(margin) else "")
    st.caption(UNTOLD if untold(case) else REASONS.get(case.reason, plain(case.reason)))
    kind = tables.kinds().get(case.case_id)
    if kind is not None and not tables.hidden(case.split) and kind != "finding":
        st.markdown(f"The answer came from **{'no region' if kind == 'no region' else plain('the ' + kind)}**.")
    if pd.notna(case.pair) and not tables.hidden(case.split):
        pairs = tables.pairs()
        for title in tables.pair_titles(pairs[pairs.pair == case.pair], tables.cases().set_index("case_id")):
            address.link("Another model gave the same answer from another cause", "causes", pair=title)


def choose_entries(case: pd.Series) -> list[str]:
    """The entries whose maps are shown; at first those named in the address, or the two that lead."""
    if not benchmarked(pd.DataFrame([case])).all():
        st.caption("Only the cases of the benchmark have maps.")
        return []
    called = names.everybody()
    known = {called[entry]: entry for entry in explainers(case)}
    chosen = st.multiselect("Maps of", list(known), default=list(known)[:2], max_selections=5, key="maps", bind=BIND)
    return [known[name] for name in chosen]


@st.fragment
def maps(case: pd.Series, chosen: list[str]) -> None:
    """The film, then the maps of the chosen entries beside it."""
    if not tables.may_show(case.source, Kind.PIXELS) or not tables.exists(case.film):
        restricted(case)
        return
    shown = region_shown(case)
    with st.container(horizontal=True, vertical_alignment="center"):
        opacity = st.slider("Opacity of the maps", 0, 100, 60, 5, format="%d %%", key="case_opacity", width=260) / 100
        region = st.toggle("Expert region", value=shown, disabled=not shown, key="case_region")
        scored = st.toggle("Scored boxes", value=True, help="The boxes that the map becomes", key="case_boxes")
    if not shown:
        st.info("The expert regions of these cases are kept back.", icon=":material/lock:")
    film, scale = tables.film(case.film)
    regions = list(case.regions) if region and shown else []
    scores = case_scores(case, tuple(chosen))
    with st.container(key="pictures_maps"):
        columns = st.columns(max(3, len(chosen) + 1))
    with columns[0]:
        st.image(pictures.draw(film, scale, regions=regions), width="stretch", alt=f"Radiograph, {case.finding}")
        st.caption("The film" + (", with the expert region in cyan" if regions else ""))
    for column, entry in zip(columns[1:], chosen, strict=False):
        with column:
            explanation(entry, case, film, scale, regions, opacity, scored, scores.get(entry))
    st.caption("Cyan: the expert's region. Amber, dashed: boxes of the entry.")


def region_shown(case: pd.Series) -> bool:
    """Whether the expert's region, and what would give it away, may be shown."""
    return not tables.hidden(case.split) and tables.may_show(case.source, Kind.BOXES)


def explanation(entry, case, film, scale, regions, opacity, scored, score) -> None:
    """One entry's map or boxes over the film, with its row of `records.SCORES` on this case."""
    row, name = tables.attribution(entry, case), names.everybody()[entry]
    if row is None:
        st.image(pictures.draw(film, scale, regions=regions), width="stretch", alt=f"No map of {name}")
        st.caption(f"**{plain(name)}**: no map for this case; it scores 0")
        return
    grid = extent = None
    boxes = row["boxes"] or []
    if row["grid"] is not None:
        grid = np.array(row["grid"], np.float64).reshape(row["grid_height"], row["grid_width"])
        extent = tuple(row["extent"] or (0, 0, case.width, case.height))
        heat = resample(grid, extent, case.height, case.width).astype(np.float32)  # as the scorer sees it
        boxes = boxes_from_heatmap(heat) if scored else []
    picture = pictures.draw(
        film, scale, grid=grid, extent=extent, regions=regions, boxes=boxes if scored else (), opacity=opacity
    )
    said = ""
    if score is not None:
        shown = [name for name in ("follows", "iou", "iou_at_area") if name in score]  # no pairs, no column follows
        known = [(label, score[key]) for key, label in ON_BOARD.items() if key in shown]
        said = "; ".join(f"{label} {value:.3f}" for label, value in known if pd.notna(value))
        said += f"; {score.problem}" if pd.notna(score.problem) else ""
    st.image(picture, width="stretch", alt=f"Map of {name}" + (f": {said}" if said else ""))
    st.caption(f"**{plain(name)}**" + (f": {plain(said)}" if said else ""))


def case_scores(case: pd.Series, entries: tuple[str, ...]) -> dict[str, pd.Series]:
    """The score of each entry on this case; none where that would help to tune to a region that is kept back."""
    if not entries or not region_shown(case):
        return {}
    return {row.entry: row for _, row in tables.scores(entries, [case.case_id]).iterrows()}


def restricted(case: pd.Series) -> None:
    """What to say where the film is not shown."""
    declared = source(case.source)
    st.info(
        f"No film is shown here. Licence: {plain(declared.licence)}. To see it, get {plain(declared.title)} "
        f"({plain(declared.obtain)}), join it with `medground films`, and run this app on your own machine with "
        "`MEDGROUND_PRIVATE=1`. Films that may be shared come with `dvc repro`.",
        icon=":material/hide_image:",
    )


def gates(case: pd.Series) -> None:
    """The four images that a case has to pass, with what the model said to each."""
    st.header("The gates")
    st.markdown("A case is kept when the answer goes with the region, and stays when everything else changes.")
    if not region_shown(case) or not tables.may_show(case.source, Kind.EDITED):
        st.info("The edited films would show where the region is; they are kept back too.", icon=":material/lock:")
        return
    if untold(case):
        st.info("What the model said to the edited films would tell what its answer depends on; it is kept back.",
                icon=":material/lock:")  # fmt: skip
        return
    edits, answers = tables.edits(case), tables.answers(case)
    seed = 0
    if case.seeds > 1:
        seed = st.segmented_control(
            "Edit",
            range(case.seeds),
            default=0,
            format_func=lambda n: f"no. {n + 1}",
            required=True,
            key="edit",
            bind=BIND,
        )
    with st.container(key="pictures_gates"):
        columns = st.columns(4)
    for column, (edit, (title, wanted)) in zip(columns, GATES.items(), strict=True):
        with column:
            gate(case, edit, title, wanted, edits[edits.edit == edit], answers[answers.edit == edit], seed)
    if case.seeds > 1:
        st.caption(
            f"Of {case.seeds} edits of each kind: {case.flipped} flipped, {case.stayed_removed} and "
            f"{case.stayed_normal} stayed, {case.passed} passed all three."
        )


def gate(case, edit, title, wanted, edits, answers, seed) -> None:
    """One gate: picture, verdict, and whether it passes."""
    path = case.film if edit == "original" else next(iter(edits.path[edits.seed == edits.seed.min() + seed]), "")
    if path and tables.exists(path):
        film, scale = tables.film(path, side=420)
        st.image(pictures.draw(film, scale, regions=case.regions), width="stretch", alt=title)
    else:
        st.caption("(the picture is not here)")
    st.markdown(f"**{title}**")
    if edit != "original":
        answers = answers[answers.seed == answers.seed.min() + seed]
    if answers.empty:
        st.caption("not asked")
        return
    verdict = answers.verdict.iloc[0]
    colour, sign = ("green", ":material/check:") if verdict == wanted else ("red", ":material/close:")
    st.badge(f"{verdict}, wanted {wanted}", icon=sign, color=colour)
    st.text(answers.text.iloc[0])


def greatest(row: dict) -> str:
    """The concept whose masking cost the answer most."""
    return max(row["concepts"], key=lambda one: one["effect"])["concept"]


def effects(case: pd.Series, chosen: list[str]) -> None:
    """Concept and token effects of the entries that report them."""
    rows = {entry: tables.attribution(entry, case) for entry in chosen}
    rows = {entry: row for entry, row in rows.items() if row and (row["concepts"] or row["tokens"])}
    if not rows or not tables.may_show(case.source, Kind.TEXT):
        return
    st.header("Concepts and tokens")
    for entry, row in rows.items():
        name = names.everybody()[entry]
        st.markdown(f"**{plain(name)}**")
        left, right = st.columns(2)
        if row["concepts"]:
            with left:
                st.caption("What masking each concept cost the answer")
                charts.effects(row["concepts"], alt=f"Concept effects of {name}; greatest: {greatest(row)}")
        if row["tokens"]:
            with right:
                st.caption("Which words of the answer it carried")
                charts.tokens(row["tokens"], width="content", alt=f"Token effects of {name}")
        if row["note"]:
            with st.expander("What the method says about itself"):
                st.json(json.loads(row["note"]))


st.title("Cases")
cases = tables.cases()
if cases.empty:
    st.info("There are no cases yet. Run `dvc repro` to verify some.", icon=":material/inbox:")
else:
    chosen = narrow(cases)
    if chosen.empty:
        st.info("No case fits this filter. Set one of the choices back to *any*.", icon=":material/filter_alt_off:")
    else:
        case = choose(chosen)
        words(case)
        entries = choose_entries(case)
        maps(case, entries)
        gates(case)
        effects(case, entries)
