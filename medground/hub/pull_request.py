"""Propose an entry to the board: a pull request on the dataset that adds its folder."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from .push import explained


def propose(folder: Path, repo: str) -> str:
    """Open a pull request on the dataset ``repo`` that adds ``submissions/<folder's name>/``; return its address.

    Raises MedgroundError, each with its remedy, as `medground.hub.push.publish` does.
    """
    operations = [
        CommitOperationAdd(f"submissions/{folder.name}/{path.name}", path) for path in sorted(folder.iterdir())
    ]
    with explained(repo):
        commit = HfApi().create_commit(
            repo, operations, repo_type="dataset", create_pr=True, commit_message=f"Entry {folder.name}"
        )
    return commit.pr_url
