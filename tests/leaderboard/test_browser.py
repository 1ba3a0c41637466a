"""The app in a real Chromium: what a visitor, an author and a maintainer do."""

import re
import shutil
import subprocess
import sys

import pytest

from leaderboard import tables
from medground import submission
from tests.leaderboard.browser import ARGUMENTS, CHROMIUM, MISSING, WAIT, free_port, serve, settled
from tests.leaderboard.fixture import METHODS, rank, write_entry
from tests.leaderboard.provider import CLIENT, provider

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
    page.wait_for_function("document.querySelectorAll('[data-testid=\"stImage\"] img').length === 7", timeout=WAIT)
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


def test_broken_files_get_a_message_that_helps(open_app, page, folder, tree, tmp_path):
    entry = write_entry(tmp_path / "entry", tree)
    holes = write_entry(tmp_path / "holes", tree, first=float("nan"))
    by_card(page, open_app, entry)
    for content, said in (
        (b"not a table", "is not a readable Parquet file"),
        ((holes / "attributions.parquet").read_bytes(), "has NaN, empty or infinite values"),
    ):
        upload(page, "attributions.parquet", content)
        page.wait_for_selector("text=Nothing was sent")
        page.locator('[data-testid="stDataFrame"] td', has_text=said).first.wait_for(state="attached")
        assert not page.get_by_role("button", name="Submit this entry").count()
        page.get_by_label("Remove attributions.parquet").click()
        page.wait_for_selector("text=Choose your files")
    assert not submission.receipts(folder / "submissions")


def test_from_upload_to_a_rank(open_app, page, folder, tree, tmp_path):
    """Upload, preview, receipt; accepted on the command line and ranked by the pipeline; then on the board."""
    entry = write_entry(tmp_path / "entry", tree, method="Careful Look")
    by_card(page, open_app, entry)
    upload(page, "attributions.parquet", (entry / "attributions.parquet").read_bytes())
    page.wait_for_selector("text=Preview on the dev cases")
    page.get_by_role("textbox", name="Your e-mail").fill("a@example.org")
    page.get_by_role("textbox", name="Your e-mail").press("Enter")
    page.locator("button:enabled", has_text="Submit this entry").click()
    page.wait_for_selector("text=Its permanent id")
    name = page.locator("code", has_text=re.compile("^careful-look-")).first.text_content().strip()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the receipt").click()
    assert download.value.suggested_filename == f"{name}.json"

    medground = [sys.executable, "-c", "from medground.cli import main; main()"]
    done = subprocess.run([*medground, "accept", name], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rank(folder)
    page.goto(open_app)
    settled(page)
    assert set(cells(page, 0)) == {*METHODS, name}
    page.get_by_role("button", name="Methods").click()
    page.get_by_role("button", name="Floors").click()
    page.wait_for_function("() => !document.querySelector('[data-testid=stDataFrame]').textContent.includes('random')")
    assert cells(page, 0) == [name]


def sign_in(page, address: str) -> None:
    """Sign in on Maintain. The provider sends everyone to the first page; the app leads back to where it began."""
    page.goto(f"{address}/maintain")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("text=Sign out")
    page.wait_for_url(f"{address}/maintain")
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
        secrets = f"""
            [auth]
            redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
            cookie_secret = "a cookie secret that only this test knows"
            client_id = "{CLIENT}"
            client_secret = "a client secret that only this test knows"
            server_metadata_url = "{issuer}/.well-known/openid-configuration"
            [maintain]
            emails = ["boss@example.org"]
            """
        (tmp_path / ".streamlit").mkdir()
        (tmp_path / ".streamlit/secrets.toml").write_text(secrets)
        with serve(folder, tmp_path, port) as address:
            page = chromium.new_context().new_page()
            page.set_default_timeout(WAIT)
            sign_in(page, address)
            page.wait_for_selector("text=not as one of the maintainers")
            assert not page.get_by_role("button", name="Accept").count()
            who["email"] = "boss@example.org"
            page.get_by_role("button", name="Sign out").click()
            page.wait_for_url(f"{address}/")
            sign_in(page, address)
            page.wait_for_selector("text=Signed in as boss@example.org")
            page.goto(address)
            settled(page)
            assert page.locator("h1").text_content() == "Leaderboard"  # only the sign-in itself leads to Maintain
            page.get_by_role("link", name="Maintain").click()
            page.get_by_role("button", name="Accept").click()
            page.wait_for_selector(f"text={received.id} is accepted")
            page.context.close()
    assert (folder / "submissions" / received.id).is_dir()
