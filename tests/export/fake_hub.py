"""Stand-in of Hugging Face's hub on this machine, with as much of it as an upload asks for."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_a_test"
LARGE = (".safetensors", ".png")


class FakeHub:
    """Uploads that arrived.

    Attributes:
        repositories: whether each is private.
        objects: contents by their SHA-256, as the large-file protocol uploads them.
        files: of each repository, contents by name.
        refusals: status and message by the beginning of a path.
        calls: methods and paths, in order.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.messages: list[str] = []
        self.refusals: dict[str, tuple[int, str]] = {}
        self.calls: list[str] = []
        self.url = ""

    def answer(self, method: str, path: str, token: str | None, body: bytes) -> tuple[int, Any]:
        if method == "PUT" and path.startswith("/objects/"):
            self.objects[path.removeprefix("/objects/")] = body
            return 200, {}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if method == "GET" and (found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path)):
            return self._info(found[1])
        if found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            return 200, {"files": [self._mode(file) for file in json.loads(body)["files"]]}
        if re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            return 200, {"transfer": "basic", "objects": [self._place(each) for each in json.loads(body)["objects"]]}
        if found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            return self._commit(found[1], [json.loads(line) for line in body.splitlines()])
        return 404, {"error": f"{method} {path} is not known here"}

    def _create(self, wish: dict[str, Any]) -> tuple[int, Any]:
        name = f"{wish['organization']}/{wish['name']}"
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
        self.repositories[name] = wish.get("visibility") == "private"
        return 200, {"url": f"{self.url}/{name}"}

    def _info(self, name: str) -> tuple[int, Any]:
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}
        return 200, {"id": name, "modelId": name, "private": self.repositories[name], "siblings": [], "tags": []}

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["path"].endswith(LARGE) else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {**wanted, "actions": {"upload": {"href": f"{self.url}/objects/{wanted['oid']}"}}}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        files = self.files.setdefault(name, {})
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.objects[value["oid"]]
        return 200, {"commitUrl": f"{self.url}/{name}/commit/c0ffee", "commitOid": "c0ffee"}


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub at `hub.url`, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            path = self.path.split("?")[0]
            body = self._body()
            hub.calls.append(f"{self.command} {path}")
            refused = next((each for start, each in hub.refusals.items() if path.startswith(start)), None)
            if refused is None:
                status, content = hub.answer(self.command, path, self.headers.get("Authorization"), body)
            else:
                status, content = refused[0], {"error": refused[1], "errors": [{"message": refused[1]}]}
            answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
