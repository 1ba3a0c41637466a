"""The app in a real Chromium: what a visitor, an author and a maintainer do."""

import pytest

from leaderboard import tables
from tests.leaderboard.browser import ARGUMENTS, CHROMIUM, MISSING, serve, settled

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason=MISSING)]


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="`pip install playwright` to drive Chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def app(tree):
    with serve(tree) as address:
        yield address


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    yield page
    page.close()


def cells(page, column: int) -> list[str]:
    """What a column of the first table says; the picture of a table carries its text for screen readers."""
    rows = page.locator('[data-testid="stDataFrame"]').first.locator("tbody tr")
    rows.first.wait_for(state="attached")
    return [rows.nth(n).locator("td").nth(column).text_content() for n in range(rows.count())]


def test_open_the_board_and_filter_it(app, page):
    page.goto(app)
    settled(page)
    assert "medfocus" in cells(page, 0) and "random" in cells(page, 0)
    page.get_by_label("Find an entry").fill("cam")
    page.get_by_label("Find an entry").press("Enter")
    page.wait_for_function("() => !document.querySelector('[data-testid=stDataFrame]').textContent.includes('random')")
    assert cells(page, 0) == ["gradcam"]


def test_the_tables_offer_no_download_that_is_not_safe_from_formulas(app, page):
    """The toolbar that Streamlit puts on tables writes strings as they are."""
    page.goto(app)
    settled(page)
    page.locator('[data-testid="stDataFrame"]').first.hover()
    buttons = page.get_by_label("Download as CSV")
    buttons.first.wait_for(state="attached")
    assert not any(buttons.nth(n).is_visible() for n in range(buttons.count()))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download this table").click()
    assert download.value.suggested_filename == "medground-board.csv"


def test_walk_to_a_case_by_keyboard(app, page, root):
    page.goto(app)
    settled(page)
    page.get_by_role("link", name="Cases").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The gates")
    settled(page)
    assert page.locator('[data-testid="stImage"] img').count() == 7
    first = page.url
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("first => location.href !== first", arg=first)
    settled(page)
    case = page.url.split("case=")[1].replace("%2F", "/").split("&")[0]
    found = tables.cases().set_index("case_id").loc[case]
    assert page.get_by_text(found.question).first.is_visible()


@pytest.mark.parametrize("name", ["", "compare", "cases", "submit", "benchmark", "maintain"])
def test_nothing_overflows_a_phone(app, chromium, name):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{app}/{name}")
    settled(page)
    width = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollWidth")
    assert width <= 390
    assert not page.locator('[data-testid="stException"]').count()
    page.close()
