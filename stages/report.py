"""A few test cases with all methods side by side, to look at: data/report/index.html and a picture a case."""

from __future__ import annotations

import io
from html import escape
from pathlib import Path

from medground import engine, files, params, records
from medground.attribution import Attribution
from medground.attribution.sheet import sheet
from medground.images import read_film

OUT = Path("data/report")
STYLE = "body{background:#101214;color:#ececec;font:16px/1.5 system-ui,sans-serif;margin:2rem}img{max-width:100%}"


@engine.stage
def main() -> None:
    p = params.load()
    cases = records.read_rows("data/cases/cases.parquet", records.CASES)
    chosen = one_a_finding([case for case in cases if case["kept"] and case["split"] == "test"], p)
    samples = {
        (source, row["index"]): row
        for source in p.sources
        for row in records.read_rows(f"data/samples/{source}/samples.parquet", records.SAMPLES)
    }
    said = {(model, name): attributions(model, name) for model in p.models for name in p.methods}
    iou = {
        (row["entry"], row["case_id"]): row["iou"]
        for row in records.read_rows("data/scores/scores.parquet", records.SCORES)
        if row["protocol"] == "medground"
    }
    page = [f"<!doctype html><html lang='en'><meta charset='utf-8'><title>All methods</title><style>{STYLE}</style>"]
    page.append("<h1>All methods side by side</h1><p>Test cases that the filter kept. Green: the expert's region.</p>")
    for case in chosen:
        name, sample = case["case_id"], samples[case["source"], case["index"]]
        found = [(method, said[case["model"], method][name], iou[method, name]) for method in p.methods]
        title = f'{case["finding"]}  ·  {name}  ·  "{case["answer"].strip()}"'
        picture = OUT / f"{name.replace('/', '_')}.png"
        content = io.BytesIO()
        sheet(read_film(sample["film"]), sample["regions"], title, found).save(content, "png")
        files.write(content.getvalue(), picture)
        page.append(f"<p><img src='{picture.name}' alt='{escape(title, quote=True)}'></p>")
    files.write("\n".join(page) + "</html>\n", OUT / "index.html")
    print(f"{len(chosen)} cases, {len(p.methods)} methods: {OUT}/index.html")


def one_a_finding(cases: list[dict], p) -> list[dict]:
    """One case of each finding, going round the models, modes and sources so that each is seen."""
    chosen = []
    for number, finding in enumerate(sorted({case["finding"] for case in cases})):
        turns = {"model": p.models, "mode": p.modes, "source": p.sources}
        wanted = {name: values[number // k % len(values)] for k, (name, values) in enumerate(turns.items(), 1)}
        some = [case for case in cases if case["finding"] == finding]
        unlike = [sum(case[name] != value for name, value in wanted.items()) for case in some]
        chosen.append(some[unlike.index(min(unlike))])
    return chosen


def attributions(model: str, method: str) -> dict[str, Attribution]:
    """What a method said about the cases of a model, by case."""
    path = Path("data/attributions") / model / f"{method}.parquet"
    return {row["case_id"]: Attribution.of_row(row) for row in records.read_rows(path, records.ATTRIBUTIONS)}


if __name__ == "__main__":
    main()
