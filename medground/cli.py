"""The command line. Each command is a few lines that call the library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated

import typer

from .errors import MedgroundError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


def friendly(main: Callable) -> Callable:
    """Wrap a stage or command: a MedgroundError becomes one message on stderr and exit code 1."""

    @wraps(main)
    def run(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except MedgroundError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("interrupted; finished batches are kept, run the same command to go on", file=sys.stderr)
            raise SystemExit(130) from None

    return run


@app.command()
def profile(
    name: Annotated[str, typer.Argument(help="A file of profiles/, without .yaml")],
    root: Annotated[Path, typer.Option(help="The repository")] = Path("."),
) -> None:
    """Make a profile the active one: copy profiles/NAME.yaml to params.yaml."""
    from . import params

    params.activate(name, root)
    print(f"params.yaml is now the profile {name}")


@app.command()
def board(
    track: Annotated[str, typer.Option(help="all, or mode=..., model=..., source=..., finding=...")] = "all",
    split: Annotated[str, typer.Option(help="dev, test or all")] = "all",
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
) -> None:
    """Print the board of one track and split."""
    from . import records
    from .ranking.show import show

    rows = records.read_rows(data / "board" / "board.parquet", records.BOARD)
    chosen = [row for row in rows if (row["track"], row["split"]) == (track, split)]
    if not chosen:
        tracks, splits = sorted({row["track"] for row in rows}), sorted({row["split"] for row in rows})
        raise MedgroundError(
            f"no track {track!r} in split {split!r}; tracks: {', '.join(tracks)}; splits: {', '.join(splits)}"
        )
    show(chosen)


@app.command()
def compare(
    entry: Annotated[str, typer.Argument(help="An entry of the board")],
    track: Annotated[str, typer.Option(help="all, or mode=..., model=..., source=..., finding=...")] = "all",
    split: Annotated[str, typer.Option(help="dev, test or all")] = "all",
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
) -> None:
    """How far an entry is ahead of each other one: paired differences of mean IoU, with intervals."""
    from . import ranking, records
    from .ranking.show import show_lead
    from .scoring.tables import load_cases

    results = ranking.Results.of(records.read_table(data / "scores/scores.parquet", records.SCORES), load_cases(data))
    drawn = records.made_by(data / "board/board.parquet")["settings"]
    drawn = {name: drawn[name] for name in ("resamples", "level", "seed")}
    show_lead(entry, ranking.lead(results, entry, track, split, **drawn), track, split)


@app.command()
def attribute(
    film: Annotated[Path, typer.Argument(help="A frontal chest film: PNG, JPEG or DICOM")],
    question: Annotated[str, typer.Option(help="What to ask about it")],
    model: Annotated[str, typer.Option(help="A key, the path of a checkpoint, or a Hub id")],
    out: Annotated[Path, typer.Option(help="The folder to write")],
    method: Annotated[str, typer.Option(help="How to explain the answer")] = "medfocus",
    mode: Annotated[str, typer.Option(help="direct | reasoning")] = "direct",
    references: Annotated[Path, typer.Option(help="Normal films with concept masks, for MedFocus")] = Path(
        "data/references/references.parquet"
    ),
) -> None:
    """Ask a model about one film and show what in it caused the answer: overlay, page, JSON.

    Seed, detector and segmenter are those of params.yaml; outside a repository, those of the method, and concept boxes
    stay as they were carried over.
    """
    from . import attribution, params
    from .images import read_film

    chosen, pixels = attribution.method(method), read_film(film)
    p = params.load() if Path("params.yaml").exists() else None
    chosen = chosen.configured(p) if p else chosen
    from .attribution import film as single
    from .attribution import report
    from .lvlm import load_lvlm

    anatomy = single.Anatomy.read(references, chosen, p and p.eyes.segmenter) if chosen.concepts else None
    explained = single.explain(load_lvlm(model), pixels, question, chosen, mode, anatomy, film.name)
    print(f"{explained.item.answer!r} ({explained.verdict})")
    for name, _, effect in (explained.attribution.concepts or [])[:5]:
        print(f"  {name}: {effect:.3f}")
    for what, path in report.write(explained, out).items():
        print(f"{what}: {path}")


@app.command()
def wanted_films(source: Annotated[str, typer.Argument(help="imagenome | vindr_cxr | padchest_gr | nih_cxr")]) -> None:
    """List the films that a source needs, as paths below MEDGROUND_DATA_ROOT, from its annotation files alone."""
    from . import sources

    for path in sources.films(source):
        print(path)


@app.command()
def import_released(
    file: Annotated[Path, typer.Argument(help="direct.json or reasoning.json of the paper's release")],
    samples: Annotated[Path, typer.Option(help="Where `dvc repro ingest` put the samples")] = Path("data/samples"),
    out: Annotated[Path, typer.Option(help="The table of cases to write")] = Path("data/cases/released.parquet"),
) -> None:
    """Check a file of the paper's released benchmark, and turn its records into cases on the ingested films."""
    from . import records, released

    mode, answers = released.read(file)
    print(f"{file}: {len(answers) // 4} {mode} records, counts as released")
    tables = sorted(samples.glob("*/samples.parquet"))
    rows, lost = released.cases(answers, [row for t in tables for row in records.read_rows(t, records.SAMPLES)])
    for source in sorted({source for source, _ in lost}):
        indices = [index for other, index in lost if other == source]
        print(f"{source}: {len(indices)} samples are not in {samples} (not ingested, or dropped there): {indices}")
    if not rows:
        raise MedgroundError(f"no released record has its sample in {samples}; ingest the paper's sources first")
    records.write_table(rows, records.CASES, out, released=file.name)
    print(f"{out}: {len(rows)} cases")


@app.command()
def export(
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
    out: Annotated[Path, typer.Option(help="The folder to write")] = Path("data/hub"),
    hide_test_regions: Annotated[
        bool | None, typer.Option(help="Keep the expert boxes of the test split back; by default as in params.yaml")
    ] = None,
) -> None:
    """Make the dataset folder for the Hugging Face Hub; only what each source's licence allows goes into it."""
    from . import params
    from .hub import folder

    if hide_test_regions is None:
        hide_test_regions = params.load().publish.hide_test_regions
    folder.build(data, out, hide_test_regions=hide_test_regions)
    print(f"{out} is ready: `medground publish --repo ORG/NAME` sends it")


@app.command()
def publish(
    repo: Annotated[str, typer.Option(help="ORG/NAME of the dataset on the Hub")],
    folder: Annotated[Path, typer.Option(help="An exported folder")] = Path("data/hub"),
    private: Annotated[bool, typer.Option("--private", help="Make a new dataset private")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference and stop")] = False,
    revision: Annotated[str, typer.Option(help="The branch to commit to")] = "main",
    tag: Annotated[str | None, typer.Option(help="Name of the version; by default the git commit of the code")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
) -> None:
    """Send the exported folder to the Hub in one commit, verify it and tag it. Shows the difference and asks first."""
    from .hub import push

    done = push.publish(
        folder, repo, private=private, revision=revision, tag=tag, dry_run=dry_run,
        agree=lambda: yes or typer.confirm("Send this?"),
    )  # fmt: skip
    if done:
        print(f"{done.url}: verified, commit {done.commit[:12]}, tag {done.tag}")


@app.command()
def films(
    source: Annotated[str, typer.Option(help="imagenome | vindr_cxr | padchest_gr")],
    data_root: Annotated[Path, typer.Option(help="Your own licensed copy, in any layout")],
    dataset: Annotated[str, typer.Option(help="The dataset: a folder, or ORG/NAME on the Hub")] = "data/hub",
    out: Annotated[Path, typer.Option(help="The table of films and paths to write")] = Path("films.parquet"),
) -> None:
    """Find the films that may not be published in your own copy; check their hashes; say which are missing."""
    from .hub import films as hub_films

    rows = hub_films.join(hub_films.wanted(dataset, source), data_root)
    hub_films.write(rows, out)
    print(f"{hub_films.report(rows, source)}\n{out} has the path of each")
    if any(row["state"] != "found" for row in rows):
        raise typer.Exit(1)


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(help="An entry: entry.yaml and attributions.parquet")],
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
) -> None:
    """List everything that is wrong with an entry, with row, value and remedy."""
    from . import submission
    from .scoring.tables import load_cases

    report = submission.validate(folder, load_cases(data))
    print(report.text())
    if not report.valid:
        raise typer.Exit(1)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="An entry: entry.yaml and attributions.parquet")],
    split: Annotated[str, typer.Option(help="dev | test | all")] = "all",
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
    faithfulness: Annotated[
        bool, typer.Option("--faithfulness", help="Also measure deletion and insertion; runs the models")
    ] = False,
    most: Annotated[
        int | None, typer.Option(min=1, help="On so many cases of each model and mode; by default as the board")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where deletion and insertion of each case go")] = Path(
        "faithfulness.parquet"
    ),
) -> None:
    """Score an entry as the board does, and say where it would stand. Invalid cases score the worst value."""
    from .ranking.show import show
    from .submission import preview

    faithful = preview.measured(folder, data, split, most, out) if faithfulness else None
    report, rows = preview.against_board(folder, data, split, faithful)
    if not report.valid:
        print(report.text())
    show(rows, marked=preview.NAME)
    if faithfulness:
        print(f"{out}: deletion and insertion of each case")


@app.command()
def submit(
    folder: Annotated[Path, typer.Argument(help="An entry: entry.yaml and attributions.parquet")],
    out: Annotated[Path, typer.Option(help="Where entries are; commit the new folder and open a pull request")] = Path(
        "submissions"
    ),
    hub: Annotated[str, typer.Option(help="ORG/NAME of a dataset on the Hub to open the pull request on")] = "",
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
) -> None:
    """Write a valid entry as it is stored, under its permanent id; with --hub, open the pull request as well."""
    from . import submission
    from .scoring.tables import load_cases

    prepared = submission.prepare(folder, load_cases(data), out)
    print(f"{prepared} is ready: commit it and open a pull request")
    if hub:
        from .hub.pull_request import propose

        print(propose(prepared, hub))


@app.command()
def entries(root: Annotated[Path, typer.Option(help="Where entries are")] = Path("submissions")) -> None:
    """List the entries that were received, the latest first, and what became of them."""
    from . import submission

    for receipt in submission.receipts(root):
        print(f"{receipt.received}  {receipt.status:<11}  {receipt.id}  {receipt.reason}".rstrip())


@app.command()
def accept(
    entry: Annotated[str, typer.Argument(help="The id of an entry in quarantine")],
    root: Annotated[Path, typer.Option(help="Where entries are")] = Path("submissions"),
) -> None:
    """Take an entry out of quarantine onto the board."""
    from . import submission

    print(f"{submission.accept(entry, root).id} is accepted; `dvc repro` puts it on the board")


@app.command()
def reject(
    entry: Annotated[str, typer.Argument(help="The id of an entry in quarantine")],
    reason: Annotated[str, typer.Option(help="What its author can do about it; kept with the entry")],
    root: Annotated[Path, typer.Option(help="Where entries are")] = Path("submissions"),
) -> None:
    """Keep an entry off the board, for a reason."""
    from . import submission

    print(f"{submission.reject(entry, root, reason).id} is rejected")


@friendly
def main() -> None:
    """The entry point ``medground``."""
    app()
