"""Write a page of results, its chart and the README's summary from the tables: no number there is typed by hand.

python scripts/results.py

After `make demo` this is docs/results.md; after the profile `study`, docs/study.md and what the README says came out.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pandas as pd

from medground import charts, params, ranking, records, scoring
from medground.cases import localised
from medground.errors import MedgroundError, friendly
from medground.phantom.causes.settings import MODELS, TAUGHT, TOWERS
from medground.ranking.bootstrap import share_interval
from medground.scoring.tables import load_cases
from medground.submission.preview import resampling

CONTROLS = {
    "honest": "the finding",
    "shortcut": "a mark alone",
    "both": "finding and mark together",
    "either": "finding or mark, each enough",
    "global": "the exposure of the whole film",
}
START, END = "<!-- results: written by scripts/results.py -->", "<!-- end of results -->"
README, PICTURES = Path("README.md"), Path("docs/pictures")
#: By profile: the page, its title and how its tables are made.
PAGES = {
    "phantom": (Path("docs/results.md"), "Results of the demo", "`make demo`"),
    "study": (Path("docs/study.md"), "Results of the study", "`medground profile study` and `dvc repro`"),
}


@friendly
def main() -> None:
    """Write the page of the profile that params.yaml holds, and for the study the README's summary."""
    profile = params.load().profile
    if profile not in PAGES:
        raise MedgroundError(f"params.yaml is the profile {profile!r}; pages are written of {', '.join(PAGES)}")
    page, title, made_by = PAGES[profile]
    picture = PICTURES / f"{page.stem}.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(chart())
    parts = [models(), causal_proof(), by_cause(), board(), by_tower(), by_teaching(), lead("iou"), lead("iou_at_area")]
    head = f"# {title}\n\nWritten from the tables by `scripts/results.py`, after {made_by}. {size()}"
    page.write_text("\n\n".join([head, *(part for part in parts if part)]) + "\n")
    print(page, picture)
    if profile == "study":
        before, rest = README.read_text().split(START)
        _, after = rest.split(END)
        README.write_text(before + START + "\n" + summary(picture) + "\n" + END + after)
        print(README)


def size() -> str:
    """How much stands behind the numbers, in a sentence."""
    cases = _cases()
    asked = records.iter_rows(Path("data/cases/cases.parquet"), records.CASES, ("source", "patient_id"))
    patients = len({tuple(row.values()) for row in asked})
    paired = len({case["pair"] for case in cases if case["pair"]})
    models = params.load().models
    return (
        f"{patients} virtual patients, {len(models)} models, both modes; {len(cases):,} cases that every method "
        f"explains, {2 * paired:,} of them in {paired:,} pairs."
    )


@cache
def _cases() -> list[dict]:
    return load_cases(Path("data"))


def _on_test() -> list[dict]:
    """The rows of the overall track of the test split."""
    rows = records.read_rows("data/board/board.parquet", records.BOARD)
    return [row for row in rows if (row["track"], row["split"]) == ("all", "test")]


def summary(picture: Path) -> str:
    """What came out, in a few lines and one chart."""
    found = json.loads(Path("data/cases/filter.json").read_text())["by_control"]
    honest, others = found["honest"], {name: one for name, one in found.items() if name != "honest"}
    wrongly, of = (sum(one["outside"][name] for one in others.values()) for name in ("kept", "right"))
    rows = {row["entry"]: row for row in _on_test()}
    ranked = sorted((row for row in rows.values() if row["ranked"]), key=lambda row: row["rank"])
    apart = [row for row in rows.values() if not row["ranked"] and row["kind"] != "floor"]
    floors = [row for row in rows.values() if row["kind"] == "floor"]
    first = next(iter(rows.values()))
    lines = [
        f"- **The filter keeps {honest['kept_of_right']:.0%}** of the right answers that came from the finding "
        f"[{honest['low']:.0%}, {honest['high']:.0%}], and {wrongly} of {of} that came from something "
        "outside the expert's region.",
        f"- **{len(ranked)} of {len(ranked) + len(apart)} methods follow the model**, on {first['pairs']} pairs of "
        "cases with one film, question and answer, and two causes (test patients; chart). "
        + (f"{_first(ranked)} first: {_with_interval(ranked[0], 'follows')}." if ranked else ""),
    ]
    if "prompting" in rows:
        lines.append(
            f"- **Asking the model where it looked** does not tell: `prompting` follows in "
            f"{_with_interval(rows['prompting'], 'follows')} of the pairs."
        )
        taught, others = _by_teaching(["prompting"])["prompting"].values()
        lines[-1] += (
            f" On findings whose place it was taught it has an IoU at equal area of {taught}, on others {others}."
        )
    if floors:
        best = max(floors, key=lambda row: row["iou_at_area"] or 0)
        order = max(rows.values(), key=lambda row: row["iou_at_area"] or 0)
        lines.append(
            f"- **What looks at nothing agrees with the expert, too**: at equal area `{best['entry']}` has an "
            f"IoU of {_with_interval(best, 'iou_at_area')}; the highest is `{order['entry']}`'s, "
            f"{_with_interval(order, 'iou_at_area')}."
        )
    shown = f"![Which methods follow the model: share of pairs, with intervals]({picture.as_posix()})"
    return f"{size()}\n\n" + "\n".join(lines) + f"\n\n{shown}\n\n{filter_in_short()}\n\n{kinds_in_short()}\n"


def filter_in_short() -> str:
    """The filter's error rates, a row a kind of cause."""
    found = json.loads(Path("data/cases/filter.json").read_text())["by_control"]
    rows = [
        {
            "answered from": CONTROLS[control],
            "right answers": str(one["right"]),
            "did not flip / did not stay": _rejected(one["rejected"]),
            "the filter keeps": f"{one['kept_of_right']:.0%} [{one['low']:.0%}, {one['high']:.0%}]",
            "where the region does not hold the cause": _outside(control, one),
        }
        for control, one in found.items()
    ]
    return table(rows)


def _rejected(at: dict[str, int]) -> str:
    """How many right answers were rejected because they did not flip, and how many because they did not stay."""
    flip = at["region removed"]
    return f"{flip} / {sum(at.values()) - flip}"


def _outside(control: str, one: dict) -> str:
    """What is kept of answers whose cause lies outside the expert's region; of honest ones that is no error."""
    outside = one["outside"]
    if control == "honest" or not outside["right"]:
        return ""
    return f"{outside['kept']} of {outside['right']} [{outside['low']:.0%}, {outside['high']:.0%}]"


def kinds_in_short() -> str:
    """Which methods follow the model, by kind of cause: the methods, and the best floor."""
    rows, kinds = _shares()
    floors = [row for row in rows if row["kind"] == "floor"]
    best = max(floors, key=lambda row: row["follows"], default=None)
    shown = [
        {
            "method": f"`{row['entry']}`" + ("" if row["ranked"] else " (not ranked)"),
            "follows": f"{row['follows']:.2f}",
            **{kind: f"{row['by'][kind]:.2f}" for kind in kinds},
        }
        for row in rows
        if row["kind"] != "floor" or row is best
    ]
    return table(shown) + "\n\n*Both splits; share of pairs, and of cases by what caused the answer.*"


def chart() -> str:
    """An SVG of `follows` for every entry, the first on top."""
    rows = [
        (
            row["entry"] + ("" if row["ranked"] else " (not ranked)"),
            row["follows"],
            row["follows_low"],
            row["follows_high"],
        )
        for row in _on_test()
        if row["follows"] is not None
    ]
    rows.sort(key=lambda row: (-row[1], row[0]))
    return charts.intervals(
        rows, "Share of pairs in which a map lies on the own cause under both models", "test patients"
    )


def models() -> str:
    """What each model of known causes has learnt, on unseen patients."""
    rows = []
    for key in sorted(Path("models").glob("*.causes.json")):
        model = key.name.removesuffix(".causes.json")
        report = json.loads(Path("models", f"{model}.accuracy.json").read_text())
        about = json.loads(Path("models", model, "medground.json").read_text())
        for mode in ("direct", "reasoning"):
            said = report[mode]
            rows.append(
                {
                    "model": f"`{model}`",
                    "tower": f"`{about['tower']['name']}`",
                    "mode": mode,
                    "balanced accuracy, honest answers": f"{said['mean_of_honest']:.3f}",
                    "against its own rule": f"{said['mean_as_taught']:.3f}",
                    "yes where nothing is": f"{said['yes_when_absent']:.1%}",
                }
            )
    chosen = ", ".join(f"`{model}`" for model in params.load().models)
    return (
        "## The models on unseen patients\n\n" + table(rows) + "\n\n*`models/*.accuracy.json`. Honest answers are "
        "those about findings that a model was taught to answer from the finding; its own rule is what it was taught "
        f"about each finding, marks included. The tables below are of {chosen}.*"
    )


def causal_proof() -> str:
    """What the filter kept of the right answers of each kind of cause, and at which gate it rejected the others."""
    found = json.loads(Path("data/cases/filter.json").read_text())["by_control"]
    rows = []
    for control, one in found.items():
        counts = {name: str(one[name]) for name in ("asked", "right", "flipped", "stayed", "kept")}
        share = f"{one['kept_of_right']:.1%} [{one['low']:.1%}, {one['high']:.1%}]"
        verified = f"{one['verified']} of {one['known']}" if one["known"] else "not known"
        rejected = {f"rejected: {gate}": str(count) for gate, count in one["rejected"].items()}
        rows.append(
            {"cause": control}
            | counts
            | {"of the right": share}
            | {"cause outside": _outside(control, one)}
            | rejected
            | {"cause verified": verified}
        )
    return (
        "## The causal proof\n\nWhat the filter does to right answers, by what they were shown to depend on. It "
        "should keep the honest ones, and no other.\n\n"
        + table(rows)
        + "\n\n*`by_control` of `data/cases/filter.json`; intervals over patients. flipped: no when the finding is "
        "edited out; stayed: flipped, and yes on both edits of the outside. A right answer is rejected at the "
        "first gate that it fails. The filter proves that the expert's region causes the answer, not that the finding "
        "does; cause outside: kept of the answers whose verified cause does not lie in it for its greater part.*"
    )


def _shares() -> tuple[list[dict], dict[str, int]]:
    """The board's rows over both splits, each with ``by``: its share of cases of pairs by what caused the answer; and
    how many cases there are of each kind."""
    cases = [case for case in _cases() if case.get("other") is not None]
    parts = {
        (sample["source"], sample["index"]): sample["parts"] or []
        for path in sorted(Path("data").glob("samples/*/samples.parquet"))
        for sample in records.read_rows(path, records.SAMPLES)
    }
    kinds = {
        case["case_id"]: "finding"
        if case["control"] == "honest"
        else next((p["name"] for p in parts[case["source"], case["index"]] if p["boxes"] == case["cause"]), "mark")
        for case in cases
    }
    scores = records.read_table("data/scores/scores.parquet", records.SCORES).to_pandas()
    scores = scores[(scores.protocol == "medground") & scores.case_id.isin(kinds)]
    means = scores.assign(kind=scores.case_id.map(kinds)).pivot_table(index="entry", columns="kind", values="follows")
    rows = [
        row | {"by": means.loc[row["entry"]].to_dict()}
        for row in records.read_rows("data/board/board.parquet", records.BOARD)
        if (row["track"], row["split"]) == ("all", "all") and row["entry"] in means.index
    ]
    return rows, dict(sorted(pd.Series(kinds, dtype=object).value_counts().items()))


def by_cause() -> str:
    """Which methods follow the model, by kind of cause: shares of the cases of pairs, both splits."""
    board, kinds = _shares()
    rows = [
        {
            "entry": f"`{row['entry']}`" + ("" if row["ranked"] else " (not ranked)"),
            "follows, both of a pair": _with_interval(row, "follows"),
            **{f"{kind} ({count})": f"{row['by'][kind]:.2f}" for kind, count in kinds.items()},
        }
        for row in board
    ]
    return (
        "## Which methods follow the model\n\n"
        + table(rows)
        + "\n\n*Share of pairs, and of cases by what caused the answer (their number in brackets), in which a map is "
        "denser on the own cause than on the other model's.*"
    )


def by_tower() -> str:
    """Agreement with the expert on honest test cases by vision tower, and where a tower was told of films only."""
    rows = _on_test()
    towers = {model: MODELS[model].tower for model in params.load().models}
    groups = {
        f"`{tower}`": [c for c in _honest() if towers[c["model"]] == tower] for tower in dict.fromkeys(towers.values())
    }
    unmasked = {tower: TOWERS[tower].unmasked for tower in dict.fromkeys(towers.values())}
    told = ""
    if blind := [c for c in _honest() if c["finding"] in unmasked[towers[c["model"]]]]:
        groups["told of films only"] = blind
        of = "; ".join(f"`{tower}`: {', '.join(findings)}" for tower, findings in unmasked.items() if findings)
        told = (
            f" Told of films only: findings of which a tower was told whether a film has them, and never where; {of}."
        )
    found = _agreement([row["entry"] for row in rows], groups)
    return (
        "## Where methods fall apart: by vision tower\n\n"
        + table([{"entry": f"`{entry}`"} | cells for entry, cells in found.items()])
        + f"\n\n*IoU at equal area on verified honest test cases (their number in brackets).{told}*"
    )


def by_teaching() -> str:
    """Agreement with the expert on honest test cases, by whether a reader taught the model where the finding is."""
    found = _by_teaching([row["entry"] for row in _on_test()])
    rows = [{"entry": f"`{entry}`"} | cells for entry, cells in found.items()]
    return (
        "## Findings whose place the models were taught, and others\n\n"
        + table(rows)
        + f"\n\n*IoU at equal area on verified honest test cases. Taught by a second reader: {', '.join(TAUGHT)}; of "
        "the others the models were told yes and no alone.*"
    )


def _by_teaching(entries: list[str]) -> dict[str, dict[str, str]]:
    """Mean IoU at equal area with its interval over patients, by entry and by whether the finding was taught."""
    groups = {"taught": [case for case in _honest() if case["finding"] in TAUGHT]}
    return _agreement(entries, groups | {"not taught": [case for case in _honest() if case["finding"] not in TAUGHT]})


def _honest() -> list[dict]:
    """The verified honest test cases."""
    return [case for case in _cases() if case["split"] == "test" and localised(case)]


def _agreement(entries: list[str], groups: dict[str, list[dict]]) -> dict[str, dict[str, str]]:
    """Mean IoU at equal area with its interval over patients, by entry and by group of cases."""
    scores = records.read_table("data/scores/scores.parquet", records.SCORES).to_pandas()
    scores = scores[scores.protocol == "medground"].set_index(["entry", "case_id"])["iou_at_area"]
    how = resampling(Path("data/board/board.parquet"))
    found: dict[str, dict[str, str]] = {entry: {} for entry in entries}
    for name, some in groups.items():
        if not some:
            continue
        patients = [case["patient_id"] for case in some]
        for entry in entries:
            values = scores.loc[entry].loc[[case["case_id"] for case in some]].to_numpy(float)
            low, high = share_interval(values, patients, **how)
            found[entry][f"{name} ({len(some)})"] = f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"
    return found


def board() -> str:
    """The overall track of the test split: the ranked entries, and then those that are listed apart."""
    rows = _on_test()
    on_board = [
        one for one in scoring.METRICS.that_need("pair", "cause", "regions") if rows[0].get(one.name) is not None
    ]
    shown = [
        {
            "rank": f"{r['rank']} ({r['rank_low']}-{r['rank_high']})" if r["ranked"] else "not ranked",
            "entry": f"`{r['entry']}`" + (" (floor)" if r["kind"] == "floor" else ""),
            **{one.arrow: _with_interval(r, one.name) for one in on_board},
            "over the best floor": "" if r["over_floor"] is None else f"{r['over_floor']:+.3f}",
            "ties": r["tie"] or "",
            "IoU, paper's scorer": "" if r["iou_published"] is None else f"{r['iou_published']:.3f}",
            "sanity": r["sanity"] or "",
        }
        for r in sorted(rows, key=lambda r: (not r["ranked"], r["rank"] or 0, -r[r["order"]], r["entry"]))
    ]
    first = rows[0]
    return (
        f"## The board\n\n{first['cases']} verified cases and {first['pairs']} pairs of test patients, all models, "
        "both modes and both sources.\n\n"
        + table(shown)
        + f"\n\n*`medground board --split test`. Ordered by {scoring.METRICS[first['order']].label.lower()}; rank with "
        "its 95 % interval; 95 % intervals of a bootstrap over patients; entries that share a letter cannot be told "
        "apart (paired bootstrap, Holm-corrected). Not ranked: floors, and entries whose interval reaches that of the "
        "best floor.*"
    )


def _first(ranked: list[dict]) -> str:
    """Who is first, or are, where several are alike."""
    names = [f"`{row['entry']}`" for row in ranked if row["rank"] == ranked[0]["rank"]]
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"


def _with_interval(row: dict, name: str) -> str:
    if row[name] is None:
        return ""
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def lead(metric: str, entry: str = "medfocus") -> str:
    """How far MedFocus is ahead of every other entry on test cases in a metric, over all and by source."""
    results = ranking.Results.of(records.read_table("data/scores/scores.parquet", records.SCORES), _cases())
    how = resampling(Path("data/board/board.parquet"))
    tracks = ["all", *(f"source={source}" for source in params.load().sources)]
    leads = {
        t: {row["entry"]: row for row in ranking.lead(results, entry, t, "test", metric=metric, **how)} for t in tracks
    }
    shown = []
    for other in leads["all"]:
        cells = [
            f"{r['difference']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]" for r in (leads[t][other] for t in tracks)
        ]
        shown.append(
            {f"`{entry}` less": f"`{other}`"} | dict(zip(["all", *(t[7:] for t in tracks[1:])], cells, strict=True))
        )
    return (
        f"## MedFocus against the others: {scoring.METRICS[metric].label}\n\n"
        + table(shown)
        + f"\n\n*`medground compare {entry} --split test --metric {metric}`. Paired differences of the mean with 95 % "
        "intervals of the bootstrap over patients, each pair by itself.*"
    )


def table(rows: list[dict[str, str]]) -> str:
    """Rows of equal keys as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0])] + [list(row.values()) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
