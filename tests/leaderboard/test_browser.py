"""The app in a real Chromium: what a visitor, an author and a maintainer do."""

import re
import shutil
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pytest

from leaderboard import tables
from medground import submission
from tests.leaderboard.browser import ARGUMENTS, CHROMIUM, MISSING, WAIT, free_port, serve, settled
from tests.leaderboard.fixture import METHODS, rank, write_entry
from tests.leaderboard.provider import provider, secrets

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
    page.set_default_timeout(WAIT)
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
    assert {"MedFocus", "Random box"} < set(cells(page, 0))
    page.get_by_role("textbox", name="Find").fill("cam")
    page.get_by_role("textbox", name="Find").press("Enter")
    page.wait_for_function("() => !document.querySelector('[data-testid=stDataFrame]').textContent.includes('Random')")
    assert cells(page, 0) == ["Grad-CAM"]


def test_the_tables_offer_no_download_that_is_not_safe_from_formulas(app, page):
    """The toolbar that Streamlit puts on tables writes strings as they are."""
    page.goto(app)
    settled(page)
    page.locator('[data-testid="stDataFrame"]').first.hover()
    page.wait_for_timeout(500)
    assert not page.get_by_label("Download as CSV").count()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download this table").click()
    assert download.value.suggested_filename == "medground-board.csv"


def picked(page) -> str:
    """The entry whose card is shown."""
    return page.get_by_role("combobox", name="About an entry").input_value()


def tick(page, row: int) -> None:
    """Tick a row of the board's table, as a reader does."""
    place = page.locator('[data-testid="stDataFrame"]').first
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 35 * (row + 1) + 18)


def test_a_ticked_row_is_an_entry_through_search_order_and_reload(app, page):
    """Two clicks once crashed the board, or showed another entry's card."""
    page.goto(app)
    settled(page)
    name = cells(page, 0)[3]
    tick(page, 3)
    page.wait_for_url(re.compile("entry="))
    settled(page)
    assert picked(page) == name
    page.get_by_role("textbox", name="Find").fill("focus")
    page.get_by_role("textbox", name="Find").press("Enter")
    page.wait_for_url(re.compile("find=focus"))
    settled(page)
    assert not page.locator('[data-testid="stException"]').count() and picked(page) == name
    page.goto(page.url.replace("find=focus", "order=Pointing"))
    settled(page)
    assert picked(page) == name and cells(page, 0)[3] != name


def test_every_choice_is_in_the_address_and_back_leads_back_to_it(app, page):
    page.goto(app)
    settled(page)
    page.get_by_text("dev", exact=True).first.click()
    page.wait_for_url(re.compile("split=dev"))
    page.get_by_text("Heat map", exact=True).first.click()
    page.wait_for_url(re.compile("view=Heat"))
    settled(page)
    board = page.url
    page.get_by_role("link", name="Cases").first.click()
    page.wait_for_url(re.compile("/cases"))
    page.wait_for_selector("text=The gates")
    settled(page)
    first = page.url
    page.get_by_role("button", name="Next").click()
    page.wait_for_url(re.compile("case="))
    settled(page)
    page.go_back()
    page.wait_for_url(first)
    settled(page)
    page.go_back()
    page.wait_for_url(board)
    settled(page)
    assert page.get_by_role("radio", name="dev").is_checked()
    other = page.context.browser.new_page()  # the address says it all
    other.goto(board)
    settled(other)
    assert other.get_by_role("radio", name="dev").is_checked()
    assert other.get_by_role("radio", name="Heat map").is_checked()


def test_an_address_that_leads_nowhere_says_so(app, page):
    page.goto(f"{app}/nowhere")
    page.wait_for_selector("text=Page not found")
    page.goto(f"{app}/cases?case=no/such/case")
    page.wait_for_selector("text=which is not here")


PAGES = ["", "?view=Heat+map", "causes", "models", "compare", "cases", "submit", "benchmark", "maintain"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(app, chromium, scheme):
    """WCAG A and AA, as far as axe-core can tell, headings in order; on a desktop, and on a phone in the dark."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    size = {"width": 1280, "height": 900} if scheme == "light" else {"width": 390, "height": 844}
    page = chromium.new_page(viewport=size, color_scheme=scheme)
    page.set_default_timeout(WAIT)
    found = []
    for name in PAGES:
        page.goto(f"{app}/{name}")
        settled(page)
        page.wait_for_timeout(1000)
        for rule in axe.run(page).response["violations"]:
            if rule["impact"] in ("serious", "critical") or rule["id"] == "heading-order":
                found += [(name, rule["id"], node["html"][:120]) for node in rule["nodes"]]
    page.close()
    assert not found


def test_no_page_asks_anybody_else_for_anything(app, page):
    asked = set()
    page.on("request", lambda request: asked.add(request.url.split("/")[2]))
    for name in PAGES:
        page.goto(f"{app}/{name}")
        settled(page)
    assert asked == {app.split("/")[2]}


def test_walk_to_a_case_by_keyboard(app, page, root):
    page.goto(app)
    settled(page)
    page.get_by_role("link", name="Cases").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The gates")
    settled(page)
    page.wait_for_function("document.querySelectorAll('[data-testid=\"stImage\"] img').length === 7", timeout=WAIT)
    first = page.url
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("first => location.href !== first", arg=first)
    settled(page)
    case = parse_qs(urlsplit(page.url).query)["case"][0]
    found = tables.cases().set_index("case_id").loc[case]
    assert page.get_by_text(found.question).first.is_visible()


@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_a_phone(app, chromium, name):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{app}/{name}")
    settled(page)
    width = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollWidth")
    assert width <= 390
    assert not page.locator('[data-testid="stException"]').count()
    page.close()


def test_on_a_phone_both_maps_of_a_method_stand_side_by_side(app, chromium):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(WAIT)
    page.goto(f"{app}/causes")
    settled(page)
    page.wait_for_function(  # until the pictures are there, and the page has stopped moving
        """() => {
          const methods = [...document.querySelectorAll('[class*="st-key-pictures_of"]')];
          return methods.length && methods.every((method) => {
            const [first, second] = [...method.querySelectorAll('img')].map((image) => image.getBoundingClientRect());
            const beside = second && first.width && first.top === second.top && first.right <= second.left;
            return beside && second.right <= 390;
          });
        }"""
    )
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["models", "?view=Heat+map", "benchmark"])
def test_no_label_is_cut_off_at_the_edge_of_its_chart(app, chromium, name, width):
    page = chromium.new_page(viewport={"width": width, "height": 844})
    for _ in range(3):  # how often a chart is laid out depends on when its parts arrive
        page.goto(f"{app}/{name}")
        settled(page)
        page.wait_for_timeout(1000)
        beyond = page.evaluate(
            """() => [...document.querySelectorAll('[data-testid=stVegaLiteChart] svg')].flatMap((chart) => {
                 const edge = chart.getBoundingClientRect().right + 2;
                 return [...chart.querySelectorAll('text')]
                   .filter((text) => text.getBoundingClientRect().right > edge).map((text) => text.textContent);
               })"""
        )
        assert not beyond
    page.close()


@pytest.fixture(scope="module")
def folder(tree, tmp_path_factory):
    """A repository that receives entries."""
    return shutil.copytree(tree, tmp_path_factory.mktemp("writable") / "tree")


@pytest.fixture(scope="module")
def open_app(folder):
    with serve(folder) as address:
        yield address


def upload(page, name: str, content: bytes) -> None:
    """Choose a file for the uploader of that name."""
    chooser = page.locator('[data-testid="stFileUploader"]', has_text=name).locator("input[type=file]")
    chooser.set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})


def by_card(page, address: str, entry) -> None:
    """Open Submit and give the card as a file."""
    page.goto(f"{address}/submit")
    settled(page)
    page.get_by_text("Upload entry.yaml").click()
    page.locator('[data-testid="stFileUploader"]', has_text="entry.yaml").wait_for()
    upload(page, "entry.yaml", (entry / "entry.yaml").read_bytes())


def hand_in(page, table: bytes, who: str | None = "a@example.org") -> None:
    """Choose the table, say who sends it where that is asked, and press the button of the form."""
    upload(page, "attributions.parquet", table)
    page.get_by_label("Remove attributions.parquet").wait_for()
    if who:
        page.get_by_role("textbox", name="Your e-mail").fill(who)
    page.get_by_role("button", name="Check and preview").click()


def test_broken_files_get_a_message_that_helps(open_app, page, folder, tree, tmp_path):
    entry = write_entry(tmp_path / "entry", tree)
    holes = write_entry(tmp_path / "holes", tree, first=float("nan"))
    by_card(page, open_app, entry)
    for content, said in (
        (b"not a table", "is not a readable Parquet file"),
        ((holes / "attributions.parquet").read_bytes(), "has NaN, empty or infinite values"),
    ):
        hand_in(page, content)
        page.wait_for_selector("text=Nothing was sent")
        page.get_by_text(said).first.wait_for()
        assert not page.get_by_role("button", name="Submit this entry").count()
        page.get_by_label("Remove attributions.parquet").click()
    assert not submission.receipts(folder / "submissions")


def test_a_full_memory_is_told_and_the_page_stays(folder, page, monkeypatch):
    """Where all visitors together hold as much as the machine gives them."""
    monkeypatch.setenv("MEDGROUND_UPLOADS", "1")
    with serve(folder) as address:
        page.goto(f"{address}/submit")
        settled(page)
        upload(page, "attributions.parquet", bytes(2 << 20))
        page.get_by_text("status code 503").wait_for()
        upload(page, "attributions.parquet", bytes(1 << 10))
        page.get_by_label("Remove attributions.parquet").first.wait_for()


def test_from_upload_to_a_rank(open_app, page, folder, tree, tmp_path):
    """Upload, preview, receipt; accepted on the command line and ranked by the pipeline; then on the board."""
    entry = write_entry(tmp_path / "entry", tree, method="Careful Look")
    by_card(page, open_app, entry)
    hand_in(page, (entry / "attributions.parquet").read_bytes())
    page.wait_for_selector("text=Preview on the dev cases")
    page.locator("button:enabled", has_text="Submit this entry").click()
    page.wait_for_selector("text=Its permanent id")
    name = page.locator("code", has_text=re.compile("^careful-look-")).first.text_content().strip()
    page.reload()  # the receipt survives
    page.wait_for_selector("text=waits for a maintainer")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the receipt").click()
    assert download.value.suggested_filename == f"{name}.json"

    medground = [sys.executable, "-c", "from medground.cli import main; main()"]
    done = subprocess.run([*medground, "accept", name], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rank(folder)
    page.goto(open_app)
    settled(page)
    assert len(cells(page, 0)) == len(METHODS) + 1 and "Careful Look" in cells(page, 0)
    page.get_by_role("button", name="reproduced here").click()
    page.get_by_role("button", name="floor").click()
    page.wait_for_function("() => !document.querySelector('[data-testid=stDataFrame]').textContent.includes('Random')")
    assert cells(page, 0) == ["Careful Look"]


def sign_in(page, address: str, name: str = "maintain") -> None:
    """Sign in on a page. The provider sends everyone to the first page; the app leads on: a maintainer to Maintain,
    anybody else to Submit."""
    page.goto(f"{address}/{name}")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("text=Sign out")
    settled(page)


def test_a_maintainer_signs_in_and_decides(folder, chromium, tree, tmp_path):
    """The whole OpenID Connect round, with a provider on loopback."""
    entry = write_entry(tmp_path / "entry", tree, seed=1, method="Second Look")
    monkey = pytest.MonkeyPatch()
    monkey.setenv("MEDGROUND_ROOT", str(folder))
    received = submission.receive(entry, tables.kept(), folder / "submissions", "b@example.org")
    monkey.undo()
    who, port = {"email": "guest@example.org", "email_verified": True}, free_port()
    with provider(who) as issuer:
        (tmp_path / ".streamlit").mkdir()
        (tmp_path / ".streamlit/secrets.toml").write_text(secrets(port, issuer))
        with serve(folder, tmp_path, port) as address:
            page = chromium.new_context().new_page()
            page.set_default_timeout(WAIT)
            sign_in(page, address)
            page.wait_for_url(f"{address}/submit")
            page.wait_for_selector("text=Signed in as guest@example.org")
            assert not page.get_by_role("link", name="Maintain", exact=True).count()
            page.goto(f"{address}/maintain")
            page.wait_for_selector("text=not as one of the maintainers")
            assert not page.get_by_role("button", name="Accept").count()
            who["email"] = "boss@example.org"
            page.get_by_role("button", name="Sign out").click()
            page.wait_for_url(f"{address}/")
            sign_in(page, address)
            page.wait_for_url(f"{address}/maintain")
            page.wait_for_selector("text=Signed in as boss@example.org")
            page.goto(address)
            settled(page)
            assert (
                page.locator("h1").text_content().startswith("Does the map")
            )  # only the sign-in itself leads to Maintain
            page.get_by_role("link", name="Maintain").first.click()
            page.get_by_role("button", name="Accept").click()
            page.wait_for_selector(f"text={received.id} is accepted")
            page.context.close()
    assert (folder / "submissions" / received.id).is_dir()
