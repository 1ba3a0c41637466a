"""Publishing with the real clients, in a subprocess, against a server on loopback that behaves as the Hub does."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from clients import Clients
from hub_facts import OPEN, RESTRICTED
from server import Repo

from medground import records, submission
from medground.hub import folder
from medground.scoring.tables import load_cases

REPO = "org/medground"
CONFIGS = {"direct": 2, "reasoning": 2, "questions": 2, "films": 2, "attributions": 2, "retention": 2, "results": 2,
           "baselines": 2, "models": 1}  # fmt: skip


@pytest.fixture
def hub(server):
    """The server, empty and without faults."""
    server.reset()
    return server


@pytest.fixture(scope="session")
def first(tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("first") / "hub"
    folder.build(tree / "data", out)
    return out


@pytest.fixture(scope="session")
def second(tree, tmp_path_factory) -> Path:
    """Another version: the test regions stay back."""
    out = tmp_path_factory.mktemp("second") / "hub"
    folder.build(tree / "data", out, hide_test_regions=True)
    return out


@pytest.fixture
def run(hub, clients, tmp_path):
    """Run a medground command, or ``code``, with the clients pointed at the server; the token must not show."""

    def call(*words: str, token: str | None = "hf_owner", code: str = clients.MEDGROUND):
        environment = {"MEDGROUND_CACHE": str(tmp_path / "cache")} | ({"HF_TOKEN": token} if token else {})
        done = clients.run(code, words, environment, tmp_path)
        if token:
            assert token not in done.stdout + done.stderr
            assert not any(token.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        return done

    return call


@pytest.fixture
def publish(run):
    return lambda path, *words, **options: run(
        "publish", "--repo", REPO, "--folder", str(path), "--tag", "v1", "--yes", *words, **options
    )


def test_create_push_tag_and_load_every_config(hub, publish, run, first):
    done = publish(first)
    assert done.returncode == 0, done.stderr
    repo = hub.repos[REPO]
    assert list(repo.messages.values()) == ["initial commit", "Version v1", "Version v1"]  # tried out, then on main
    assert repo.branches == {"main": repo.tags["v1"]}
    assert not repo.private and repo.gated == "auto"
    card = repo.commits[repo.tags["v1"]]["README.md"].decode()
    assert f'load_dataset("{REPO}"' in card and "ORG/NAME" not in card
    said = json.loads(repo.commits[repo.tags["v1"]]["croissant.json"])
    assert said["distribution"][0]["contentUrl"].startswith(f"{hub.url}/datasets/{REPO}/resolve/main/direct/")
    assert "+ direct/dev-00000-of-00001.parquet" in done.stdout
    assert f"{hub.url}/datasets/{REPO}/tree/v1: verified" in done.stdout
    code = f"""
import datasets, json
sizes = {{}}
for config in {list(CONFIGS)}:
    dataset = datasets.load_dataset("{REPO}", config, revision="v1")
    sizes[config] = {{split: len(rows) for split, rows in dataset.items()}}
films = datasets.load_dataset("{REPO}", "films", split="dev")
print(json.dumps([sizes, [film["image"].size if film["image"] else None for film in films]]))
"""
    sizes, images = json.loads(run(code=code, token=None).stdout)
    for config, splits in CONFIGS.items():
        assert len(sizes[config]) == splits
        for split, rows in sizes[config].items():
            assert rows == sum(pq.read_metadata(shard).num_rows for shard in folder.shards(first, config, split))
    sources = pq.read_table(first / "films/dev-00000-of-00001.parquet")["source"].to_pylist()
    assert [image is not None for image in images] == [name in OPEN for name in sources]


def test_update_shows_and_sends_only_the_difference(hub, publish, run, first, second):
    assert publish(first).returncode == 0
    repo = hub.repos[REPO]
    by_hand = {"films/old-00000-of-00001.parquet": b"left over", "submissions/theirs/entry.yaml": b"not ours"}
    repo.commit("main", repo.commits[repo.branches["main"]] | by_hand, "by hand")
    hub.requests.clear()
    done = run("publish", "--repo", REPO, "--folder", str(second), "--tag", "v2", "--yes")
    assert done.returncode == 0, done.stderr
    assert "~ direct/test-00000-of-00001.parquet" in done.stdout
    assert "- films/old-00000-of-00001.parquet" in done.stdout
    assert "direct/dev-" not in done.stdout
    assert "reasoning: 0 rows more, 0 gone, " in done.stdout and "(regions " in done.stdout
    # the test shards that tell where regions lie, each once though it is committed to two branches
    assert sum(request.startswith("PUT /objects") for request in hub.requests) == 4
    files = hub.repos[REPO].commits[hub.repos[REPO].tags["v2"]]
    assert "films/old-00000-of-00001.parquet" not in files
    assert "submissions/theirs/entry.yaml" in files


def test_the_name_of_the_dataset_is_all_that_an_author_needs(hub, publish, run, phantom_tree, tmp_path):
    """With nothing but the package: what is published is downloaded, checked against, scored, shown and submitted."""
    folder.build(phantom_tree / "data", tmp_path / "hub", normal="phantom_region")
    assert publish(tmp_path / "hub").returncode == 0
    shutil.rmtree(tmp_path / "hub")
    hub.requests.clear()  # publishing downloads all of it, to compare
    cases = load_cases(phantom_tree / "data")
    submission.write(
        tmp_path / "mine", maps={case["case_id"]: np.eye(4) for case in cases}, method="Mine", version="1",
        authors=["A. Author"], licence="CC0-1.0", hardware="laptop", models=sorted({case["model"] for case in cases}),
        modes=["direct", "reasoning"], used_test_regions=False, trained_on_sources=False,
    )  # fmt: skip
    name = f"{REPO}@v1"
    said = {
        words[0]: run(*words, "--data", name, token=None)
        for words in (["validate", "mine"], ["score", "mine"], ["board"], ["compare", "medfocus"], ["submit", "mine"])
    }
    assert not [done.stderr for done in said.values() if done.returncode]
    assert said["validate"].stdout == "no problems\n"
    assert "this entry" in said["score"].stdout and "on dev: what the answers" in said["score"].stdout
    assert "medfocus" in said["board"].stdout and "center_box" in said["compare"].stdout
    assert list((tmp_path / "submissions").iterdir())
    downloaded = {request.split("/")[-2] for request in hub.requests if ".parquet" in request and "GET" in request}
    assert "films" not in downloaded and "questions" not in downloaded, "an entry is checked without the films"
    gone = run("validate", "mine", "--data", "org/other", token=None)
    _failed(gone, "there is no dataset org/other")
    _failed(run("validate", "mine", "--data", f"{REPO}@v9", token=None), "v9")


def test_every_config_can_be_streamed(hub, publish, run, first):
    assert publish(first).returncode == 0
    code = f"""
import datasets, json
sizes = {{}}
for config in {list(CONFIGS)}:
    for split, rows in datasets.load_dataset("{REPO}", config, streaming=True).items():
        sizes[config + "/" + split] = sum(1 for _ in rows)
print(json.dumps(sizes))
"""
    done = run(code=code, token=None)
    assert done.returncode == 0, done.stderr
    for name, rows in json.loads(done.stdout).items():
        config, split = name.split("/")
        assert rows == sum(pq.read_metadata(shard).num_rows for shard in folder.shards(first, config, split))


def test_nothing_changed_makes_no_commit(hub, publish, first):
    assert publish(first).returncode == 0
    commits = len(hub.repos[REPO].commits)
    done = publish(first)
    assert done.returncode == 0
    assert "0 to add, 0 to change, 0 to remove" in done.stdout
    assert len(hub.repos[REPO].commits) == commits


def test_a_dry_run_refuses_nothing_and_needs_no_token(hub, publish, run, first):
    words = ["publish", "--repo", REPO, "--folder", str(first), "--dry-run"]  # no tag, and no git checkout to name one
    done = run(*words, token=None)
    assert done.returncode == 0, done.stderr
    assert "would be refused: this is no git checkout" in done.stdout and "+ README.md" in done.stdout
    assert publish(first).returncode == 0
    repo = hub.repos[REPO]
    repo.commit("main", {".gitattributes": b"", "README.md": b"somebody's"}, "somebody's")
    done = run(*words, token=None)
    assert done.returncode == 0 and "would be refused: the name org/medground is taken" in done.stdout


def test_scores_that_moved_are_told(hub, publish, phantom_tree, tmp_path):
    data = shutil.copytree(phantom_tree / "data", tmp_path / "copy/data")
    folder.build(data, tmp_path / "one")
    board = records.read_rows(data / "board/board.parquet", records.BOARD)
    for row in board:
        if (row["track"], row["split"], row["entry"]) == ("all", "test", "medfocus"):
            row["iou_at_area"] = 0.25
    how = records.made_by(data / "board/board.parquet")
    records.write_table(board, records.BOARD, data / "board/board.parquet", **how)
    folder.build(data, tmp_path / "two")
    assert publish(tmp_path / "one").returncode == 0
    assert hub.repos[REPO].gated is False, "its films may leave"
    done = publish(tmp_path / "two", "--dry-run")
    assert "baselines: 0 rows more, 0 gone, 1 changed (iou_at_area 1)" in done.stdout
    assert "test, medfocus: iou_at_area 0.500 -> 0.250" in done.stdout


def test_dry_run_sends_nothing(hub, publish, first):
    done = publish(first, "--dry-run")
    assert done.returncode == 0
    assert "+ README.md" in done.stdout
    assert "nothing was sent" in done.stdout
    assert not hub.repos
    assert not hub.objects


def test_asks_before_it_sends(hub, run, first):
    done = run("publish", "--repo", REPO, "--folder", str(first), "--tag", "v1")  # no answer on stdin
    assert done.returncode == 1
    assert done.stdout.index("+ README.md") < done.stdout.index("Send this?")
    assert not hub.repos


def test_fails_half_way_and_resumes(hub, publish, first):
    hub.faults["drop after"] = 3
    done = publish(first)
    assert done.returncode == 1
    assert "connection broke" in done.stderr
    assert "not sent again" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(hub.puts) == 3
    assert not hub.repos[REPO].tags
    assert hub.repos[REPO].messages[hub.repos[REPO].branches["main"]] == "initial commit"  # nothing half-written
    hub.faults.clear()
    assert publish(first).returncode == 0
    assert set(hub.puts.values()) == {1}
    assert hub.repos[REPO].tags == {"v1": hub.repos[REPO].branches["main"]}


def test_resumes_after_the_commit_when_only_the_tag_is_missing(hub, publish, first):
    hub.faults[f"/api/datasets/{REPO}/tag"] = 500
    done = publish(first)
    assert done.returncode == 1
    assert "a fault on its side" in done.stderr
    hub.faults.clear()
    assert publish(first).returncode == 0
    assert len(hub.repos[REPO].commits) == 3
    assert hub.repos[REPO].tags == {"v1": hub.repos[REPO].branches["main"]}


def test_download_that_differs_is_not_tagged(hub, publish, first):
    class Corrupting(dict):
        def __getitem__(self, oid):
            return super().__getitem__(oid)[:-1] + b"?"

    hub.objects = Corrupting()
    done = publish(first)
    assert done.returncode == 1
    assert "does not hold what was sent" in done.stderr or "Consistency check failed" in done.stderr
    assert not hub.repos[REPO].tags
    assert hub.repos[REPO].messages[hub.repos[REPO].branches["main"]] == "initial commit", "main did not move"


def test_private_and_branch(hub, publish, first):
    done = publish(first, "--private", "--revision", "preview")
    assert done.returncode == 0, done.stderr
    repo = hub.repos[REPO]
    assert repo.private
    assert set(repo.commits[repo.branches["main"]]) == {".gitattributes"}
    assert repo.tags["v1"] == repo.branches["preview"]


def test_private_is_not_promised_for_a_public_dataset(hub, publish, first, second):
    assert publish(first).returncode == 0
    done = publish(second, "--private")
    assert done.returncode == 1
    assert "exists and is public" in done.stderr


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_wrong", "does not accept the token"),
        ("hf_reader", "may not write to org/medground"),
        (None, "no Hugging Face token was found"),
    ],
)
def test_tokens(hub, publish, first, token, message):
    done = publish(first, token=token)
    _failed(done, message)
    assert not hub.repos


def test_missing_rights_on_an_existing_dataset(hub, publish, first, second):
    assert publish(first).returncode == 0
    _failed(publish(second, "--tag", "v2", token="hf_reader"), "may not write to org/medground")


def test_name_taken_by_something_else(hub, publish, first):
    hub.repos[REPO] = Repo(False, {"owner"})
    hub.repos[REPO].commit("main", {"README.md": b"---\ntags: [cats]\n---\n", "cats.csv": b"1"}, "cats")
    _failed(publish(first), "is taken: it holds a dataset that medground did not make")
    assert len(hub.repos[REPO].commits) == 2


def test_name_taken_by_a_dataset_that_is_not_seen(hub, publish, first):
    hub.repos[REPO] = Repo(True, {"somebody else"})
    _failed(publish(first), "is taken, by a dataset that this token cannot see")


def test_tag_taken(hub, publish, first, second):
    assert publish(first).returncode == 0
    _failed(publish(second), "already has the tag 'v1', on another version")


def test_rate_limit(hub, publish, first):
    hub.faults["/api/whoami-v2"] = 429
    _failed(publish(first), "rate limit is reached")


def test_no_network(first, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with Clients(tmp_path, endpoint) as clients:
        words = ["publish", "--repo", REPO, "--folder", str(first), "--tag", "v1", "--yes"]
        _failed(clients.run(clients.MEDGROUND, words, {"HF_TOKEN": "hf_owner"}, tmp_path), "is out of reach")


def test_wrong_name(run, first):
    _failed(run("publish", "--repo", "medground", "--folder", str(first), "--tag", "v1", "--yes"), "write ORG/NAME")


def test_refuses_restricted_pixels_before_the_network(hub, publish, tree, tmp_path, monkeypatch):
    out = tmp_path / "hub"
    monkeypatch.setattr(folder, "may_leave", lambda *_: True)
    monkeypatch.setattr(folder.guard, "check", lambda _: None)
    monkeypatch.setattr(folder, "thumbnail", lambda *_: b"a film")
    folder.build(tree / "data", out)  # what a careless export would make
    done = publish(out)
    _failed(done, "this may not leave")
    for source in RESTRICTED:
        assert f"films/dev-00000-of-00001.parquet: column image holds pixels of {source}" in done.stderr
        assert f"direct/dev-00000-of-00001.parquet: column regions holds boxes of {source}" in done.stderr
        assert f"column question holds text of {source}" in done.stderr
    assert not hub.requests


def test_needs_an_exported_folder(publish, tmp_path):
    _failed(publish(tmp_path / "nothing"), "is not an exported folder")


def _failed(done, message):
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
