"""A Hub on this machine, over real HTTP: the requests of huggingface_hub to create, upload, list and download.

Repositories live in memory; every commit keeps its files. Point `HF_ENDPOINT` at `url` before huggingface_hub is
imported, so in a process of its own.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
TEXT = (".md", ".json", ".py", ".txt", ".csv", ".yaml", ".gitattributes")  # everything else is stored as LFS
USER = "someone"


@dataclass
class Repository:
    kind: str
    id: str
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def add(self, files: dict[str, bytes]) -> str:
        parent = self.commits[-1][0] if self.commits else self.kind + self.id
        content = "".join(f"{path}{hashlib.sha1(data).hexdigest()}" for path, data in sorted(files.items()))
        self.commits.append((hashlib.sha1((parent + content).encode()).hexdigest(), files))
        return self.commits[-1][0]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision in ("main", "HEAD", ""):
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass
class Answer:
    status: int
    body: bytes | dict | list = b""
    headers: dict[str, str] = field(default_factory=dict)


def address(kind: str, name: str) -> str:
    return name if kind == "model" else f"{kind}s/{name}"


def missing(what: str) -> Answer:
    return Answer(404, {"error": what}, {"X-Error-Code": what, "X-Error-Message": what})


class LoopbackHub:
    """A context manager that serves on a free port of 127.0.0.1 while it is open."""

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self._lock = threading.Lock()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                hub.answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def files(self, kind: str, name: str) -> dict[str, bytes]:
        """Return the files of the newest commit."""
        return self.repositories[kind, name].commits[-1][1]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body, url = _read_body(request), urlsplit(request.path)
        with self._lock:
            answer = self._route(request, unquote(url.path), parse_qs(url.query), body)
        self.requests.append(f"{request.command} {request.path} {answer.status}")
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        request.send_response(answer.status)
        for name, value in ({"Content-Length": str(len(content))} | answer.headers).items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def _route(self, request: BaseHTTPRequestHandler, path: str, query: dict, body: bytes) -> Answer:
        if path == "/api/whoami-v2":
            return Answer(200, {"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}})
        if path == "/api/validate-yaml":
            return Answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.match(r"/large/(\w+)$", path):
            if request.command == "PUT":
                self.large_files[found[1]] = body
            return Answer(200, headers={"ETag": found[1]})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._large_batch(json.loads(body))
        if found := re.match(r"/api/(models|datasets|spaces)/([^/]+/[^/]+)/?(.*)$", path):
            repository = self.repositories.get((KINDS[found[1]], found[2]))
            return self._api(repository, found[3], query, body) if repository else missing("RepoNotFound")
        if found := re.match(r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)/(?:resolve|raw)/([^/]+)/(.+)$", path):
            repository = self.repositories.get((KINDS[found[1] or "models"], found[2]))
            return self._download(request, repository, found[3], found[4]) if repository else missing("RepoNotFound")
        return missing("EntryNotFound")

    def _create(self, wanted: dict) -> Answer:
        kind, name = wanted.get("type") or "model", f"{wanted.get('organization') or USER}/{wanted['name']}"
        about = {"url": f"{self.url}/{address(kind, name)}", "name": name}
        if (kind, name) in self.repositories:
            return Answer(409, about | {"error": "it exists"})
        self.repositories[kind, name] = Repository(kind, name)
        self.repositories[kind, name].add({})
        return Answer(200, about)

    def _large_batch(self, wanted: dict) -> Answer:
        objects = []
        for item in wanted["objects"]:
            upload = {"actions": {"upload": {"href": f"{self.url}/large/{item['oid']}"}}}
            objects.append(item | ({} if item["oid"] in self.large_files else upload))
        return Answer(200, {"transfer": "basic", "objects": objects})

    def _api(self, repository: Repository, rest: str, query: dict, body: bytes) -> Answer:
        action, _, argument = rest.partition("/")
        if action == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular" if file["path"].endswith(TEXT) else "lfs"}
                for file in json.loads(body)["files"]
            ]
            return Answer(200, {"files": [file | {"shouldIgnore": False} for file in files]})
        if action == "commit":
            return self._commit(repository, body)
        if action == "refs":
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commits[-1][0]}
            return Answer(200, {"branches": [branch], "tags": [], "converts": []})
        revision, _, folder = argument.partition("/")
        commit = repository.at(revision)
        if commit is None:
            return missing("RevisionNotFound")
        digest, files = commit
        if action in ("", "revision"):
            names = [{"rfilename": path} for path in sorted(files)]
            return Answer(200, {"_id": "0", "id": repository.id, "sha": digest, "private": False, "siblings": names})
        if action == "tree":
            return _tree(files, folder, query.get("recursive", ["false"])[0].lower() in ("true", "1"))
        if action == "paths-info":
            wanted = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
            return Answer(200, [_entry(path, files[path]) for path in wanted["paths"] if path in files])
        return missing("EntryNotFound")

    def _commit(self, repository: Repository, body: bytes) -> Answer:
        files = dict(repository.commits[-1][1])
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.large_files[value["oid"]]
                case "deletedFile":
                    files.pop(value["path"], None)
                case "deletedFolder":
                    files = {path: data for path, data in files.items() if not path.startswith(value["path"])}
        digest = repository.add(files)
        url = f"{self.url}/{address(repository.kind, repository.id)}/commit/{digest}"
        return Answer(200, {"success": True, "commitOid": digest, "commitUrl": url})

    def _download(self, request, repository: Repository, revision: str, path: str) -> Answer:
        commit = repository.at(revision)
        if commit is None:
            return missing("RevisionNotFound")
        digest, files = commit
        if path not in files:
            answer = missing("EntryNotFound")
            answer.headers["X-Repo-Commit"] = digest
            return answer
        data = files[path]
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": digest, "Accept-Ranges": "bytes"}
        if request.command == "GET" and (part := re.match(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")):
            start, end = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
            return Answer(206, data[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{len(data)}"})
        return Answer(200, data, headers)


def _read_body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


def _tree(files: dict[str, bytes], folder: str, recursive: bool) -> Answer:
    below = f"{folder}/" if folder else ""
    inside = {path: data for path, data in sorted(files.items()) if path.startswith(below)}
    if folder and not inside:
        return missing("EntryNotFound")
    folders = {path[: path.index("/", len(below))] for path in inside if "/" in path[len(below) :]}
    entries = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
    return Answer(
        200,
        entries + [_entry(path, data) for path, data in inside.items() if recursive or "/" not in path[len(below) :]],
    )


def _entry(path: str, data: bytes) -> dict:
    entry = {"type": "file", "path": path, "size": len(data)}
    entry["oid"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    if not path.endswith(TEXT):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
