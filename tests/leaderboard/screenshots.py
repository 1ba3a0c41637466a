"""Pictures of every page for the documentation: `python -m tests.leaderboard.screenshots [ROOT] [OUT]`.

Each page, and the heat map of the board, on a desktop, on a phone and in the dark; and the first screen by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.leaderboard.browser import ARGUMENTS, CHROMIUM, MISSING, serve, settled

PAGES = {
    "leaderboard": "",
    "heatmap": "?view=Heat+map&by=kind+of+cause",
    "causes": "causes",
    "models": "models",
    "compare": "compare",
    "cases": "cases",
    "submit": "submit",
    "benchmark": "benchmark",
    "maintain": "maintain",
}
KINDS = {"desktop": (1280, 900, "light"), "phone": (390, 844, "light"), "dark": (1280, 900, "dark")}
TALLEST = 6000  # pixels of a picture


def main(root: Path, out: Path, pages: list[str]) -> None:
    """Write ``out/<page>-<desktop|phone|dark>.png`` of the app over the tables of ``root``, and ``out/first.png``."""
    if not CHROMIUM:
        raise SystemExit(MISSING)
    out.mkdir(parents=True, exist_ok=True)
    with serve(root.resolve()) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for kind, (width, height, scheme) in KINDS.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            for name in pages or PAGES:
                page.goto(f"{address}/{PAGES[name]}")
                shoot(page, out / f"{name}-{kind}.png", width, height)
                if (name, kind) == ("leaderboard", "desktop"):
                    page.screenshot(path=out / "first.png")
        browser.close()


def shoot(page: Page, path: Path, width: int, height: int) -> None:
    """A picture of the whole page, once its charts and films are there."""
    settled(page)
    page.wait_for_timeout(1500)
    full = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": width, "height": min(max(full, height), TALLEST)})
    page.wait_for_timeout(1000)
    page.screenshot(path=path)
    small(path)
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(500)


def small(path: Path) -> None:
    """Keep a picture in 256 colours: a third of the bytes, and nobody sees it."""
    Image.open(path).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0] if given else "."), Path(given[1] if len(given) > 1 else "docs/app"), given[2:])
