"""Publish the folder as a dataset on the Hugging Face Hub: one commit, verified by downloading it, then tagged."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_token,
    snapshot_download,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import DatasetInfo, RepoFile

from .. import folders
from ..errors import MedgroundError
from . import changes, croissant, guard
from .facts import REPO
from .tables import CONFIGS

T = TypeVar("T")
MARK = "medground"  # the tag in the card that tells our datasets from others of the same name


Content = Path | bytes  # of a file that is sent
Sent = Mapping[str, Content]  # by path in the repository


@dataclass(frozen=True)
class Difference:
    """What a commit would change: paths in the repository, sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def lines(self, sent: Sent) -> list[str]:
        """One line a file, ``+`` added, ``~`` changed, ``-`` removed, and a sum."""
        signs = {path: "+" for path in self.added} | {path: "~" for path in self.changed}
        sizes = {path: _size(sent[path]) for path in signs}
        lines = [f"  {signs[path]} {path} ({sizes[path]:,} bytes)" for path in sorted(signs)]
        lines += [f"  - {path}" for path in self.removed]
        return [
            *lines,
            f"{len(self.added)} to add, {len(self.changed)} to change, {len(self.removed)} to remove, "
            f"{len(self.unchanged)} unchanged; {sum(sizes.values()):,} bytes to compare and send",
        ]


@dataclass(frozen=True)
class Published:
    """What is on the Hub now."""

    repo: str
    commit: str
    tag: str
    url: str


def publish(
    folder: Path | str,
    repo: str,
    *,
    private: bool = False,
    revision: str = "main",
    tag: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
    agree: Callable[[], bool] = lambda: True,
) -> Published | None:
    """Bring the dataset ``repo`` (``ORG/NAME``) to what ``folder`` holds; None where it was not to be, or not agreed.

    What may not leave is refused before the network is touched. The difference, in files, rows and scores, is told
    through ``say``, then ``agree`` decides. All changes are one commit, made on a branch of its own first; it is
    downloaded again and compared by sha256, and only then the branch ``revision`` moves to the same files, and is
    tagged with ``tag``, by default the git commit of the code. After a failure the same call goes on: files that
    arrived are not sent again. A dry run refuses nothing, needs no token, and says what a real one would object to.

    Raises MedgroundError, each with its remedy: a licence that refuses, no or a wrong token, missing rights, a name
    that is taken, a tag that is taken, a rate limit, no network, a download that differs.
    """
    folder = Path(folder)
    if not (folder / "README.md").is_file():
        raise MedgroundError(f"{folder} is not an exported folder; run `medground export`")

    def objected(check: Callable[[], T]) -> T | None:
        """What a check gives; in a dry run its objection is told, and None given."""
        try:
            return check()
        except MedgroundError as error:
            if not dry_run:
                raise
            say(f"would be refused: {error}")
            return None

    objected(lambda: guard.check(folder))
    name = tag or (objected(git_commit) or "")[:12]

    def work() -> Published | None:
        with explained(repo, needs_token=not dry_run):
            return _publish(HfApi(), folder, repo, private, revision, name, dry_run, say, agree)

    done = objected(work)
    if dry_run:
        say("dry run: nothing was sent")
    return done


def _publish(api: HfApi, folder, repo, private, revision, tag, dry_run, say, agree) -> Published | None:
    user = api.whoami()["name"] if get_token() else "nobody (no token)"
    remote = _remote(api, repo, private)
    branch, head = _head(api, repo, revision) if remote else (False, None)
    files = _files(api, repo, head) if head else {}
    _check_owner(repo, remote, files)
    sent = contents(folder, repo, api.endpoint)
    difference = compare(sent, files)
    tagged = _tagged(api, repo, tag) if remote else None
    say(f"{repo} on {api.endpoint} as {user}: " + (f"{revision} at {head[:12]}" if head else "a new dataset"))
    say("\n".join(difference.lines(sent)))
    for line in changes.told(folder, repo, head, difference.changed) if head else ():
        say(line)
    if tagged and (difference or tagged != head):
        raise MedgroundError(
            f"{repo} already has the tag {tag!r}, on another version; give this one another name with --tag, or commit "
            "your changes to git first"
        )
    if dry_run:
        return None
    if (difference or not tagged) and not agree():
        say("nothing was sent")
        return None
    if head is None:
        api.create_repo(repo, repo_type="dataset", private=private)
        head = _commit(api.dataset_info(repo))
        branch = revision == constants.DEFAULT_REVISION
    if (folder / "README.md").read_text().count("extra_gated_prompt"):
        api.update_repo_settings(repo, repo_type="dataset", gated="auto")
    if not branch:
        api.create_branch(repo, repo_type="dataset", branch=revision)
    if difference:
        head = _moved(api, repo, revision, head, sent, difference, f"Version {tag}")
    else:
        _verify(sent, repo, head)
    if not tagged:
        api.create_tag(repo, repo_type="dataset", tag=tag, revision=head, tag_message=f"Made by the code at {tag}")
    return Published(repo, head, tag, f"{api.endpoint}/datasets/{repo}/tree/{tag}")


def _moved(api: HfApi, repo: str, revision: str, head: str, sent: Sent, difference: Difference, message: str) -> str:
    """Commit to a branch of its own, verify it, and bring ``revision`` to the same files; its new commit."""
    staging = f"upload-{head[:12]}"
    with suppress(HfHubHTTPError):  # left by a run that was stopped
        api.delete_branch(repo, repo_type="dataset", branch=staging)
    api.create_branch(repo, repo_type="dataset", branch=staging, revision=head)

    def commit(branch: str) -> str:
        return api.create_commit(
            repo,
            _operations(sent, difference),
            commit_message=message,
            repo_type="dataset",
            revision=branch,
            parent_commit=head,
        ).oid

    _verify(sent, repo, commit(staging))
    moved = commit(revision)  # nothing is sent again but small texts
    if compare(sent, _files(api, repo, moved)):
        raise MedgroundError(
            f"{repo} at {moved[:12]} does not hold what was verified; it was not tagged, publish again"
        )
    api.delete_branch(repo, repo_type="dataset", branch=staging)
    return moved


def contents(folder: Path, repo: str, endpoint: str) -> dict[str, Content]:
    """What is sent of a folder: its files; in texts, the name of the dataset in the place of `facts.REPO`, and
    addresses that can be followed from anywhere."""
    found: dict[str, Content] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / folders.MARK):
        name = path.relative_to(folder).as_posix()
        found[name] = path
        if name in guard.TEXTS:
            text = path.read_text(encoding="utf-8").replace(REPO, repo)
            if name == "croissant.json":
                text = croissant.addressed(text, f"{endpoint}/datasets/{repo}/resolve/main")
            found[name] = text.encode()
    return found


def compare(sent: Sent, remote: dict[str, RepoFile]) -> Difference:
    """What is sent against the files of a commit. Files that this package does not write are left alone."""
    changed = [path for path in sent if path in remote and not _same(sent[path], remote[path])]
    return Difference(
        added=[path for path in sent if path not in remote],
        changed=changed,
        removed=sorted(path for path in remote if path not in sent and _is_ours(path)),
        unchanged=[path for path in sent if path in remote and path not in changed],
    )


def git_commit() -> str:
    """The commit of the code, which names the version. Raises MedgroundError where there is none to name."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    if changed:
        raise MedgroundError(
            "the code has changes that no git commit holds, so none can name this version; commit them, or give --tag"
        )
    return _git("rev-parse", "HEAD")


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        raise MedgroundError("this is no git checkout, so no commit names this version; give --tag") from None


def _remote(api: HfApi, repo: str, private: bool):
    """What the Hub knows about the dataset, None where there is none that we can see."""
    try:
        info = api.dataset_info(repo)
    except RepositoryNotFoundError:
        return None
    if private and not info.private:
        raise MedgroundError(
            f"{repo} exists and is public; make it private in its settings on the Hub first, or leave --private out"
        )
    return info


def _head(api: HfApi, repo: str, revision: str) -> tuple[bool, str]:
    """Whether the branch exists, and the commit to build on: its own, or that of the main branch."""
    try:
        return True, _commit(api.dataset_info(repo, revision=revision))
    except RevisionNotFoundError:
        return False, _commit(api.dataset_info(repo))


def _commit(info: DatasetInfo) -> str:
    if info.sha is None:
        raise MedgroundError(f"the Hub names no commit of {info.id}; try again, or look at it there")
    return info.sha


def _files(api: HfApi, repo: str, commit: str, repo_type: str = "dataset") -> dict[str, RepoFile]:
    tree = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type=repo_type)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def _check_owner(repo: str, remote, files: dict[str, RepoFile]) -> None:
    """An existing dataset must be ours, or empty."""
    if remote is None or not set(files) - {".gitattributes"}:
        return
    card = remote.card_data
    if not card or MARK not in (card.tags or []):
        raise MedgroundError(
            f"the name {repo} is taken: it holds a dataset that medground did not make. Nothing was changed; choose "
            "another --repo"
        )


def _tagged(api: HfApi, repo: str, tag: str) -> str | None:
    refs = api.list_repo_refs(repo, repo_type="dataset")
    return next((ref.target_commit for ref in refs.tags if ref.name == tag), None)


def _operations(sent: Sent, difference: Difference) -> list[CommitOperationAdd | CommitOperationDelete]:
    send = [CommitOperationAdd(path, sent[path]) for path in sorted(difference.added + difference.changed)]
    return send + [CommitOperationDelete(path) for path in difference.removed]


def _verify(sent: Sent, repo: str, commit: str, repo_type: str = "dataset") -> None:
    """Download a commit and compare every file with what was sent."""
    with tempfile.TemporaryDirectory() as download:
        snapshot_download(repo, repo_type=repo_type, revision=commit, local_dir=download)
        wrong = [path for path, content in sent.items() if _sha256(content) != _sha256(Path(download) / path)]
    if wrong:
        raise MedgroundError(
            f"{repo} at {commit[:12]} does not hold what was sent: {', '.join(wrong)}; it was not tagged, publish again"
        )


def _is_ours(path: str) -> bool:
    """Whether a file is of the kind that `folder.build` writes."""
    top, _, rest = path.partition("/")
    return (top in CONFIGS and rest.endswith(".parquet")) or path in (*guard.RECORDS, *guard.TEXTS)


def _same(content: Content, remote: RepoFile) -> bool:
    if _size(content) != remote.size:
        return False
    if remote.lfs:
        return _sha256(content) == remote.lfs.sha256
    data = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == remote.blob_id


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _sha256(content: Content) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    if not content.is_file():
        return ""
    with open(content, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def explained(repo: str, *, needs_token: bool = True) -> Iterator[None]:
    """Turn what the Hub, the network and the client raise into one message with its remedy; tokens never show."""
    try:
        if repo.count("/") != 1:
            raise MedgroundError(f"{repo!r} is not the name of a dataset; write ORG/NAME")
        if needs_token and not get_token():
            raise MedgroundError("no Hugging Face token was found; run `hf auth login`, or set HF_TOKEN")
        yield
    except MedgroundError:
        raise
    except HFValidationError as error:
        raise MedgroundError(f"{repo!r} is not the name of a dataset: {error}") from None
    except Exception as error:
        message = _explain(repo, error)
        if message is None:
            raise
        raise MedgroundError(message.replace(get_token() or "\0", "***")) from None


def _explain(repo: str, error: BaseException) -> str | None:
    """The message for an error, found in its chain of causes; None for one that is a fault of the program."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            return _explain_status(repo, cause)
        if isinstance(cause, httpx2.TransportError | OfflineModeIsEnabled | LocalEntryNotFoundError):
            return (
                f"the Hub at {constants.ENDPOINT} is out of reach, or the connection broke ({type(cause).__name__}); "
                "check the network, then run the same command: files that arrived are not sent again"
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, ValueError) and "metadata in README.md" in str(error):
        return f"the Hub does not accept the dataset card: {error}"
    return None


def _explain_status(repo: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    organisation = repo.split("/")[0]
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no such version: {error.server_message or error}; its tags are on its page, under versions"
    if isinstance(error, RepositoryNotFoundError) and not get_token():
        return f"there is no dataset {repo} that everybody can see; check the name, or set HF_TOKEN for a private one"
    if isinstance(error, RepositoryNotFoundError) and status == 404:
        return f"there is no dataset {repo} that this token can see; check the name and the token's rights"
    if status == 401:
        return (
            "the Hub does not accept the token; make one with write rights at "
            f"{constants.ENDPOINT}/settings/tokens and run `hf auth login --force`, or set HF_TOKEN, which comes first"
        )
    if status == 403:
        return (
            f"the token may not write to {repo}; use one with write rights, and ask an owner of {organisation} for the "
            "role of a contributor"
        )
    if status == 409:
        return f"the name {repo} is taken, by a dataset that this token cannot see; choose another --repo"
    if status == 412:
        return f"{repo} was changed by somebody else meanwhile; run the command again to see the new difference"
    if status == 429:
        wait = error.response.headers.get("Retry-After")
        when = f"in {wait} seconds" if wait else "in some minutes"
        return (
            f"the Hub's rate limit is reached; run the same command again {when}: files that arrived are not sent again"
        )
    if status >= 500:
        return f"the Hub answered {status}, a fault on its side; run the same command again later"
    return f"the Hub answered {status}: {error.server_message or error}"
