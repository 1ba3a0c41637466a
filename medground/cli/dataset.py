"""The dataset folder and the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app


@app.command()
def export(
    data: Annotated[Path, typer.Option(help="The pipeline's tables")] = Path("data"),
    out: Annotated[Path, typer.Option(help="The folder to write")] = Path("data/hub"),
    hide_test_regions: Annotated[
        bool | None, typer.Option(help="Keep the expert boxes of the test split back; by default as in params.yaml")
    ] = None,
) -> None:
    """Make the dataset folder for the Hugging Face Hub; only what each source's licence allows goes into it."""
    from .. import folders, params
    from ..hub.about import COMMAND, asked

    folders.check(out, COMMAND)
    p = params.load() if Path("params.yaml").exists() else None
    if hide_test_regions is None:
        hide_test_regions = (p or params.load()).publish.hide_test_regions
    from ..hub import folder  # wants an extra, which would help nobody outside of a clone

    folder.build(data, out, hide_test_regions=hide_test_regions, **(asked(p) if p else {}))
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
    from ..hub import push

    done = push.publish(
        folder, repo, private=private, revision=revision, tag=tag, dry_run=dry_run,
        agree=lambda: yes or typer.confirm("Send this?"),
    )  # fmt: skip
    if done:
        print(f"{done.url}: verified, commit {done.commit[:12]}, tag {done.tag}")


@app.command()
def publish_models(
    org: Annotated[str, typer.Option(help="Whose model repositories: ORG/medground-MODEL")],
    model: Annotated[
        list[str] | None, typer.Option(help="A checkpoint of --models; by default those of params.yaml")
    ] = None,
    models: Annotated[Path, typer.Option(help="Where the checkpoints are")] = Path("models"),
    dataset: Annotated[str, typer.Option(help="ORG/NAME of the dataset, for the cards")] = "",
    private: Annotated[bool, typer.Option("--private", help="Make new repositories private")] = False,
) -> None:
    """Send the models whose answers are explained to the Hub, and note their commits, which the next export pins."""
    from .. import params
    from ..hub import models as hub_models
    from ..hub.links import links

    p = params.load() if not model or Path("params.yaml").exists() else None
    for name in model or (p.models if p else ()):
        hub_models.publish(
            name,
            f"{org}/{hub_models.TAG}-{name}",
            models=models,
            dataset=dataset,
            links=links(p) if p else None,
            private=private,
        )


@app.command()
def films(
    source: Annotated[str, typer.Option(help="A source whose films stay at home: see `medground sources`")],
    data_root: Annotated[Path, typer.Option(help="Your own licensed copy, in any layout")],
    dataset: Annotated[str, typer.Option(help="The dataset: a folder, or ORG/NAME on the Hub")] = "data/hub",
    out: Annotated[Path, typer.Option(help="The table of films and paths to write")] = Path("films.parquet"),
) -> None:
    """Find the films that may not be published in your own copy; check their hashes; say which are missing."""
    from ..hub import films as hub_films

    rows = hub_films.join(hub_films.wanted(dataset, source), data_root)
    hub_films.write(rows, out)
    print(f"{hub_films.report(rows, source)}\n{out} has the path of each")
    if any(row["state"] != "found" for row in rows):
        raise typer.Exit(1)
