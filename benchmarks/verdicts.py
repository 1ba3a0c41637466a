"""How well verdicts are read, on the corpus of tests/data: ``python -m benchmarks.verdicts [--wrong]``."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from medground.lvlm.verdict import PROTOCOLS, parse_verdict

CORPUS = Path(__file__).parents[1] / "tests" / "data" / "verdicts.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wrong", action="store_true", help="list what is read wrong")
    wrong = parser.parse_args().wrong
    rows = [json.loads(line) for line in CORPUS.read_text().splitlines()]
    print("| half | style | answers | " + " | ".join(PROTOCOLS) + " |\n|---|---|---|---|---|")
    sizes = Counter((row["half"], row["style"]) for row in rows)
    for (half, style), size in sorted(sizes.items()):
        some = [row for row in rows if (row["half"], row["style"]) == (half, style)]
        right = [sum(parse_verdict(row["text"], p) == row["verdict"] for row in some) for p in PROTOCOLS]
        print(f"| {half} | {style} | {size} | {right[0]} | {right[1]} |")
    for row in rows if wrong else ():
        if (read := parse_verdict(row["text"])) != row["verdict"]:
            print(f"{row['half']}: {row['text']!r} says {row['verdict']}, read as {read}")


if __name__ == "__main__":
    main()
