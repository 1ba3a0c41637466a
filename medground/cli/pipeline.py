"""The pipeline's own commands: profiles, wanted films, the released benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import MedgroundError
from .app import app


@app.command()
def profile(
    name: Annotated[str, typer.Argument(help="A file of profiles/, without .yaml")],
    root: Annotated[Path, typer.Option(help="The repository")] = Path("."),
) -> None:
    """Make a profile the active one: copy profiles/NAME.yaml to params.yaml."""
    from .. import params

    before = _keeps_to_itself(root / "params.yaml")
    params.activate(name, root)
    print(f"params.yaml is now the profile {name}")
    lock = root / "dvc.lock"
    if before and not _keeps_to_itself(root / "params.yaml") and lock.exists():
        aside = root / ".cache" / "restricted" / "dvc.lock"
        aside.parent.mkdir(parents=True, exist_ok=True)
        lock.replace(aside)
        print(
            f"{lock} names films and text that may not leave, and `dvc push` would now take them along; it lies in "
            f"{aside}. `git checkout dvc.lock` brings back the one that was committed"
        )


def _keeps_to_itself(path: Path) -> bool:
    """Whether ``publish.remote`` of a params file keeps what it makes on this machine."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
        return values["publish"]["remote"] == "restricted"
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False


@app.command()
def sources() -> None:
    """List the sources that `sources` in params.yaml may name: licence, what may leave, and what files it needs."""
    from ..sources import EVERYTHING, SOURCES

    for name, source in SOURCES.items():
        leaves = "everything" if source.licence.may_leave == EVERYTHING else ", ".join(sorted(source.licence.may_leave))
        print(f"{name}: {source.title}\n  licence: {source.licence.text} ({source.licence.url})")
        print(f"  may leave: {leaves}\n  files: {source.ships}")


@app.command()
def check_table(
    table: Annotated[Path, typer.Argument(help="Your own films: CSV, TSV, Parquet or COCO JSON")],
    images: Annotated[Path | None, typer.Option(help="The folder of the images; by default the table's")] = None,
    coordinates: Annotated[
        Literal["pixels", "relative"], typer.Option(help="What boxes are in; relative: shares of the film's size")
    ] = "pixels",
) -> None:
    """Read a table of your own films, and list everything that is wrong with it, with row, value and remedy."""
    from ..sources.table import read

    found = read(table, images, coordinates)
    print(found.report())
    if found.problems:
        raise typer.Exit(1)


@app.command()
def wanted_films(source: Annotated[str, typer.Argument(help="One of `medground sources`")]) -> None:
    """List the films that a source needs, as paths below MEDGROUND_DATA_ROOT, from its annotation files alone."""
    from ..sources import films

    for path in films(source):
        print(path)


@app.command()
def import_released(
    files: Annotated[list[Path], typer.Argument(help="direct.json, reasoning.json or both, of the paper's release")],
    samples: Annotated[Path, typer.Option(help="Where `dvc repro ingest` put the samples")] = Path("data/samples"),
    out: Annotated[Path, typer.Option(help="The table of cases to write")] = Path("data/cases/released.parquet"),
) -> None:
    """Check files of the paper's released benchmark, and turn their records into cases on the ingested films.

    Cases of another mode that are in the table already stay; those of the same mode are replaced.
    """
    from .. import records
    from ..verification import released

    answers: list[dict] = []
    modes: dict[str, Path] = {}
    for file in files:
        mode, some = released.read(file)
        if mode in modes:
            raise MedgroundError(f"{file} and {modes[mode]} are both of {mode} mode; give one")
        modes[mode] = file
        answers += some
        print(f"{file}: {len(some) // 4} {mode} records, counts as released")
        for protocol in ("medground", "published"):
            other = released.disagreements(some, protocol)
            print(f"  texts that the parser {protocol!r} reads otherwise than the release: {len(other)} of {len(some)}")
            for answer in other[:5]:
                print(f"    {answer['source']} {answer['index']}, {answer['edit']}: {answer['text'][-100:]!r}")
    tables = sorted(samples.glob("*/samples.parquet"))
    known = [row for table in tables for row in records.read_rows(table, records.SAMPLES)]
    for sentence in released.check_join(answers, known).values():
        print(sentence)
    rows, lost = released.cases(answers, known)
    for source in sorted({source for source, _ in lost}):
        indices = [index for other, index in lost if other == source]
        print(f"{source}: {len(indices)} samples are not in {samples} (not ingested, or dropped there): {indices}")
    if not rows:
        raise MedgroundError(f"no released record has its sample in {samples}; ingest the paper's sources first")
    if out.exists():
        rows = [row for row in records.read_rows(out, records.CASES) if row["mode"] not in modes] + rows
    records.write_table(rows, records.CASES, out, released=sorted(str(file) for file in modes.values()))
    print(f"{out}: {len(rows)} cases")


@app.command()
def reproduced(
    revision: Annotated[str, typer.Option(help="The git revision whose dvc.lock counts")] = "HEAD",
    root: Annotated[Path, typer.Option(help="The repository")] = Path("."),
) -> None:
    """Say, output by output of dvc.lock, whether the files here are those of the lock, and where the first differs."""
    from .. import reproduced

    lock = reproduced.lock_of(root, revision)
    found = reproduced.compare(root, lock, reproduced.stages_of(root))
    for output in found:
        print(f"{output.state:8}{output.path}" + (f": {output.first}" if output.first else ""))
    other = [output for output in found if output.state != "same"]
    print(f"{len(found) - len(other)} of {len(found)} outputs of dvc.lock at {revision} are reproduced here")
    if other:
        raise MedgroundError(f"the first that is not: {other[0].path}, of the stage {other[0].stage}")
