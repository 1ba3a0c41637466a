"""The dataset card, the licences and the Croissant file: all from the shards that the folder holds, none by hand.

The card is written after the shards and reads nothing else, so it cannot tell what they keep back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from .. import records
from ..scoring import METRICS
from ..scoring.boxes import MAX_BOXES, MIN_AREA, QUANTILE
from ..scoring.score import SIDE
from ..verification.causes import GIVE_AWAY, KEPT_BACK
from . import croissant, licences, links, tables
from .facts import Facts, share
from .licences import Kind

NAME = "MedGround"
MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


GATED = {  # for datasets with sources that do not let everything leave
    "extra_gated_prompt": (
        "These cases measure how well heat maps show what caused a model's answer. They are for research. By asking "
        "for access you agree not to use them for diagnosis or care, not to try to identify patients, and to keep to "
        "the licence of each source (LICENSE.md)."
    ),
    "extra_gated_fields": {
        "Affiliation": "text",
        "Intended use": "text",
        "I will keep to the licence of each source": "checkbox",
    },
}
PAPER = "https://arxiv.org/abs/2605.20158"


def write(folder: Path, made_by: dict, *, hidden: bool) -> None:
    """Write ``README.md``, ``LICENSE.md`` and ``croissant.json`` beside the shards of ``folder``.

    ``made_by`` is the metadata of the table of cases; ``hidden`` says that the test regions stay back.
    """
    facts = Facts(folder, made_by, hidden)
    (folder / "LICENSE.md").write_text(_licence_file(facts))
    text = "\n\n".join(section(facts) for section in SECTIONS)
    (folder / "README.md").write_text(f"---\n{_yaml(metadata(facts))}---\n\n{text}\n")
    (folder / "croissant.json").write_text(json.dumps(croissant.describe(facts, _limits(facts)), indent=1) + "\n")


def metadata(facts: Facts) -> dict:
    """The card's YAML as a dict: what the Hub and `datasets` read."""
    terms = {licences.source(name).licence for name in facts.sources}
    mit = terms == {"MIT"}
    return {
        "pretty_name": f"{NAME} (phantom)" if facts.phantom else NAME,
        "license": "mit" if mit else "other",
        **({} if mit else {"license_name": "by-source", "license_link": "LICENSE.md"}),
        "language": ["en"],
        "task_categories": ["visual-question-answering"],
        "annotations_creators": ["machine-generated" if facts.phantom else "expert-generated"],
        "size_categories": [_size_category(len(facts.questions))],
        "tags": [
            "medground",
            "medical",
            "radiology",
            "chest-x-ray",
            "explainability",
            "visual-attribution",
            "causality",
        ],
        **(GATED if facts.restricted else {}),
        "configs": [
            {
                "config_name": config,
                "data_files": [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in splits],
                **({"default": True} if config == "direct" else {}),
            }
            for config, splits in facts.shards.items()
        ],
        "dataset_info": [_dataset_info(config, splits) for config, splits in facts.shards.items()],
    }


def _dataset_info(config: str, splits: dict[str, list[Path]]) -> dict:
    sizes = [
        {
            "name": split,
            "num_bytes": sum(_unpacked_bytes(shard) for shard in shards),
            "num_examples": sum(pq.read_metadata(shard).num_rows for shard in shards),
        }
        for split, shards in splits.items()
    ]
    return {
        "config_name": config,
        "features": tables.card_features(config),
        "splits": sizes,
        "download_size": sum(shard.stat().st_size for shards in splits.values() for shard in shards),
        "dataset_size": sum(size["num_bytes"] for size in sizes),
    }


def _title(facts: Facts) -> str:
    total = facts.total
    models = sorted({row["model"] for row in facts.retention})
    where = "".join(f"\n\n{told}" for told in (links.addresses(facts.links), links.badge(facts.links)) if told)
    return f"""# {NAME}: chest X-ray questions whose cause is known

Does the heat map that explains a model's answer show what caused it? Each case here is a yes/no question about a chest
radiograph that a vision-language model answered rightly, and for which it was shown, by editing the film, that the
expert's region is what made it say so. A method that explains this answer should point at that region.{where}

{len(models)} models were asked {total["asked"]:,} questions about {len(facts.sources)} sources in
{len({row["mode"] for row in facts.retention})} modes; {total["right"]:,} answers were right and **{total["kept"]:,}
passed the filter** ({share(total["kept"], total["right"])} of the right ones). {_drawn(facts)}To measure a model of
your own, ask it the questions of the config `questions`; to measure a method, explain the cases of `direct` and
`reasoning`."""


def _drawn(facts: Facts) -> str:
    """What part of the verified cases the benchmark has, where it has not all."""
    cases, verified = len(facts.benchmark), facts.total["kept"]
    pairs = len({row["pair"] for row in facts.benchmark if row["pair"]})
    if cases == verified and not pairs:
        return ""
    most = facts.made_by.get("settings", {}).get("verify", {}).get("max_per_group")
    bound = f", at most {most} of each model, mode, source and finding" if most else ""
    if pairs:
        return (
            f"The benchmark has **{cases:,} cases**: what was drawn from these by chance{bound}, and pairs, two "
            f"models that say the same of one film from different causes ({pairs:,} of them on dev). "
        )
    return f"From these, the **{cases:,} cases** of the benchmark were drawn by chance{bound}. "


def _use(facts: Facts) -> str:
    rows = [
        {
            "config": f"`{config}`",
            "holds": tables.ABOUT[config],
            "split": split,
            "rows": f"{sum(pq.read_metadata(shard).num_rows for shard in shards):,}",
            "size": _bytes(sum(shard.stat().st_size for shard in shards)),
        }
        for config, splits in facts.shards.items()
        for split, shards in splits.items()
    ]
    films = (
        f"""

The films of {_list(facts.restricted)} are not here (see *What stays back*). With your own licensed copy,
`medground films --source {facts.restricted[0]} --data-root FOLDER` finds them, checks their hashes, and says which are
missing."""
        if facts.restricted
        else ""
    )
    light, whole = (links.requirement(extras, facts.links) for extras in ("hub", "run,hub"))
    return f"""## Use

```python
from datasets import load_dataset

cases = load_dataset("ORG/NAME", "direct", split="dev")  # question, answer, regions, the model and its revision
films = load_dataset("ORG/NAME", "films", split="dev")  # join on (source, film)
```

{_table(rows)}

Coordinates are pixels of the film in its native size; boxes are half-open `[x1, y1, x2, y2)`, origin top left. dev and
test share no patient. `direct.json` and `reasoning.json` hold the cases that passed the filter in the format of the
paper's released files. The commands of `medground` take the name of this dataset (`pip install {light}`, and
for models `{whole}`):

```bash
medground evaluate MODEL --data ORG/NAME   # your model: accuracy, and how much of it is for the right reason
medground validate my-entry --data ORG/NAME   # your method: what is wrong with its maps, if anything
medground score my-entry --data ORG/NAME   # what the board will say of it on dev
medground submit my-entry --data ORG/NAME --hub ORG/NAME   # opens the pull request
```

`medground.submission.write` writes an entry from a dict of arrays.{films}"""


def _columns(facts: Facts) -> str:
    """What every column holds; a config with the columns of another one is told with it."""
    told: dict[tuple, list[str]] = {}
    for config in facts.shards:
        told.setdefault(tables.CONFIGS[config], []).append(f"`{config}`")
    parts = [
        f"### {', '.join(configs)}\n\n"
        + _table([{"column": f"`{one.name}`", "type": _type(one.type), "": one.help} for one in columns])
        for columns, configs in told.items()
    ]
    return "## Columns\n\n" + "\n\n".join(parts)


def _type(type: pa.DataType) -> str:
    """A type as a reader of the card knows it."""
    if type == tables.IMAGE:
        return "picture"
    if type == records.BOX:
        return "box"
    if pa.types.is_list(type):
        return f"list of {_type(type.value_type)}"
    return {"string": "text", "double": "number", "float": "number", "bool": "yes or no"}.get(str(type), "whole number")


def _models_board(facts: Facts) -> str:
    """The board of models."""
    rows = []
    for row in sorted(facts.results, key=lambda row: (row["split"], row["mode"], -(row["grounded"] or 0))):
        if row["finding"] is None:
            names = {"accuracy": "accuracy", "specificity": "right where absent", "grounded": "grounded"}
            rows.append(
                {
                    "model": f"`{row['model']}`", "mode": row["mode"], "split": row["split"], "asked": row["asked"],
                    **{head: _share(row, name) for name, head in names.items()},
                }
            )  # fmt: skip
    return f"""## Models

*Grounded accuracy* is the share of questions about findings on the film that a model answers rightly and for the
finding: its answer flips without it, and stays without all the rest. That is a lower bound of how often it is right for
the right reason: an answer that rests on region and background together is not counted. Means with 95 % intervals over
patients; `medground evaluate` adds yours.

{_table(rows)}"""


def _share(row: dict, name: str) -> str:
    """A share with its interval."""
    if row[name] is None:
        return "-"
    return f"{row[name]:.3f} ({row[name + '_low']:.3f}-{row[name + '_high']:.3f})"


def _filter(facts: Facts) -> str:
    settings = facts.made_by.get("settings", {}).get("verify", {})
    seeds = (
        f"Edits of each kind per film: {settings['seeds']}; a case is kept when at least {settings['agreement']} of "
        "them passed every gate. "
        if settings
        else ""
    )
    named = [row for row in facts.counts("model", "finding") if row["finding"]]
    return f"""## What was asked, kept and dropped

A case is kept when the model is *right* on the original film, its answer *flips* when the finding is edited out of the
expert's region, and *stays* when everything outside the region is edited, once with the finding's own prompt and once
towards a normal film (the three-step filter of Xiong et al., 2026). {seeds}Counts are of cases; a
column counts what also passed the ones before it.

{_table(facts.counts("model", "mode", "source"))}

By finding{", where the source lets its name leave" if facts.restricted else ""}, both modes and all sources together\
{"; of models that were taught other causes, their dev cases alone" if facts.taught else ""}:

{_table(named)}"""


def _proof(facts: Facts) -> str:
    kinds = {row["control"]: row for row in facts.counts("control") if row["control"]}
    others = [row for name, row in kinds.items() if name != "honest"]
    if not others or "honest" not in kinds:
        return """## The causal proof

No model with other causes than the finding is in these tables, so they do not show by themselves what the filter
rejects; the phantom profile does."""
    kept = [
        f"**{row['kept of right']}** of the {name} ones ({row['kept']:,} of {row['right']:,})"
        for name, row in (("honest", kinds["honest"]), *((row["control"], row) for row in others))
    ]
    split = " of dev" if facts.taught else ""
    table = [row for row in facts.counts("control", "model", "mode") if row["control"]]
    return f"""## The causal proof

The phantom's models have known causes. *Honest* answers come from the finding; the others were taught to come from a
mark on the film, alone or together with the finding. All can be right, but only the first should pass the filter. Of
the right answers{split} it kept {", ".join(kept[:-1])} and {kept[-1]}.

{_table(table)}"""


def _baselines(facts: Facts) -> str:
    parts = []
    for split, rows in facts.board.items():
        ranked = [row for row in rows if row["track"] == "all"]
        parts.append(f"{split}, all models, modes, sources and findings together:\n\n" + _table(_ranked(ranked)))
    return (
        "## Baselines\n\nMeans with their 95 % intervals by bootstrap over patients; entries that share a letter "
        "cannot be told apart. Ranked are entries that follow the model that they explain; the others are listed "
        "apart.\n\n"
        + "".join(f"- *{one.arrow}*: {one.help}.\n" for one in METRICS.values() if one.needs != "model")
        + "\n"
        + "\n\n".join(parts)
    )


def _ranked(rows: Iterable[dict]) -> list[dict]:
    """The track as its order has it: the ranked entries, and then those that are listed apart."""
    shown = []
    for row in sorted(rows, key=lambda row: (not row["ranked"], row["rank"] or 0, row["entry"])):
        rank = "" if not row["ranked"] else row["rank"] if row["rank_low"] == row["rank_high"] else None
        numbers = {
            metric.arrow: f"{row[metric.name]:.3f} ({row[metric.name + '_low']:.3f}-{row[metric.name + '_high']:.3f})"
            for metric in METRICS.values()
            if row.get(metric.name) is not None and row.get(f"{metric.name}_low") is not None
        }
        shown.append(
            {
                "rank": f"{row['rank_low']}-{row['rank_high']}" if rank is None else rank,
                "entry": row["entry"],
                "kind": row["kind"],
                "cases": row["cases"],
                **numbers,
                "tie": row["tie"] or "",
                "not ranked": row["reason"] or "",
            }
        )
    heads = list(dict.fromkeys(name for row in shown for name in row))
    return [{name: row.get(name, "") for name in heads} for row in shown]


def _protocols(facts: Facts) -> str:
    return f"""## Protocols

A film is scored on a canvas whose longer side is {SIDE} pixels, whatever its own size. A map is resampled to it
bilinearly, pixel centres at half pixels; one of more than twice as many cells is averaged over blocks first. It
becomes boxes: pixels at or above the {QUANTILE:g} quantile of those above its minimum, joined in 8-connected components
of at least {MIN_AREA} pixels of the canvas, the tight boxes of the {MAX_BOXES} with the highest mean heat. Under
`medground`, which ranks, boxes are half-open and compared as they are, the canvas has no padding, and a case that is
missing, or whose map is constant or not finite, scores the worst value. `published` is the paper's scorer, bit for bit,
on the canvas with its padding, so that published numbers can be compared (`iou_published`). `medground score` gives the
numbers of the board to the last digit."""


def _limits(facts: Facts) -> str:
    phantom = (
        """
- The phantom's films are deformations of **one** CT, and the vision towers of its models were trained with the
  findings' boxes: its scores say which methods find a known cause, not how well they do on patients.
- Its edits are exact, because the healthy twin of each patient is known; edits of real films are not."""
        if facts.phantom
        else ""
    )
    real = (
        """
- Edits of real films come from a generative model and can leave traces; the two gates outside the region are there to
  catch answers that follow those."""
        if any(not name.startswith("phantom") for name in facts.sources)
        else ""
    )
    return f"""## Limits and intended use

For research on explanations of vision-language models: to compare attribution methods on answers whose cause is known.
**Not for diagnosis, and not a test of how good a model is at reading films**: only right answers were kept.

- A kept case shows that the region was needed and was enough under these edits; it does not show that every pixel of
  the box mattered. Boxes are coarse, so even a perfect map does not score 1.
- All questions are about findings that are present; nothing is said about why a model answers no.
- Kept cases are not a random sample: easy findings and models that look at the film are over-represented.\
{phantom}{real}"""


def _stays(facts: Facts) -> str:
    rows = [
        {"source": f"`{name}`"}
        | {kind.value: "yes" if licences.may_leave(name, kind) else "no" for kind in (Kind.KEY, Kind.VERDICT, Kind.HASH,
            Kind.TEXT, Kind.BOXES, Kind.PIXELS)}
        for name in facts.sources
    ]  # fmt: skip
    hidden = (
        "\n\nThe regions of the test split are kept back, so that no method can be tuned to them; the board has them."
        if facts.hidden
        else ""
    )
    restricted = (
        "\n\nWhere a source does not allow it, questions, findings, boxes and films are empty, what a model wrote is "
        "reduced to yes or no, and counts are not split by finding. Key and sha256 of the provider's "
        "file tell which film is meant."
        if facts.restricted
        else ""
    )
    told = [f"`{name}`" for name in GIVE_AWAY if name in {column.name for column in tables.CONFIGS["direct"]}]
    causes = (
        f"\n\nWhat an answer depends on is kept back for the split {KEPT_BACK}: {', '.join(told)} are empty there. Of "
        f"models that were taught causes, the filter's counts on {KEPT_BACK} are of all findings together, and "
        "`direct.json` and `reasoning.json` have their dev cases alone. On dev all of it is here; a model that answers "
        "a finding from a mark on dev does so on test."
        if facts.taught
        else f"\n\n{', '.join(told)} are empty in the split {KEPT_BACK}: they could tell what an answer depends on."
    )
    return f"## What stays back\n\n{_table(rows)}{restricted}{hidden}{causes}"


def _datasheet(facts: Facts) -> str:
    patients = len({(row["source"], row["patient_id"]) for row in facts.questions})
    revisions = [
        {
            "model": f"`{row['model']}`",
            "revision": f"`{row['revision']}`" if row["revision"] else "not recorded",
            "on the Hub": f"`{row['repository']}@{row['commit'][:12]}`" if row["repository"] else "not published",
        }
        for row in facts.models
    ]
    return f"""## Datasheet

- **Motivation.** Localisation scores of explanations mean little when the model looked elsewhere; here it is known
  where it looked.
- **Composition.** {len(facts.questions):,} questions on {len(facts.films):,} films of {patients:,} patients, and
  {len(facts.cases):,} verified cases, of which an entry explains {len(facts.benchmark):,}. Nothing links a row to a
  person beyond the pseudonyms of the sources.
- **Collection.** Films, findings and boxes come from the sources below; answers from the models, greedily decoded.
- **Preprocessing.** Films are as their source ships them. Edits and the filter are described above.
- **Uses.** See *Limits and intended use*.
- **Distribution.** Under the licence of each source; what may not leave is not here.
- **Maintenance.** Each version is a tagged commit; the tag names the commit of the code that made it.

Version {facts.version}, by the content of the tables\
{f"; seed {facts.made_by['seed']}" if "seed" in facts.made_by else ""}.

{_table(revisions)}"""


def _licences(facts: Facts) -> str:
    credits = "\n".join(_credit(name) for name in facts.sources)
    return f"""## Licences and credits

{credits}

The tables of cases (keys, verdicts, counts, scores) are under the MIT License; `LICENSE.md` has the notices in full."""


def _credit(name: str) -> str:
    source = licences.source(name)
    return f"- **{source.title}** (`{name}`): {source.licence}. {source.credit} <{source.url}>"


def _licence_file(facts: Facts) -> str:
    credits = "\n".join(_credit(name) for name in facts.sources)
    return f"""# Licences and credits

{credits}

The tables of cases (keys, verdicts, counts, scores): MIT License, Copyright (c) 2026 The MedGround authors.

## MIT License

{MIT}
"""


def _citation(facts: Facts) -> str:
    return f"""## Citation

```bibtex
{facts.citation}
```

Cite the work that introduced the filter, [*Rethinking Visual Attribution for Chest X-ray Reasoning in Large
Vision Language Models*]({PAPER}) (Xiong et al., 2026), and the sources above as well."""


SECTIONS = (
    _title,
    _use,
    _filter,
    _proof,
    _models_board,
    _baselines,
    _protocols,
    _columns,
    _limits,
    _stays,
    _datasheet,
    _licences,
    _citation,
)


def _yaml(values: dict) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)


def _table(rows: list[dict]) -> str:
    """A Markdown table; numbers to the right."""
    if not rows:
        return "(none)"
    numeric = [name for name, value in rows[0].items() if isinstance(value, int) or str(value)[:1].isdigit()]
    lines = [
        "| " + " | ".join(rows[0]) + " |",
        "|" + "|".join("---:" if name in numeric else "---" for name in rows[0]) + "|",
    ]
    lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _size_category(rows: int) -> str:
    return "n<1K" if rows < 1_000 else "1K<n<10K" if rows < 10_000 else "10K<n<100K"


def _unpacked_bytes(shard: Path) -> int:
    file = pq.ParquetFile(shard)
    return sum(file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups))
