"""Send data/hub/ to the Hugging Face Hub, without asking: data/published.json says what is there."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from medground import engine, files
from medground.errors import MedgroundError
from medground.hub import push


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", default=os.environ.get("MEDGROUND_REPO"), help="ORG/NAME; default: MEDGROUND_REPO")
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--tag", help="name of the version; default: the git commit of the code")
    options = parser.parse_args()
    if not options.repo:
        raise MedgroundError("which dataset? give --repo ORG/NAME, or set MEDGROUND_REPO")
    done = push.publish("data/hub", options.repo, private=options.private, tag=options.tag)
    assert done  # None is for dry runs
    files.write_json(asdict(done), Path("data/published.json"))
    print(f"{done.url}: verified, commit {done.commit[:12]}, tag {done.tag}")


if __name__ == "__main__":
    main()
