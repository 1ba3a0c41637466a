"""Normal films with concept masks, from which concepts are carried over to other films: data/references/."""

from __future__ import annotations

from pathlib import Path

from medground import engine, params, records, sources


@engine.stage
def main() -> None:
    p = params.load()
    out = Path("data/references")
    sources.references(p, Path("data/raw"), out)
    print(f"{len(records.read_rows(out / 'references.parquet', records.REFERENCES))} normal reference films")


if __name__ == "__main__":
    main()
