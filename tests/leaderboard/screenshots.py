"""Pictures of every page for the documentation: `python -m tests.leaderboard.screenshots [ROOT] [OUT]`."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.leaderboard.browser import ARGUMENTS, CHROMIUM, MISSING, serve, settled

PAGES = {"leaderboard": "", "compare": "compare", "cases": "cases", "submit": "submit", "benchmark": "benchmark"}
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
TALLEST = 4000  # pixels of a picture


def main(root: Path, out: Path) -> None:
    """Write ``out/<page>-<desktop|phone>.png`` of the app over the tables of ``root``."""
    if not CHROMIUM:
        raise SystemExit(MISSING)
    out.mkdir(parents=True, exist_ok=True)
    with serve(root.resolve()) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for kind, (width, height) in WIDTHS.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            for name, path in {**PAGES, "maintain": "maintain"}.items():
                page.goto(f"{address}/{path}")
                shoot(page, out / f"{name}-{kind}.png", width, height)
        browser.close()


def shoot(page: Page, path: Path, width: int, height: int) -> None:
    """A picture of the whole page, once its charts and films are there."""
    settled(page)
    page.wait_for_timeout(1500)
    full = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": width, "height": min(max(full, height), TALLEST)})
    page.wait_for_timeout(1000)
    page.screenshot(path=path)
    page.set_viewport_size({"width": width, "height": height})


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/app"))
