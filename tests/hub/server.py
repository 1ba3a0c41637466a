"""A small server that answers the real `huggingface_hub` and `datasets` clients as the Hub does, on loopback.

Repositories live in memory as lists of commits. `faults` makes it fail on purpose.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

import yaml

LARGE = (".parquet", ".safetensors")  # what the Hub stores as LFS objects


class HubServer:
    """``with HubServer() as hub: hub.url``; users by token, repositories by name."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()
        hub = self

        class Bound(Handler):
            server_state = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def reset(self) -> None:
        """Forget everything but the users."""
        self.users = {"hf_owner": "owner", "hf_reader": "reader"}
        self.members = {"org": {"owner"}}  # organisation: who may write
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.puts: Counter[str] = Counter()  # successful uploads by sha256
        self.faults: dict[str, int] = {}  # see `Handler._fault`
        self.requests: list[str] = []

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()


class Repo:
    """A repository of a dataset or a model: commits, branches, tags."""

    def __init__(self, private: bool, writers: set[str]) -> None:
        self.private, self.writers, self.gated = private, writers, False
        self.commits: dict[str, dict[str, bytes]] = {}
        self.messages: dict[str, str] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.commit("main", {".gitattributes": b"*.parquet filter=lfs\n"}, "initial commit")

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        digest = hashlib.sha1(f"{len(self.commits)} {message}".encode())
        for path in sorted(files):
            digest.update(path.encode() + files[path])
        sha = digest.hexdigest()
        self.commits[sha], self.messages[sha], self.branches[branch] = files, message, sha
        return sha

    def resolve(self, revision: str) -> str | None:
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return sha if sha in self.commits else None


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server_state: HubServer

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_) -> None:
        pass

    def _answer(self) -> None:
        hub = self.server_state
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlparse(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.user = hub.users.get(token)
        with hub.lock:
            hub.requests.append(f"{self.command} {path}")
            if self._fault(path):
                return
            if token and not self.user:
                self._fail(401, "Invalid credentials in Authorization header")
                return
            for method, pattern, handler in ROUTES:
                found = re.fullmatch(pattern, path)
                if method == self.command and found:
                    handler(self, *found.groups())
                    return
        self._fail(404, f"no route {self.command} {path}")

    def _fault(self, path: str) -> bool:
        """``faults``: a path prefix to a status, or "drop after": the number of uploads that still succeed."""
        faults = self.server_state.faults
        if self.command == "PUT" and path.startswith("/objects/") and "drop after" in faults:
            if faults["drop after"] == 0:
                self.close_connection = True
                self.connection.close()
                return True
            faults["drop after"] -= 1
        for prefix, status in faults.items():
            if path.startswith(prefix):
                self._fail(status, "on purpose", {"Retry-After": "0"} if status == 429 else {})
                return True
        return False

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, message: str, headers: dict[str, str] | None = None, code: str = "") -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _repo(self, name: str, write: bool = False) -> Repo | None:
        """The repository, where the user may see it (and write to it); otherwise the answer is sent."""
        repo = self.server_state.repos.get(name)
        if repo is None or (repo.private and self.user not in repo.writers):
            self._fail(404 if self.user else 401, "Repository not found", code="RepoNotFound")
            return None
        if write and self.user not in repo.writers:
            self._fail(403, "You don't have the rights to write to this repository")
            return None
        return repo

    def _at(self, name: str, revision: str, write: bool = False) -> tuple[Repo, str] | None:
        """The repository and a commit of it; where there is none, the answer is sent."""
        if not (repo := self._repo(name, write)):
            return None
        if sha := repo.resolve(revision):
            return repo, sha
        self._fail(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        return None

    def whoami(self) -> None:
        if not self.user:
            self._fail(401, "Invalid credentials in Authorization header")
        else:
            self._json({"type": "user", "name": self.user, "auth": {}})

    def create(self) -> None:
        hub, asked = self.server_state, json.loads(self.body)
        organisation = asked.get("organization") or self.user
        name = f"{organisation}/{asked['name']}"
        writers = hub.members.get(organisation, {organisation})
        if self.user not in writers:
            self._fail(403, f"You don't have the rights to create a dataset under the namespace {organisation!r}")
        elif name in hub.repos:
            self._fail(409, "You already created this dataset repo")
        else:
            hub.repos[name] = Repo(asked.get("visibility") == "private", writers)
            self._json({"url": f"{hub.url}/datasets/{name}"})

    def validate(self) -> None:
        """The card's YAML as the Hub checks it: what is required, and of which type."""
        card = _card(json.loads(self.body)["content"])
        needed = (
            ("license",) if json.loads(self.body).get("repoType") == "model" else ("license", "configs", "dataset_info")
        )
        errors = [f"{key} is missing" for key in needed if key not in card]
        if card.get("license") == "other" and not (card.get("license_name") and card.get("license_link")):
            errors.append("license_name and license_link are required with the license other")
        errors += [f"{key} must be a list" for key in ("language", "tags", "task_categories", "size_categories")
                   if not isinstance(card.get(key, [] if len(needed) == 1 else None), list)]  # fmt: skip
        self._json({"errors": [{"message": error} for error in errors], "warnings": []}, 400 if errors else 200)

    def info(self, name: str, revision: str = "main") -> None:
        if found := self._at(name, revision):
            repo, sha = found
            files = repo.commits[sha]
            card = _card(files.get("README.md", b"").decode())
            self._json({
                "_id": "1", "id": name, "author": name.split("/")[0], "sha": sha, "private": repo.private,
                "gated": repo.gated, "disabled": False, "downloads": 0, "likes": 0, "tags": card.get("tags", []),
                "cardData": card, "siblings": [{"rfilename": path} for path in sorted(files)],
                "createdAt": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-01T00:00:00.000Z",
            })  # fmt: skip

    def tree(self, name: str, revision: str, folder: str = "") -> None:
        if found := self._at(name, revision):
            repo, sha = found
            files, recursive = repo.commits[sha], "recursive=true" in self.path.lower()
            inside = {path: content for path, content in files.items() if path.startswith(folder and folder + "/")}
            if folder and not inside:
                self._fail(404, f"{folder} does not exist", code="EntryNotFound")
                return
            skip = len(folder) + 1 if folder else 0
            entries = [_entry(path, content) for path, content in sorted(inside.items())
                       if recursive or "/" not in path[skip:]]  # fmt: skip
            folders = {path[: skip + path[skip:].index("/")] for path in inside if "/" in path[skip:]}
            entries += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
            self._json(entries)

    def paths_info(self, name: str, revision: str) -> None:
        if found := self._at(name, revision):
            repo, sha = found
            asked = self._form()
            self._json([_entry(path, repo.commits[sha][path]) for path in asked if path in repo.commits[sha]])

    def _form(self) -> list[str]:
        if "json" in (self.headers.get("Content-Type") or ""):
            return json.loads(self.body)["paths"]
        return [unquote(pair.split("=", 1)[1]) for pair in self.body.decode().split("&") if pair.startswith("paths=")]

    def refs(self, name: str) -> None:
        if repo := self._repo(name):
            self._json({
                kind: [{"name": ref, "ref": f"refs/{place}/{ref}", "targetCommit": sha} for ref, sha in refs.items()]
                for kind, place, refs in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags))
            } | {"converts": []})  # fmt: skip

    def branch(self, name: str, branch: str) -> None:
        if repo := self._repo(name, write=True):
            if branch in repo.branches:
                self._fail(409, "Reference already exists")
            else:
                start = json.loads(self.body or b"{}").get("startingPoint")
                repo.branches[branch] = repo.resolve(start) if start else repo.branches["main"]
                self._json({})

    def unbranch(self, name: str, branch: str) -> None:
        if repo := self._repo(name, write=True):
            if repo.branches.pop(branch, None) is None:
                self._fail(404, "Reference not found", code="RevisionNotFound")
            else:
                self._json({})

    def settings(self, name: str) -> None:
        if repo := self._repo(name, write=True):
            repo.gated = json.loads(self.body).get("gated", repo.gated)
            self._json({})

    def tag(self, name: str, revision: str) -> None:
        if repo := self._repo(name, write=True):
            tag = json.loads(self.body)["tag"]
            if tag in repo.tags:
                self._fail(409, "Tag reference exists already")
            else:
                repo.tags[tag] = repo.resolve(revision)
                self._json({})

    def preupload(self, name: str, revision: str) -> None:
        if found := self._at(name, revision, write=True):
            repo, sha = found
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(repo.commits[sha].get(file["path"])),
                }
                for file in json.loads(self.body)["files"]
            ]
            self._json({"files": files, "commitOid": sha})

    def batch(self, name: str) -> None:
        if self._repo(name, write=True):
            hub, answers = self.server_state, []
            for asked in json.loads(self.body)["objects"]:
                answer = {"oid": asked["oid"], "size": asked["size"]}
                if asked["oid"] not in hub.objects:
                    answer["actions"] = {
                        "upload": {"href": f"{hub.url}/objects/{asked['oid']}"},
                        "verify": {"href": f"{hub.url}/verify"},
                    }
                answers.append(answer)
            self._json({"transfer": "basic", "objects": answers})

    def put(self, oid: str) -> None:
        hub = self.server_state
        if hashlib.sha256(self.body).hexdigest() != oid:
            self._fail(400, "the content is not what was announced")
        else:
            hub.objects[oid] = self.body
            hub.puts[oid] += 1
            self._send(200, b"", {})

    def verify(self) -> None:
        asked = json.loads(self.body)
        known = self.server_state.objects.get(asked["oid"])
        self._json({}) if known is not None and len(known) == asked["size"] else self._fail(404, "no such object")

    def commit(self, name: str, revision: str) -> None:
        if repo := self._repo(name, write=True):
            sha = repo.branches.get(revision)
            if sha is None:
                self._fail(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
                return
            files, message = dict(repo.commits[sha]), ""
            for line in self.body.splitlines():
                item = json.loads(line)
                key, value = item["key"], item["value"]
                if key == "header":
                    message = value["summary"]
                    if value.get("parentCommit") not in (None, sha):
                        self._fail(412, "A commit has happened since. Please refresh and try again.")
                        return
                elif key == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    files[value["path"]] = self.server_state.objects[value["oid"]]
                elif key == "deletedFile":
                    del files[value["path"]]
            sha = repo.commit(revision, files, message)
            url = f"{self.server_state.url}/datasets/{name}/commit/{sha}"
            self._json({"success": True, "commitOid": sha, "commitUrl": url})

    def file(self, name: str, revision: str, path: str) -> None:
        if found := self._at(name, revision):
            repo, sha = found
            content = repo.commits[sha].get(path)
            if content is None:
                self._fail(404, f"{path} does not exist", {"X-Repo-Commit": sha}, code="EntryNotFound")
                return
            etag = hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else _oid(content)
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if wanted:
                first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
                part = content[first : last + 1]
                headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
                self._send(206, part, headers)
            else:
                self._send(200, content, headers)


def _entry(path: str, content: bytes) -> dict:
    entry = {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


def _oid(content: bytes | None) -> str | None:
    """The git blob id."""
    return None if content is None else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _card(text: str) -> dict:
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    return yaml.safe_load(found[1]) if found else {}


_NAME = r"([^/]+/[^/]+)"
_KIND = "(?:datasets|models)"
_PLACE = "(?:datasets/)?"  # of files: a model's have none
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("GET", rf"/api/{_KIND}/{_NAME}", Handler.info),
    ("GET", rf"/api/{_KIND}/{_NAME}/revision/(.+)", Handler.info),
    ("GET", rf"/api/{_KIND}/{_NAME}/tree/([^/]+)", Handler.tree),
    ("GET", rf"/api/{_KIND}/{_NAME}/tree/([^/]+)/(.+)", Handler.tree),
    ("POST", rf"/api/{_KIND}/{_NAME}/paths-info/([^/]+)", Handler.paths_info),
    ("GET", rf"/api/{_KIND}/{_NAME}/refs", Handler.refs),
    ("POST", rf"/api/{_KIND}/{_NAME}/branch/(.+)", Handler.branch),
    ("DELETE", rf"/api/{_KIND}/{_NAME}/branch/(.+)", Handler.unbranch),
    ("PUT", rf"/api/{_KIND}/{_NAME}/settings", Handler.settings),
    ("POST", rf"/api/{_KIND}/{_NAME}/tag/(.+)", Handler.tag),
    ("POST", rf"/api/{_KIND}/{_NAME}/preupload/(.+)", Handler.preupload),
    ("POST", rf"/api/{_KIND}/{_NAME}/commit/(.+)", Handler.commit),
    ("POST", rf"/{_PLACE}{_NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/objects/([0-9a-f]{64})", Handler.put),
    ("POST", "/verify", Handler.verify),
    ("HEAD", rf"/{_PLACE}{_NAME}/resolve/([^/]+)/(.+)", Handler.file),
    ("GET", rf"/{_PLACE}{_NAME}/resolve/([^/]+)/(.+)", Handler.file),
]
