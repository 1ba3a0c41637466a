"""Copy what the leaderboard needs into a folder, for a Hub Space or a container: the app, the library, the tables.

    python space/assemble.py build/space
    python space/assemble.py build/space --private     for a machine of your own, run with MEDGROUND_PRIVATE=1

Refuses tables of sources whose films, boxes or texts may not be shown to anybody, unless all who can reach the app have
signed their agreements (``--private``). What answers to the test split depend on stays at home, but for a machine of
your own (`medground.hub.untold`). Where ``publish.hide_test_regions`` is set, so does what would tell a test region
(`medground.hub.hidden`), and always entries that wait for a maintainer or were rejected.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Set
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medground import files, folders, params, records
from medground.errors import MedgroundError, friendly
from medground.evaluation.results import published
from medground.evaluation.tables import RESULTS
from medground.hub.hidden import hidden, kept_back
from medground.hub.licences import EVERYTHING, source
from medground.hub.links import addresses, links
from medground.hub.untold import Untold
from medground.reproduced import versions
from medground.submission.schema import CARD, RECEIPT, TABLE

CODE = ("medground", "leaderboard", "space", ".streamlit/config.toml", "params.yaml")
STAGES = ("__init__.py", "score.py", "rank.py")  # what puts an accepted entry on the board, without DVC
TABLES = ("board", "scores", "cases", "samples", "edits", "answers", "attributions")
MODELS = "data/results/results.parquet"  # the board of models
COMMAND = "space/assemble.py"
TITLE = "# The leaderboard, deployed"  # of space/README.md


def assemble(root: Path, out: Path, private: bool = False) -> None:
    """Make ``out`` from the repository ``root``. Raises MedgroundError for what is missing or may not leave, and for an
    ``out`` that this did not make."""
    folders.check(out, COMMAND)
    cases = records.read_rows(root / "data/cases/cases.parquet", records.CASES)
    closed = [name for name in sorted({case["source"] for case in cases}) if source(name).may_leave != EVERYTHING]
    if closed and not private:
        raise MedgroundError(
            f"the tables are of {', '.join(closed)}, which may not be shown to everybody; with --private they go into "
            "a folder for a machine of your own, run with MEDGROUND_PRIVATE=1 for those who signed the agreements"
        )
    p = params.load(root / "params.yaml")
    hide = p.publish.hide_test_regions
    samples = {
        (sample["source"], sample["index"])
        for path in sorted((root / "data/samples").glob("*/samples.parquet"))
        for sample in records.read_rows(path, records.SAMPLES)
        if hidden(sample["split"], hide)
    }
    ids = {case["case_id"] for case in cases if hidden(case["split"], hide)}
    untold = Untold(() if private and not hide else cases)
    with folders.rebuilt(out, COMMAND) as partial:
        for name in CODE:
            _copy(root / name, partial / name)
        shutil.copy(root / "space/Dockerfile", partial)  # where the Hub looks for them
        card = (root / "space/README.md").read_text()
        if told := addresses(links(p)):
            card = card.replace(TITLE, f"{TITLE}\n\n{told}", 1)
        (partial / "README.md").write_text(card)
        _entries(root / "submissions", partial / "submissions")
        for name in TABLES:
            _tables(root, partial, name, samples, ids, untold)
        if (root / MODELS).is_file():  # what was evaluated, as anybody may see it
            taught = {case["model"] for case in cases if case["control"] != "honest"}
            rows = published(records.read_rows(root / MODELS, RESULTS), taught)
            records.write_table(rows, RESULTS, partial / MODELS)
        _to_rank(root, partial)


def _tables(root: Path, out: Path, name: str, samples: Set[tuple[str, int]], cases: Set[str], untold: Untold) -> None:
    """A folder of tables, and the films that its rows name, without what hidden samples and cases keep back, and
    without what ``untold`` keeps back."""
    for path in _files(root / "data" / name):
        target = out / path.relative_to(root)
        if path.suffix == ".parquet":
            table = _read(path)
            kept = untold.table(name, table)
            kept = kept_back(name, kept, samples, cases) if samples else kept
            if kept is table:
                _copy(path, target)
            else:
                records.write_table(
                    kept.replace_schema_metadata(), kept.schema.remove_metadata(), target, **records.made_by(path)
                )
            for film in sorted(set(_films(kept))) if name in ("samples", "edits") else ():
                _copy(root / film, out / film)
        elif path.suffix == ".json":
            content = files.read_json(path, object)
            told = untold.json(path.relative_to(root / "data").as_posix(), content)
            if told is content:
                _copy(path, target)
            elif told is not None:
                files.write_json(told, target)
        elif path.suffix == ".csv":
            _copy(path, target)


def _to_rank(root: Path, out: Path) -> None:
    """What puts an accepted entry on the board without DVC: two stages, what the sanity checks say; and the history."""
    for name in (*(f"stages/{stage}" for stage in STAGES), "data/sanity/sanity.json"):
        if (root / name).is_file():
            _copy(root / name, out / name)
    files.write_json(versions(root), out / "data/board/history.json")


def _files(folder: Path) -> list[Path]:
    if not folder.exists():
        raise MedgroundError(f"{folder} is missing; run `dvc repro`")
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, ValueError) as error:
        raise MedgroundError(f"{path} is not a readable Parquet file ({error}); run `dvc repro`") from None


def _films(table: pa.Table) -> Iterator[str]:
    """The paths that rows of samples or edits name, at any depth."""
    columns = [name for name in ("film", "twin", "parts", "path") if name in table.schema.names]
    todo = [value for name in columns for value in table[name].to_pylist()]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            todo += [value[key] for key in value if key.startswith("film")]
        elif value:
            yield value


def _entries(submissions: Path, out: Path) -> None:
    """The entries on the board: not those in quarantine, not those rejected, nothing else that lies there."""
    out.mkdir()
    if (submissions / "README.md").is_file():
        shutil.copy(submissions / "README.md", out)
    for folder in sorted(submissions.glob("[a-z0-9]*")):
        for name in (CARD, TABLE, RECEIPT) if folder.is_dir() and not folder.is_symlink() else ():
            if (folder / name).is_file() and not (folder / name).is_symlink():
                _copy(folder / name, out / folder.name / name)


def _copy(path: Path, out: Path) -> None:
    if not path.exists():
        raise MedgroundError(f"{path} is missing; run `dvc repro`")
    out.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, out, ignore=shutil.ignore_patterns("__pycache__", ".*", "secrets.toml"))
    else:
        shutil.copy(path, out)


@friendly
def main() -> None:
    """Assemble into the folder that the command line names."""
    words = [word for word in sys.argv[1:] if word != "--private"]
    if len(words) != 1 or words[0].startswith("-"):
        raise MedgroundError("name the folder to make: python space/assemble.py build/space [--private]")
    assemble(Path("."), Path(words[0]), private="--private" in sys.argv[1:])
    files = [path for path in Path(words[0]).rglob("*") if path.is_file()]
    print(f"{words[0]}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
