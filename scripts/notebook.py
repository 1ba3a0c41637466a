"""Write the first cells of examples/from_anywhere.ipynb from params.yaml: the badge that opens it in Colab, and the
installation from ``publish.repository``. The rest of the notebook stays as it is.

python scripts/notebook.py            (after publish.repository has changed)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from medground import params
from medground.hub.links import NOTEBOOK, badge, links, requirement

BADGE, INSTALL = "badge", "install"  # the names of the cells


def main() -> None:
    path = Path(NOTEBOOK)
    path.write_text(notebook(path.read_text(), links(params.load())))
    print(path)


def notebook(text: str, told: Mapping[str, str]) -> str:
    """A notebook with these two cells as the addresses want them; without a badge where Colab could not read it."""
    content = json.loads(text)
    cells = [cell for cell in content["cells"] if cell["id"] != BADGE]
    if shown := badge(told):
        cells.insert(0, {"cell_type": "markdown", "id": BADGE, "metadata": {}, "source": [shown]})
    install = next(cell for cell in cells if cell["id"] == INSTALL)
    code = (
        "from importlib.util import find_spec\n\n"
        'if find_spec("medground") is None:\n'
        f"    %pip install --quiet {requirement('run,hub', told)}"
    )
    install["source"] = code.splitlines(keepends=True)
    return json.dumps({**content, "cells": cells}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
