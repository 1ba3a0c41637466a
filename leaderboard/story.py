"""The first screen: what is asked, who leads, how the board is read, and the proof as a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from leaderboard import charts, names, pictures, tables
from leaderboard.text import plain, share
from medground.hub.licences import Kind

CONTROLS = {  # what an answer came from, as `medground.verification.causes` calls it
    "honest": "from the finding",
    "shortcut": "from a mark",
    "both": "from finding and mark together",
    "either": "from finding or mark, either one",
    "global": "from the whole film's exposure",
}


@dataclass(frozen=True)
class Example:
    """A pair of cases, the entry whose map follows the cause in both, and the one that prints the finding in both."""

    first: str  # the case that is answered from the finding
    second: str
    follows: str
    prints: str


def question() -> None:
    """What this is about, in a few lines."""
    st.title("Does the map show what made the model answer?")
    st.markdown(
        "A vision-language model looks at a chest film and says *Yes, there is an effusion*. A method draws a map of "
        "what made it say so. Is the map true? Each method here explains the same film and the same answer of "
        "**two models that answered from different causes**: one from the finding, one from, say, a drain. A map that "
        "is true moves with the cause. A map that prints the finding does not."
    )


def caution() -> None:
    """What the board cannot say, where its films are phantoms."""
    if all(name.startswith("phantom") for name in tables.settings().sources):
        st.info(
            "**Phantom films, small models.** The causes are known because films and models were made here: every film "
            "comes from one CT, the models have about a million parameters. The board says which methods find a known "
            "cause; how they do on real films and published models it cannot say.",
            icon=":material/science:",
        )


def leader(board: pd.DataFrame) -> None:
    """Who leads among those that follow the model, and how letters and gray are read. ``board`` is one track, with the
    ``name`` of each entry."""
    ranked = board[board.ranked.fillna(False).astype(bool)].sort_values(["rank", "entry"])
    methods = board[board.kind != "floor"]
    if ranked.empty:
        st.markdown(f"None of the {len(methods)} methods does clearly better than what looks at no model.")
    else:
        first, metric = ranked.iloc[0], ranked.order.iloc[0]
        alike = [tie for tie in ranked.tie if set(tie or "") & set(first.tie or "")]
        rests = f"of {first.pairs} pairs" if metric == "follows" else f"over {first.cases} cases"
        leads = [f"**{plain(name)}**" for name in ranked.name[ranked["rank"] == first["rank"]]]
        one = len(leads) == 1
        said = (
            f"{' and '.join(leads)} {'leads' if one else 'lead'} the {len(ranked)} of {len(methods)} methods that "
            f"follow the model: {tables.ON_BOARD[metric].lower()} {first[metric]:.2f} {rests}, 95 % interval "
            f"{first[f'{metric}_low']:.2f} to {first[f'{metric}_high']:.2f}. "
        )
        if others := len(alike) - len(leads):
            said += f"{others} more share {'its' if one else 'their'} letter: these cannot be told apart."
        st.markdown(said)
    st.markdown(
        "**Letters**: methods that share one cannot be told apart. **Gray**: not ranked. Squares are **floors**, which "
        "look at no model, and what does not clear them has shown nothing."
    )


def filtered() -> None:
    """The filter at work: which right answers it keeps, by what they came from."""
    found = tables.by_control()
    if set(found) <= {"honest"}:
        return
    rows = [
        {"name": CONTROLS[control], "group": "kept by the filter", "share": one["kept_of_right"], "low": one["low"],
         "high": one["high"], "count": f"{one['kept']} of {one['right']}"}
        for control, one in found.items()
    ]  # fmt: skip
    others = [one for control, one in found.items() if control != "honest"]
    kept, right = (sum(one[name] for one in others) for name in ("kept", "right"))
    honest = share(found["honest"]["kept"], found["honest"]["right"])
    st.markdown(
        f"**The filter finds causes**: of the right answers it keeps {honest} of those that came from the finding, and "
        f"{kept} of {right} of the others."
    )
    table = pd.DataFrame(rows)
    words = "; ".join(f"{row['name']} {row['count']}" for row in rows)
    charts.shares(table, "Right answers kept", alt=f"Right answers that the filter kept: {words}")


def proof() -> None:
    """One film, one answer, two causes: a map that prints the finding beside one that follows."""
    _proof((names.version(), tables.version_of_cases()))


@st.cache_data(show_spinner="Choosing an example", max_entries=2)
def _proof(version: object) -> None:
    found = example()
    if found is None:
        return
    called, kinds = names.everybody(), tables.kinds()
    cases = tables.cases().set_index("case_id", drop=False)
    with st.container(key="pictures_proof"):
        columns = st.columns(4)
    shown = [(found.prints, found.first), (found.prints, found.second), (found.follows, found.first),
             (found.follows, found.second)]  # fmt: skip
    for column, (entry, case_id) in zip(columns, shown, strict=True):
        case, name = cases.loc[case_id], called[entry]
        cause = f"the {case.finding}" if kinds[case_id] == "finding" else f"the {kinds[case_id]}"
        right = entry == found.follows or case_id == found.first
        with column:
            st.image(
                picture(case, entry),
                width="stretch",
                alt=f"{name} under {case.model}, which answered from {cause}: {'on it' if right else 'not on it'}",
            )
            sign = ":green-badge[:material/check: on the cause]" if right else ":red-badge[:material/close: misses it]"
            model = "one model" if case_id == found.first else "another model"
            st.markdown(f"**{plain(name)}** {sign}")
            st.caption(f"One film, one answer: {model} said “{plain(case.answer)}” because of {plain(cause)} (cyan).")


def example() -> Example | None:
    """The first pair on which the leader follows, and another entry prints the finding under both models; None where
    there is none that may be shown. The other is the one that agrees best with the expert of those that are not ranked.
    """
    rows = tables.board()
    rows = rows[(rows.track == "all") & (rows.split == "test") & (rows.order == "follows")]
    ranked = rows[rows.ranked.fillna(False).astype(bool)].sort_values(["rank", "entry"])
    others = rows[~rows.ranked.fillna(False).astype(bool)].sort_values("iou_at_area", ascending=False)
    known, kinds, pairs = tables.cases().set_index("case_id"), tables.kinds(), tables.pairs()
    if ranked.empty or others.empty or pairs.empty:
        return None
    leads = ranked.entry.iloc[0]
    follows = tables.metric_by_case("follows", (leads, *others.entry), [*pairs["first"], *pairs["second"]])
    for entry in others.entry:
        for pair in pairs.itertuples():
            both = sorted((pair.first, pair.second), key=lambda case: kinds.get(case) != "finding")
            told = follows.reindex(both)[[leads, entry]]
            honest = [kinds.get(case) == "finding" for case in both] == [True, False]
            if honest and (told[leads] == 1).all() and told[entry].tolist() == [1, 0]:
                case = known.loc[both[0]]
                if tables.may_show(case.source, Kind.PIXELS) and tables.exists(case.film):
                    return Example(both[0], both[1], leads, entry)
    return None


def picture(case: pd.Series, entry: str, regions: object = None, side: int = 520, opacity: float = 0.65) -> np.ndarray:
    """An entry's map or boxes over the film of a case; what caused the answer, or other ``regions``, in cyan."""
    film, scale = tables.film(case.film, side=side)
    row = tables.attribution(entry, case) or {}
    grid = extent = None
    if row.get("grid") is not None:
        grid = np.array(row["grid"], np.float64).reshape(row["grid_height"], row["grid_width"])
        extent = tuple(row["extent"] or (0, 0, case.width, case.height))
    return pictures.draw(
        film, scale, grid=grid, extent=extent, boxes=row.get("boxes") or [], opacity=opacity,
        regions=list(case.cause if regions is None else regions),  # type: ignore[call-overload]
    )  # fmt: skip
