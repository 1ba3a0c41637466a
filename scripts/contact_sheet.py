"""Draw docs/phantom_films.png: each finding on a few benchmark patients, with its healthy twin and both expert boxes.

python scripts/contact_sheet.py        (needs data/samples: `dvc repro ingest`)
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from medground import records
from medground.images import read_film
from medground.phantom import FINDINGS
from medground.phantom.source import PHANTOM

_COLOURS = {"phantom_region": "#39d353", "phantom_lesion": "#ff5c5c"}


def main() -> None:
    samples = [row for source in PHANTOM
               for row in records.read_rows(f"data/samples/{source}/samples.parquet", records.SAMPLES)]  # fmt: skip
    figure, axes = plt.subplots(len(FINDINGS) // 2, 8, figsize=(16, 10.2), facecolor="black")
    for k, finding in enumerate(FINDINGS):
        for source, half in zip(PHANTOM, (0, 2), strict=True):
            sample = next(s for s in samples if s["source"] == source and s["finding"] == finding)
            left = axes[k // 2][4 * (k % 2) + half :]
            left[0].imshow(read_film(sample["film"]), cmap="gray", vmin=0, vmax=255)
            left[1].imshow(read_film(sample["twin"]), cmap="gray", vmin=0, vmax=255)
            for x1, y1, x2, y2 in sample["regions"]:
                box = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=_COLOURS[source], linewidth=1.6)
                left[0].add_patch(box)
            left[0].set_title(finding, color="white", fontsize=10)
            left[1].set_title("healthy twin", color="#9a9a9a", fontsize=10)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.tight_layout(pad=0.4)
    out = Path("docs/phantom_films.png")
    figure.savefig(out, dpi=75, facecolor="black")
    print(out)


if __name__ == "__main__":
    main()
