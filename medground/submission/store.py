"""Entries as folders: received into quarantine, accepted onto the board, or rejected with a reason.

``submissions/<id>`` are on the board, ``submissions/_quarantine/<id>`` wait for a maintainer and
``submissions/_rejected/<id>`` are kept with the reason. Every change of place is one rename on one file system: a
crash, or two at once, leave a whole entry or none. The id is permanent: it comes from what was sent.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from filelock import FileLock, Timeout

from ..errors import MedgroundError
from ..scoring.entries import Entry
from ..scoring.tables import read_attributions
from .reader import file_problems, open_plain, read_card, read_plain, read_receipt
from .restricted import confined, pixels_may_leave, source_of
from .schema import CARD, COLUMNS, MAX_CARD_BYTES, MAX_TABLE_BYTES, RECEIPT, TABLE, card_problems, shown
from .validator import Report, validate
from .writer import write_rows

PER_DAY = 5
MAX_WAITING, MAX_WAITING_BYTES = 200, 20 << 30  # entries in quarantine, of all submitters together
QUARANTINE, REJECTED, INCOMING = "_quarantine", "_rejected", "_incoming"
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_PATIENCE = 60  # seconds to wait for the lock
_STALE = 24 * 3600  # seconds after which a folder that a crash left in _incoming is removed


class Invalid(MedgroundError):
    """What was sent has problems; ``report`` lists them. It is stored nowhere and counts towards no limit."""

    def __init__(self, report: Report):
        self.report = report
        super().__init__(f"the entry has {len(report.problems)} problems and was not stored:\n{report.text()}")


@dataclass(frozen=True)
class Receipt:
    """What a submitter gets. ``submitter`` is a digest of who they are, ``received`` a time in UTC, ``sha256`` that
    of the table as it was sent, ``stored`` that of card and table as they are kept here. The folder's place is its
    ``status``: quarantined, accepted, or rejected for the ``reason``."""

    id: str
    received: str
    submitter: str
    sha256: str
    status: str = "quarantined"
    reason: str = ""
    stored: str = ""


def receive(
    folder: Path | str,
    cases: Sequence[Mapping],
    root: Path | str,
    submitter: str,
    per_day: int = PER_DAY,
    reports: Mapping[str, Report] | None = None,
) -> Receipt:
    """Copy, validate and store an entry in quarantine, its table rewritten with the columns of `records.ATTRIBUTIONS`.

    ``submitter`` is any text that tells people apart, such as an e-mail address; only its digest is kept. ``reports``
    are those of entries that were validated already, by their `digest`: what is sent is not validated again where its
    bytes are those of one of them.

    Raises `Invalid` where the validator finds a problem, MedgroundError where the same entry was sent before, the
    submitter has had ``per_day`` entries stored since midnight UTC, or the quarantine is full.
    """
    folder, root = Path(folder), Path(root)
    with _writable(root):
        (root / INCOMING).mkdir(parents=True, exist_ok=True)
        _sweep(root / INCOMING)
        staged = Path(tempfile.mkdtemp(dir=root / INCOMING))
    try:
        if file_problems(folder):
            raise Invalid(validate(folder, cases))
        for name in (CARD, TABLE):
            shutil.copyfile(folder / name, staged / name)
        known = (reports or {}).get(digest(staged))  # of the copy, which nobody else can change
        report = known or validate(staged, cases)
        if not report.valid or report.card is None:
            raise Invalid(report)
        receipt = _receipt_for(staged, report.card["method"], submitter)
        _rewrite(staged, report.card)
        receipt = replace(receipt, stored=digest(staged))
        (staged / RECEIPT).write_text(json.dumps(asdict(receipt), indent=1) + "\n")
        with _locked(root):
            _admit(receipt, receipts(root), per_day)
            _make_room(root, staged)
            _move(staged, root / QUARANTINE / receipt.id)
        return receipt
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def prepare(folder: Path | str, cases: Sequence[Mapping], out: Path | str) -> Path:
    """Validate an entry and write it as ``out/<id>``, ready for a pull request.

    ``out`` is absent, empty, or a folder of entries, to which one is added. Raises `Invalid`, or MedgroundError where
    ``out`` is anything else, cannot be written, or has the entry.
    """
    out = Path(out)
    _check_entries(out)
    report = validate(folder, cases)
    if not report.valid or report.card is None:
        raise Invalid(report)
    receipt = _receipt_for(Path(folder), report.card["method"], "")
    target = out / receipt.id
    if target.exists():
        raise MedgroundError(f"{target} exists; delete it to write it again")
    with _writable(out):
        out.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=out, prefix="."))
    try:
        for name in (CARD, TABLE):
            shutil.copyfile(Path(folder) / name, staged / name)
        _rewrite(staged, report.card)
        _move(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def _check_entries(out: Path) -> None:
    """Raise MedgroundError unless ``out`` is absent, empty or a folder of entries and nothing else."""
    remedy = "; entries go into a folder of their own, such as submissions"
    with _writable(out):
        if not os.path.lexists(out):
            return
        if not out.is_dir():
            raise MedgroundError(f"{out} is not a folder{remedy}")
        for path in sorted(out.iterdir()):
            known = path.name[0] in "._" or path.name == "README.md"
            if not known and not (path.is_dir() and (path / CARD).is_file()):
                raise MedgroundError(f"{out} holds {path.name}, which is no entry{remedy}")


def accept(entry: str, root: Path | str) -> Receipt:
    """Take an entry out of quarantine onto the board; `dvc repro` then scores it.

    Raises MedgroundError where it is not in quarantine, or no longer what was received.
    """
    root = Path(root)
    with _locked(root):
        folder = _quarantined(entry, root)
        _untouched(folder)
        _move(folder, root / entry)
    return _receipt(root / entry)


def reject(entry: str, root: Path | str, reason: str) -> Receipt:
    """Keep an entry off the board for a reason, which is stored with it and must say something."""
    root = Path(root)
    if not reason.strip():
        raise MedgroundError("a rejection needs a reason; say what the author can do about it")
    with _locked(root):
        folder = _quarantined(entry, root)
        receipt = {**asdict(_receipt(folder)), "reason": shown(reason.strip(), 500)}
        (folder / f"{RECEIPT}.new").write_text(json.dumps(receipt, indent=1) + "\n")
        os.replace(folder / f"{RECEIPT}.new", folder / RECEIPT)
        _move(folder, root / REJECTED / entry)
    return _receipt(root / REJECTED / entry)


def receipts(root: Path | str) -> list[Receipt]:
    """Of all entries that were received here, the latest first. Raises MedgroundError naming one that is damaged."""
    folders = [
        path.parent
        for where in ("", QUARANTINE, REJECTED)
        for path in (Path(root) / where).glob(f"*/{RECEIPT}")
        if _ID.fullmatch(path.parent.name)
    ]
    found = [_receipt(folder) for folder in folders]
    return sorted(found, key=lambda receipt: (receipt.received, receipt.id), reverse=True)


def place(entry: str, root: Path | str) -> Path:
    """The folder of an entry, wherever it stands. Raises MedgroundError where there is none of that id."""
    root = Path(root)
    if not _ID.fullmatch(entry):
        raise MedgroundError(f"{shown(entry)!r} is not the id of an entry; ids look like my-method-0123456789ab")
    for folder in (root / entry, root / QUARANTINE / entry, root / REJECTED / entry):
        if folder.is_dir():
            return folder
    waiting = ", ".join(receipt.id for receipt in receipts(root) if receipt.status == "quarantined")
    raise MedgroundError(f"there is no entry {entry} in {root}; in quarantine: {waiting or 'none'}")


def accepted(root: Path | str, cases: Sequence[Mapping]) -> list[Entry]:
    """The entries on the board; each is validated once more before its table is read.

    Raises MedgroundError naming a folder that is not an entry, or no longer what was received.
    """
    folders = sorted(path for path in Path(root).glob("*") if path.is_dir() and path.name[0] not in "._")
    return [_entry(folder, cases) for folder in folders]


def _entry(folder: Path, cases: Sequence[Mapping]) -> Entry:
    if not _ID.fullmatch(folder.name):
        raise MedgroundError(f"{folder}: the folder of an entry has a name of a-z, 0-9, dots and dashes; rename it")
    card, unread = read_card(folder)
    problems = file_problems(folder) or unread
    if not isinstance(card, dict):
        problems = problems or card_problems(card, set(), set())
    if problems or not isinstance(card, dict):
        raise MedgroundError(f"{folder} is not an entry; correct or remove it:\n{Report(None, problems).text()}")
    _untouched(folder)

    def check() -> None:
        report = validate(folder, cases)
        if not report.valid:
            raise MedgroundError(f"{folder} is not valid; correct or remove it:\n{report.text()}")
        if not pq.read_schema(folder / TABLE).equals(COLUMNS):
            raise MedgroundError(
                f"{folder / TABLE} is not as `medground submit` writes it; prepare the folder with that"
            )

    return Entry(folder.name, "submission", (folder / TABLE,), _claimed(card), check)


def _claimed(card: dict) -> float | None:
    """The mean IoU that a card claims; None where it claims none, or what is no such number."""
    claimed = card.get("claimed_iou")
    if isinstance(claimed, int | float) and not isinstance(claimed, bool) and 0 <= claimed <= 1:
        return float(claimed)
    return None


def _untouched(folder: Path) -> None:
    """Raise MedgroundError where a received entry is no longer what was stored; of pull requests, git keeps that."""
    stored = _receipt(folder).stored
    if stored and digest(folder) != stored:
        raise MedgroundError(
            f"{folder} is not what was received: {CARD} or {TABLE} changed since; restore it from a copy, or remove it"
        )


def digest(folder: Path) -> str:
    """SHA-256 of the card and the table of an entry.

    Raises MedgroundError where they are not plain files of an acceptable size.
    """
    card, problems = read_plain(folder / CARD, MAX_CARD_BYTES)
    if problems:
        raise MedgroundError(f"{folder} is not an entry; correct or remove it:\n{Report(None, problems).text()}")
    return hashlib.sha256(card + _sha256(folder / TABLE).encode()).hexdigest()


def _sha256(path: Path) -> str:
    handle, problems = open_plain(path, MAX_TABLE_BYTES)
    if handle is None:
        raise MedgroundError(f"{path.parent} is not an entry; correct or remove it:\n{Report(None, problems).text()}")
    with os.fdopen(handle, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _receipt_for(folder: Path, method: str, submitter: str) -> Receipt:
    slug = re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-")[:60] or "entry"
    who = hashlib.sha256(submitter.strip().lower().encode()).hexdigest()[:16]
    return Receipt(
        f"{slug}-{digest(folder)[:12]}", datetime.now(UTC).isoformat(timespec="seconds"), who, _sha256(folder / TABLE)
    )


def _admit(receipt: Receipt, known: Sequence[Receipt], per_day: int) -> None:
    for other in known:
        if other.id == receipt.id:
            raise MedgroundError(f"this entry was received {other.received} as {other.id} and is {other.status}")
    day = receipt.received[:10]
    today = sum(other.submitter == receipt.submitter and other.received[:10] == day for other in known)
    if today >= per_day:
        raise MedgroundError(
            f"{today} entries were received from you today, {per_day} are the limit; try tomorrow (UTC)"
        )


def _make_room(root: Path, staged: Path) -> None:
    """Raise MedgroundError where one more entry would be more than the quarantine holds."""
    waiting = [path for path in (root / QUARANTINE).glob("*") if path.is_dir()]
    held = sum(file.stat().st_size for path in (*waiting, staged) for file in path.iterdir())
    if len(waiting) >= MAX_WAITING or held > MAX_WAITING_BYTES:
        raise MedgroundError(
            f"{len(waiting)} entries wait for a maintainer, as many as are held; try again when some were decided, or "
            "open a pull request"
        )


def _rewrite(folder: Path, card: dict) -> None:
    """The card and the table in our own writing: nothing that was not read and checked is stored, and of films that may
    not be published no more than `restricted` allows."""
    rows = read_attributions(folder / TABLE, COLUMNS.names)
    bounded = (row if pixels_may_leave(source_of(row["case_id"])) else confined(row) for row in rows)
    write_rows(bounded, folder / TABLE)
    (folder / CARD).write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True))


def _quarantined(entry: str, root: Path) -> Path:
    folder = place(entry, root)
    if folder.parent.name != QUARANTINE:
        raise MedgroundError(f"{entry} is not in quarantine; it is {_receipt(folder).status}")
    return folder


def _receipt(folder: Path) -> Receipt:
    status = {QUARANTINE: "quarantined", REJECTED: "rejected"}.get(folder.parent.name, "accepted")
    told, problems = read_receipt(folder)
    if problems:
        raise MedgroundError(f"{folder / RECEIPT} cannot be used:\n{Report(None, problems).text()}")
    if not told:
        return Receipt(folder.name, "", "", "", status)  # came by pull request
    try:
        return Receipt(**{**told, "status": status})
    except TypeError as error:
        raise MedgroundError(f"{folder / RECEIPT} is damaged ({error}); delete it or restore it from git") from None


def _move(source: Path, target: Path) -> None:
    """One rename, after what it moves is on the disk."""
    for path in (*source.iterdir(), *([source] if os.name == "posix" else [])):  # elsewhere a folder cannot be opened
        handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    source.chmod(0o755)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
    except OSError as error:
        raise MedgroundError(f"{target} cannot be written: {error.strerror}; is there an entry of that id?") from None


def _sweep(incoming: Path) -> None:
    for folder in incoming.iterdir():
        with suppress(FileNotFoundError):  # another process swept it
            if time.time() - folder.stat().st_mtime > _STALE:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One change of places at a time, over threads and processes."""
    with _writable(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".lock", timeout=_PATIENCE)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writable(root: Path) -> Iterator[None]:
    """Say that the folder of entries cannot be written where it cannot."""
    try:
        yield
    except Timeout:
        raise MedgroundError(f"{root} has been locked for {_PATIENCE} seconds by another process; try again") from None
    except OSError as error:
        raise MedgroundError(
            f"{root} cannot be written ({error.strerror}); name a folder that you may write to"
        ) from None
