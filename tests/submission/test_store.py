"""Entries are stored whole or not at all, once, and nothing mixes."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from medground import submission
from medground.errors import MedgroundError
from medground.scoring import score_entry
from medground.scoring.tables import read_attributions
from medground.submission import store
from medground.submission.schema import COLUMNS

pytestmark = pytest.mark.usefixtures("in_process")


def test_from_write_to_the_board(entry, cases, maps, tmp_path):
    root = tmp_path / "submissions"
    receipt = submission.receive(entry, cases, root, "me@example.org")
    assert receipt.id.startswith("mine-") and receipt.status == "quarantined"
    assert submission.accepted(root, cases) == []
    assert "me@example.org" not in json.dumps(receipt.__dict__)
    assert submission.accept(receipt.id, root).status == "accepted"
    (accepted,) = submission.accepted(root, cases)
    assert (accepted.name, accepted.kind, accepted.claimed) == (receipt.id, "submission", 0.4)
    accepted.check()
    stored = list(accepted.attributions())
    assert [row["case_id"] for row in stored] == list(maps)
    for row in stored:
        assert np.array_equal(row["grid"], maps[row["case_id"]].ravel().astype(np.float32))
    before = score_entry("x", read_attributions(entry / "attributions.parquet"), cases)
    assert score_entry("x", stored, cases) == before
    assert pq.read_schema(root / receipt.id / "attributions.parquet").equals(COLUMNS)
    assert sorted(path.name for path in root.glob("_*/*")) == []


@pytest.mark.parametrize("name", ["entry.yaml", "attributions.parquet"])
def test_what_changed_since_it_was_received_is_neither_accepted_nor_scored(name, entry, cases, maps, card, tmp_path):
    """Even where the change leaves a valid entry."""
    root = tmp_path / "s"
    receipt = submission.receive(entry, cases, root, "me")
    other = submission.write(
        tmp_path / "other", maps={case: -heat for case, heat in maps.items()}, **{**card, "claimed_iou": 0.9}
    )
    submission.prepare(other, cases, tmp_path / "prepared")
    (changed,) = (tmp_path / "prepared").glob(f"*/{name}")
    waiting = root / "_quarantine" / receipt.id / name
    whole = waiting.read_bytes()
    waiting.write_bytes(changed.read_bytes())
    with pytest.raises(MedgroundError, match="is not what was received"):
        submission.accept(receipt.id, root)
    waiting.write_bytes(whole)
    assert submission.accept(receipt.id, root).stored == receipt.stored != ""
    (accepted,) = submission.accepted(root, cases)
    accepted.check()
    (root / receipt.id / name).write_bytes(changed.read_bytes())
    with pytest.raises(MedgroundError, match=r"is not what was received.*restore it"):
        submission.accepted(root, cases)


def test_the_same_entry_is_received_once(entry, cases, tmp_path):
    first = submission.receive(entry, cases, tmp_path / "s", "a")
    with pytest.raises(MedgroundError, match=f"was received .* as {first.id} and is quarantined"):
        submission.receive(entry, cases, tmp_path / "s", "b")
    submission.reject(first.id, tmp_path / "s", "the licence is not one")
    with pytest.raises(MedgroundError, match="is rejected"):
        submission.receive(entry, cases, tmp_path / "s", "b")


def test_decisions_are_made_once_and_rejections_have_a_reason(entry, cases, tmp_path):
    root = tmp_path / "s"
    receipt = submission.receive(entry, cases, root, "a")
    with pytest.raises(MedgroundError, match="needs a reason"):
        submission.reject(receipt.id, root, " ")
    submission.reject(receipt.id, root, "claims =cmd()\n<b>")
    assert [(r.status, r.reason) for r in submission.receipts(root)] == [("rejected", "claims =cmd()\\n<b>")]
    for decide in (lambda: submission.accept(receipt.id, root), lambda: submission.reject(receipt.id, root, "again")):
        with pytest.raises(MedgroundError, match="is not in quarantine; it is rejected"):
            decide()
    with pytest.raises(MedgroundError, match="there is no entry"):
        submission.accept("unknown", root)
    for path in ("../../etc", "_quarantine", "a/b", ""):
        with pytest.raises(MedgroundError, match="is not the id of an entry"):
            submission.accept(path, root)


def variants(tmp_path, card, maps, count):
    return [submission.write(tmp_path / f"v{n}", maps=maps, **{**card, "version": str(n)}) for n in range(count)]


def test_limits_by_submitter_and_day(tmp_path, card, maps, cases, monkeypatch):
    root, folders = tmp_path / "s", variants(tmp_path, card, maps, 5)
    (folders[0] / "attributions.parquet").write_bytes(b"broken")
    for _ in range(4):  # failed attempts are free
        with pytest.raises(submission.Invalid) as caught:
            submission.receive(folders[0], cases, root, "me", per_day=2)
        assert "is not a readable Parquet file" in str(caught.value) and caught.value.report.problems
    submission.receive(folders[1], cases, root, "me", per_day=2)
    submission.receive(folders[2], cases, root, " ME ", per_day=2)
    with pytest.raises(MedgroundError, match="2 entries were received from you today"):
        submission.receive(folders[3], cases, root, "me", per_day=2)
    submission.receive(folders[3], cases, root, "someone else", per_day=2)

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2100, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(store, "datetime", Tomorrow)
    submission.receive(folders[4], cases, root, "me", per_day=2)
    assert len(submission.receipts(root)) == 4


def test_fifty_uploads_at_once(tmp_path, card, maps, cases):
    root, folders = tmp_path / "s", []
    for number in range(50):
        own = {case: heat + number for case, heat in maps.items()}
        folders.append(submission.write(tmp_path / f"v{number}", maps=own, **{**card, "version": str(number)}))
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda folder: submission.receive(folder, cases, root, folder.name), folders))
    assert len({receipt.id for receipt in found}) == 50
    for number, receipt in enumerate(found):
        stored = root / "_quarantine" / receipt.id
        assert f"version: '{number}'" in (stored / "entry.yaml").read_text()
        first = next(read_attributions(stored / "attributions.parquet"))
        assert np.array_equal(first["grid"], (maps[first["case_id"]] + number).ravel().astype(np.float32))
        assert json.loads((stored / "receipt.json").read_text())["id"] == receipt.id
    assert list((root / "_incoming").iterdir()) == []


UPLOAD = """
import json, sys
from medground.errors import MedgroundError
from medground import submission
from medground.submission import validator
validator._in_sandbox = lambda path, expected, cases: []
cases = json.loads(sys.argv[1])
for folder in sys.argv[3:]:
    try:
        print("stored", submission.receive(folder, cases, sys.argv[2], "me", per_day=3).id)
    except MedgroundError as error:
        print("refused", error)
"""


def test_processes_share_ids_and_limits(tmp_path, card, maps, cases):
    folders, root = variants(tmp_path, card, maps, 4), tmp_path / "s"
    command = [sys.executable, "-c", UPLOAD, json.dumps(cases), root]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    runs = [
        subprocess.Popen([*command, *order], stdout=subprocess.PIPE, text=True, env=environment)
        for order in (folders, folders[::-1])
    ]
    lines = [line for run in runs for line in run.communicate()[0].splitlines()]
    assert len(lines) == 8 and sum(line.startswith("stored") for line in lines) == 3, lines
    assert len(submission.receipts(root)) == 3


def test_a_crash_leaves_nothing_behind(entry, cases, tmp_path, monkeypatch):
    root = tmp_path / "s"

    def crash(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.os, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        submission.receive(entry, cases, root, "me")
    assert submission.receipts(root) == [] and list(root.glob("_*/*")) == []
    monkeypatch.undo()


def test_what_a_killed_process_left_is_swept(entry, cases, tmp_path):
    root = tmp_path / "s"
    for name, age in (("old", 2 * 86400), ("new", 60)):
        (root / "_incoming" / name).mkdir(parents=True)
        then = datetime.now().timestamp() - age
        os.utime(root / "_incoming" / name, (then, then))
    submission.receive(entry, cases, root, "me")
    assert [path.name for path in (root / "_incoming").iterdir()] == ["new"]


def test_entries_that_came_by_pull_request(entry, cases, tmp_path):
    root = tmp_path / "s"
    prepared = submission.prepare(entry, cases, root)
    (there,) = submission.accepted(root, cases)
    there.check()
    assert there.name == prepared.name
    with pytest.raises(MedgroundError, match="exists; delete it"):
        submission.prepare(entry, cases, root)
    (prepared / "entry.yaml").write_text("method: x\n")
    with pytest.raises(MedgroundError, match=r"is not valid; correct or remove it:\s+entry\.yaml version: is missing"):
        submission.accepted(root, cases)[0].check()
    (prepared / "run.py").write_text("")
    with pytest.raises(MedgroundError, match=r"run.py: does not belong"):
        submission.accepted(root, cases)
    (root / "Not an id").mkdir()
    with pytest.raises(MedgroundError, match="rename it"):
        submission.accepted(root, cases)


def test_an_entry_that_was_not_prepared_is_refused(entry, cases, tmp_path):
    import pandas as pd

    folder = tmp_path / "s" / "mine"
    folder.parent.mkdir()
    entry.rename(folder)
    table = pd.read_parquet(folder / "attributions.parquet")[["case_id", "grid", "grid_height", "grid_width"]]
    table.to_parquet(folder / "attributions.parquet")
    with pytest.raises(MedgroundError, match="is not as `medground submit` writes it"):
        submission.accepted(tmp_path / "s", cases)[0].check()
