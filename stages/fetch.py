"""What the profile's sources are made of, under data/raw/: the CT, or an inventory of the providers' files."""

from __future__ import annotations

from pathlib import Path

from medground import engine, params, sources


@engine.stage
def main() -> None:
    p = params.load()
    print(sources.fetch(p, Path("data/raw")))


if __name__ == "__main__":
    main()
