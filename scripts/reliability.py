"""Break the pipeline on purpose and count what is lost: writes the tables of docs/reliability.md.

    python scripts/reliability.py                     all sections
    python scripts/reliability.py interruptions flips --interruptions 40 --flips 400 --minutes 30

Works in a temporary copy of this repository with few patients, and touches nothing else. What was measured is kept
beside the copy: the same command, after it was stopped or after ``--minutes``, goes on with what is left.

Each section is a function that takes the `Workplace` and the options, and returns the lines of its table; it is written
between the markers that bear its name. Another section is one more function in `SECTIONS`. Looks at /proc: Linux.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import reliability_clones as clones
import reliability_hostile as hostile
import reliability_interruptions as interruptions
import reliability_params
from reliability_workplace import ROOT, Workplace

from medground import files, records
from medground.errors import MedgroundError

PAGE = ROOT / "docs" / "reliability.md"
FOLDER = Path(tempfile.gettempdir()) / "medground-reliability"

# Flipped bits


def flips(place: Workplace, options: argparse.Namespace) -> list[str]:
    """One bit of one table turned, anywhere in the file, and the table read."""
    rng = random.Random(options.seed)
    tables = dict(_tables(place.folder / "data"))
    rows: dict[str, Counter] = {}
    names = sorted(tables)
    for number in range(options.flips):
        path = names[number % len(names)]
        content = bytearray((place.folder / path).read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        flipped = place.folder / "flipped.parquet"
        flipped.write_bytes(content)
        kind = path.split("/")[1]
        try:
            records.read_table(flipped, tables[path])
        except MedgroundError:
            rows.setdefault(kind, Counter()).update(turned=1)
        else:
            rows.setdefault(kind, Counter()).update(turned=1, undetected=1)
    lines = ["| tables | bits turned | undetected |", "|---|---|---|"]
    for name, count in [*sorted(rows.items()), ("**together**", sum(rows.values(), Counter()))]:
        lines.append(f"| {name} | {count['turned']} | {count['undetected']} |")
    return lines


def _tables(data: Path) -> Iterator[tuple[str, pa.Schema]]:
    schemas = {
        "samples.parquet": records.SAMPLES, "references.parquet": records.REFERENCES, "edits.parquet": records.EDITS,
        "cases.parquet": records.CASES, "scores.parquet": records.SCORES,
    }  # fmt: skip
    folders = {"answers": records.ANSWERS, "attributions": records.ATTRIBUTIONS, "anatomy": records.CONCEPTS}
    for path in data.rglob("*.parquet"):
        schema = schemas.get(path.name) or folders.get(path.relative_to(data).parts[0])
        if schema is not None:
            yield str(path.relative_to(data.parent)), schema


def params(place: Workplace, options: argparse.Namespace) -> list[str]:
    """Mistakes in a params.yaml, each by itself: ``python scripts/reliability_params.py`` lists them."""
    counts, controls, wrong = reliability_params.count()
    lines = [
        "| mutations | refused by name | refused, but not by name | tracebacks | accepted |",
        "|---|---|---|---|---|",
    ]
    kinds = ("refused", "refused, unnamed", "traceback", "accepted")
    lines.append(f"| {counts.total()} | {' | '.join(str(counts[kind]) for kind in kinds)} |")
    return [*lines, "", f"Of {controls} values that are unusual and right, {len(wrong)} were refused."]


SECTIONS: dict[str, Callable[[Workplace, argparse.Namespace], list[str]]] = {
    "interruptions": interruptions.section,
    "flips": flips,
    "params": params,
    "hostile": hostile.section,
    "pull": clones.pull,
    "reproduced": clones.reproduced,
    "graph": clones.graph,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; default: all")
    parser.add_argument("--interruptions", type=int, default=40)
    parser.add_argument("--flips", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=60, help="after which no more interruptions are begun")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where the copy is made; default: {FOLDER}")
    parser.add_argument("--keep", action="store_true", help="leave the copy there, so that the next section has it")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; known: {', '.join(SECTIONS)}")
    place = Workplace(options.folder.resolve(), lambda line: print(line, flush=True))
    done = True
    for name in options.sections or SECTIONS:
        lines = SECTIONS[name](place, options)
        print("\n".join(lines), flush=True)
        write(name, lines)
        done &= name != "interruptions" or interruptions.complete(place, options)
    if done and not options.keep:
        place.remove()


def write(name: str, lines: list[str]) -> None:
    """Put the lines between the markers of a section of the page."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = PAGE.read_text()
    if start not in text or end not in text:
        sys.exit(f"{PAGE} has no place for {name}: write {start} and {end} where its table belongs")
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    files.write(before + start + "\n" + "\n".join(lines) + "\n" + end + after, PAGE)


if __name__ == "__main__":
    main()
