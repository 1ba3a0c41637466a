"""What the profile's sources are made of, under data/raw/: the CT, or an inventory of the providers' files."""

from __future__ import annotations

from pathlib import Path

from medground import engine, params, sources
from medground.errors import MedgroundError

RESTRICTED = "restricted"  # the remote in .dvc/config that is a folder of this machine


@engine.stage
def main() -> None:
    p = params.load()
    held = [source for source in p.sources if sources.licence_of(source).may_leave != sources.EVERYTHING]
    if held and p.publish.remote != RESTRICTED:
        raise MedgroundError(
            f"params.yaml: publish.remote is {p.publish.remote!r}, but films of {', '.join(held)} may not leave; "
            f"set it to {RESTRICTED}, so that `dvc push` keeps them in a folder of this machine (docs/how-to/data.md)"
        )
    print(sources.fetch(p, Path("data/raw")))


if __name__ == "__main__":
    main()
