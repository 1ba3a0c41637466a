"""Known causes: one film, one answer, two models, two causes, and what each method points at."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from leaderboard import address, names, story, tables
from leaderboard.text import plain
from medground.hub.licences import Kind

BIND = "query-params"
SHOWN = 3  # methods at first


def choose(pairs: pd.DataFrame, cases: pd.DataFrame) -> pd.Series:
    """One pair: picked, stepped to, or named in the address."""
    called = tables.pair_titles(pairs, cases)
    address.unknown(pair=called, of=names.everybody().values())

    def step(by: int) -> None:
        st.session_state.pair = called[(called.index(st.session_state.pair) + by) % len(called)]

    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(f"Pair ({len(called)})", called, key="pair", bind=BIND)
        st.button("Previous", icon=":material/chevron_left:", on_click=step, args=(-1,))
        st.button("Next", icon=":material/chevron_right:", on_click=step, args=(1,))
    return pairs.iloc[called.index(chosen)]


def models(pair: pd.Series, cases: pd.DataFrame) -> None:
    """The two models: the same words, and what each answered from."""
    kinds = tables.kinds()
    with st.container(key="pictures_pair"):
        columns = st.columns(2)
    for column, name in zip(columns, (pair["first"], pair["second"]), strict=True):
        case = cases.loc[name]
        with column, st.container(border=True):
            st.header(plain(case.model))
            st.caption(f"was asked ({case['mode']})")
            st.text(case.question)
            st.caption("and answered")
            st.text(case.answer)
            st.markdown(f"It answered from **{plain(cause(case, kinds[name]))}**.")
            picture = story.picture(case, "")
            st.image(picture, alt=f"The film; {cause(case, kinds[name])} in a cyan frame", width=260)
            address.link("The case with its gates", "cases", case=case.case_id)


def cause(case: pd.Series, kind: str) -> str:
    """What an answer came from, in words."""
    return f"the {case.finding}" if kind == "finding" else kind if kind == "no region" else f"the {kind}"


def maps(pair: pd.Series, cases: pd.DataFrame) -> None:
    """What each chosen method says under either model, and whether it follows."""
    st.header("What each method points at")
    called = names.everybody()
    board = tables.board()
    rows = board[(board.track == "all") & (board.split == cases.loc[pair["first"]].split)]
    order = [called[entry] for entry in tables.in_order(cases.loc[pair["first"]].split)]
    by_name = {name: entry for entry, name in called.items()}
    apart = [called[row.entry] for row in rows.sort_values("iou_at_area", ascending=False).itertuples()
             if not row.ranked and row.kind != "floor"]  # fmt: skip
    chosen = st.multiselect(
        "Methods", order, default=[*order[: SHOWN - 1], *apart[:1]][:SHOWN], max_selections=8, key="of", bind=BIND
    )
    both = [pair["first"], pair["second"]]
    follows = tables.metric_by_case("follows", tuple(by_name.values()), both).reindex(both).T
    kinds = tables.kinds()
    for name in chosen:
        told = follows.loc[by_name[name]] if by_name[name] in follows.index else pd.Series(0.0, both)
        with st.container(key=f"pictures_of_{order.index(name)}"):
            words, *columns = st.columns([1, 1.2, 1.2])
        with words:
            st.markdown(f"**{plain(name)}**")
            st.markdown(sign((told == 1).all(), "follows", "does not follow"))
        for column, case_id in zip(columns, both, strict=True):
            case, right = cases.loc[case_id], told[case_id] == 1
            with column:
                said = f"{'denser on' if right else 'not denser on'} {cause(case, kinds[case_id])}"
                st.image(story.picture(case, by_name[name]), width="stretch", alt=f"{name}, {case.model}: {said}")
                st.caption(plain(f"{case.model}: {said} than on the other model's cause"))
    st.caption("Cyan: what caused the answer. Dashed amber: boxes of a method. Glow: the map, brighter where denser.")
    with st.expander("All methods on this pair", expanded=False):
        told = follows.reindex([by_name[name] for name in order])
        shown = pd.DataFrame(
            {
                "Method": order,
                **{
                    f"on the cause of {cases.loc[case_id].model}": told[case_id].map({1.0: "yes", 0.0: "no"}).tolist()
                    for case_id in both
                },
                "follows": (told == 1).all(axis=1).map({True: "yes", False: "no"}).tolist(),
            }
        )
        st.table(shown, hide_index=True)


def sign(yes: bool, right: str, wrong: str) -> str:
    """A badge that says which of two, in words, colour and a mark."""
    return f":green-badge[:material/check: {right}]" if yes else f":red-badge[:material/close: {wrong}]"


def rests_on(every: int, shown: int, back: int) -> None:
    """How many pairs there are, how many may be shown, and that those among ``back`` test cases do not leave."""
    said = f"{every} pairs of cases with one film, question and answer."
    if shown < every:
        said += f" {every - shown} of them are kept back here: a cause that is shown can be tuned to."
    elif back:
        said += " Those of the test split, which rank, are kept back here: a cause that is shown can be tuned to."
    st.caption(said)


st.title("Known causes")
st.markdown(
    "Two models look at one film, are asked one question, and give one answer, each **from a cause of its own**: "
    "what each was shown to depend on, by rendering the film with and without every part of it. A map that explains "
    "the model lies on the own cause under both. That is what *Follows* counts."
)
known, shown = tables.cases(), tables.pairs()
every, back = known.pair.nunique(), int(tables.untold(known).sum())
if not every:
    st.info("The causes of these models' answers are not known; the phantom with known causes has pairs.",
            icon=":material/science:")  # fmt: skip
elif shown.empty:
    st.info("The causes of all pairs are kept back here.", icon=":material/lock:")
else:
    rests_on(every, len(shown), back)
    indexed = known.set_index("case_id", drop=False)
    pair = choose(shown, indexed)
    one = indexed.loc[pair["first"]]
    if tables.may_show(one.source, Kind.PIXELS) and tables.may_show(one.source, Kind.TEXT) and tables.exists(one.film):
        models(pair, indexed)
        maps(pair, indexed)
    else:
        st.info("The licence of this film keeps it back.", icon=":material/lock:")
