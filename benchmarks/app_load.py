"""The app under load: ``python -m benchmarks.app_load [--entries 500] [--cases 4000] [--visitors 20] [--uploads 30]``.

Invented tables of that size. Printed, for every page and for what visitors do on it: wall time in a browser, and the
processor time that the server took, which does not depend on what else the machine does. Then visitors who come at
once, and entries that are handed in at once: how many were stored, and how many refused by the limit of a day.
Looks at /proc: Linux, with Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

from medground import files, records, submission
from medground.errors import MedgroundError
from medground.scoring.tables import load_cases
from tests.leaderboard import fixture
from tests.leaderboard.browser import ARGUMENTS, CHROMIUM, MISSING, WAIT, serve, settled

PAGES = ("", "causes", "models", "compare", "cases", "benchmark", "submit")
SAMPLES_A_PATIENT, CASES_A_SAMPLE = 2, 4  # of the invented tables
PER_DAY = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("entries", 500), ("cases", 4000), ("visitors", 20), ("uploads", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if not CHROMIUM:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as made:
        with redirect_stdout(StringIO()):  # the stages print the board
            root = fixture.build(Path(made) / "tree", patients=options.cases // SAMPLES_A_PATIENT // CASES_A_SAMPLE)
        rows = many(root, options.entries)
        table = Table("what", "wall s", "server CPU s", "server MB", title=f"{options.entries} entries, {rows}")
        with serve(root) as address, sync_playwright() as playwright:
            server = Server(int(address.rsplit(":", 1)[1]))
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            for turn in ("first", "again"):
                for name in PAGES:
                    row(
                        table,
                        server,
                        f"{name or 'leaderboard'}, {turn}",
                        lambda at=name: visit(page, f"{address}/{at}"),
                    )
            row(table, server, "leaderboard, dev", lambda: visit(page, f"{address}/?split=dev"))
            row(
                table,
                server,
                "compare, another pair",
                lambda: visit(page, f"{address}/compare?first=entry-007&second=entry-008"),
            )
            pages = [browser.new_page() for _ in range(options.visitors)]
            row(table, server, f"{options.visitors} visitors at once", lambda: together(pages, address))
            browser.close()
        Console().print(table)
        print(uploads(root, Path(made), options.uploads))


def many(root: Path, entries: int) -> str:
    """Multiply the methods of the tables to so many entries; what the tables then hold, in words."""
    scores, board = root / "data/scores/scores.parquet", root / "data/board/board.parquet"
    counts = []
    for path, schema, facts in ((scores, records.SCORES, {}), (board, records.BOARD, records.made_by(board))):
        told = records.read_table(path, schema)
        own = told.filter(pa.compute.equal(told["entry"], "occlusion"))
        place = own.schema.get_field_index("entry")
        parts = [own.set_column(place, own.schema.field(place), pa.array([f"entry-{n:03d}"] * len(own)))
                 for n in range(entries - len(fixture.METHODS))]  # fmt: skip
        whole = pa.concat_tables([told, *parts])
        records.write_table(whole, schema, path, **{key: value for key, value in facts.items() if key == "settings"})
        counts.append(len(whole))
    known = files.read_json(root / "data/scores/entries.json", list)
    one = next(fact for fact in known if fact["entry"] == "occlusion")
    known += [one | {"entry": f"entry-{n:03d}"} for n in range(entries - len(fixture.METHODS))]
    files.write_json(known, root / "data/scores/entries.json")
    return f"{len(load_cases(root / 'data')):,} cases, {counts[0]:,} rows of scores, {counts[1]:,} of the board"


class Server:
    """The process that listens on a port, with what it takes."""

    def __init__(self, port: int) -> None:
        wanted = f"--server.port\0{port}\0".encode()
        self.process = next(
            path for path in Path("/proc").glob("[0-9]*") if wanted in (path / "cmdline").read_bytes()
        )  # fmt: skip

    def seconds(self) -> float:
        """Processor time so far."""
        told = (self.process / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(told[11]) + int(told[12])) / 100

    def megabytes(self) -> float:
        """Memory now."""
        told = next(line for line in (self.process / "status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(told.split()[1]) / 1024


def row(table: Table, server: Server, what: str, do: Callable[[], None]) -> None:
    """One line of the table."""
    start, before = time.monotonic(), server.seconds()
    do()
    table.add_row(
        what, f"{time.monotonic() - start:.1f}", f"{server.seconds() - before:.2f}", f"{server.megabytes():.0f}"
    )


def visit(page: Page, address: str) -> None:
    """Open a page and wait until it is whole."""
    page.goto(address)
    settled(page)
    if page.locator('[data-testid="stException"]').count():
        raise SystemExit(f"{address} shows an error")


def together(pages: list[Page], address: str) -> None:
    """Open the first page in all of them, then wait for each."""
    for page in pages:
        page.goto(address, wait_until="commit", timeout=WAIT)
    for page in pages:
        settled(page)


def uploads(root: Path, place: Path, count: int) -> str:
    """So many entries handed in at once by one submitter, whose day has room for fewer."""
    cases = load_cases(root / "data")
    card = {"version": "1", "authors": ["A. Author"], "licence": "CC0-1.0", "hardware": "none",
            "models": sorted({case["model"] for case in cases}), "modes": sorted({case["mode"] for case in cases}),
            "used_test_regions": False, "trained_on_sources": False}  # fmt: skip
    for number in range(count):
        rng = np.random.default_rng(number)
        maps = {case["case_id"]: rng.random((14, 14)) for case in cases}
        submission.write(place / f"sent-{number}", maps=maps, method=f"M{number}", **card)
    to = place / "received"

    def send(number: int) -> str:
        try:
            submission.receive(place / f"sent-{number}", cases, to, "somebody", per_day=PER_DAY)
        except MedgroundError as error:
            return str(error).split(";")[0]
        return "stored"

    start = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        outcomes = Counter(pool.map(send, range(count)))
    left = [path.name for path in (to / "_incoming").iterdir()] if (to / "_incoming").is_dir() else []
    shutil.rmtree(to)
    told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    return f"{count} entries at once: {time.monotonic() - start:.1f} s; {told}; {len(left)} left half-done"


if __name__ == "__main__":
    main()
