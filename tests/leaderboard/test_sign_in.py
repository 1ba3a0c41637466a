"""The folder of the Space in an environment of its own: somebody signs in, sends an entry, and sees it on the board."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.leaderboard.browser import ARGUMENTS, CHROMIUM, MISSING, WAIT, _wait, free_port, settled
from tests.leaderboard.conftest import REPOSITORY
from tests.leaderboard.fixture import write_entry
from tests.leaderboard.provider import provider, secrets
from tests.leaderboard.test_browser import by_card, cells, hand_in, sign_in

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason=MISSING)]
assemble = runpy.run_path(str(REPOSITORY / "space/assemble.py"))["assemble"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The folder of programs of a new environment that has what the Space's requirements name, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(folder / "bin/pip"), "install", "-q", "-r", str(REPOSITORY / "space/requirements.txt")]
    done = subprocess.run([*command, "-c", str(REPOSITORY / "constraints.txt")], capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stderr and "from versions: none" in done.stderr:
        pytest.skip("no package index is reached")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture
def space(tree, tmp_path):
    """The folder that is deployed on a machine of one's own, of the small tree: it has what ranking needs."""
    root = shutil.copytree(tree, tmp_path / "repository")
    for name in ("medground", "leaderboard", "space", "stages"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".streamlit").mkdir()
    shutil.copy(REPOSITORY / ".streamlit/config.toml", root / ".streamlit")
    assemble(root, tmp_path / "space", private=True)
    return tmp_path / "space"


@contextmanager
def started(space, programs, port: int, issuer: str):
    """The Space, started as its Dockerfile starts it."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    said = {
        "STREAMLIT_SECRETS": secrets(port, issuer),
        "PORT": str(port),
        "PYTHONPATH": str(space),
        "MEDGROUND_ROOT": str(space),
    }
    said["PATH"] = f"{programs}:{os.environ['PATH']}"
    with subprocess.Popen([str(programs / "python"), "space/start.py"], cwd=space, env={**kept, **said}) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def test_sign_in_submit_accept_and_rank_on_a_space(space, environment, tree, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    entry = write_entry(tmp_path / "entry", tree, method="Careful Look")
    who, port = {"email": "author@example.org", "email_verified": True}, free_port()
    with (
        provider(who) as issuer,
        started(space, environment, port, issuer) as address,
        sync_api.sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(2 * WAIT)
        sign_in(page, address, "submit")
        page.wait_for_selector("text=Signed in as author@example.org")
        by_card(page, address, entry)
        hand_in(page, (entry / "attributions.parquet").read_bytes(), who=None)
        page.get_by_role("button", name="Submit this entry").click()
        page.wait_for_selector("text=Its permanent id")
        name = page.locator("code", has_text=re.compile("^careful-look-")).first.text_content().strip()
        assert not page.get_by_role("link", name="Maintain", exact=True).count()
        who["email"] = "boss@example.org"
        page.goto(f"{address}/submit")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{address}/")
        sign_in(page, address, "maintain")
        page.wait_for_selector("text=from author@example.org")
        page.get_by_role("button", name="Accept").click()
        page.wait_for_selector(f"text={name} is accepted")
        page.get_by_role("button", name="Score and rank again").click()
        page.wait_for_selector("text=score and rank is done", timeout=4 * WAIT)
        assert not page.get_by_role("button", name="Publish").count()  # what sends it is not here
        page.goto(address)
        settled(page)
        assert "Careful Look" in cells(page, 0)
        browser.close()
