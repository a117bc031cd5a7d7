"""A server of Weights & Biases on the loopback interface: as much of it as one sweep needs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

PROJECT = {"id": "p", "name": "vae_zoo", "entity": {"id": "e", "name": "me"}}


class Stub(ThreadingHTTPServer):
    """Hands out the runs it is given to an agent, and keeps what the runs send.

    Args:
        runs: Parameters of each run, as wandb's server sends them.
    """

    daemon_threads = True

    def __init__(self, runs: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.waiting = [{"type": "run", "run_id": f"run{n}", "args": run} for n, run in enumerate(runs)]
        self.sweep, self.seen = "", []
        self.configs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, list[dict[str, Any]]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """What a request of that name gets."""
        viewer = {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
        sweep = {
            "id": "s",
            "name": "sweep0",
            "displayName": None,
            "state": "RUNNING",
            "method": "grid",
            "project": PROJECT,
        }
        sweep |= {"config": self.sweep, "createdAt": "", "updatedAt": "", "runs": {"edges": []}}
        if name == "UpsertSweep":
            self.sweep = given["config"]
            return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}
        if name == "Heartbeat":
            program = yaml.safe_load(self.sweep)["program"]
            commands = [{"program": program, **self.waiting.pop(0)}] if self.waiting else []
            return {"agentHeartbeat": {"agent": {"id": "a"}, "commands": json.dumps(commands)}}
        if name == "CreateAgent":
            return {"createAgent": {"agent": {"id": "a"}}}
        if name == "UpsertBucket":
            self.configs[given["name"]] = json.loads(given.get("config") or "{}")
            run = {"id": given["name"], "name": given["name"], "displayName": given["name"], "project": PROJECT}
            run |= {"config": "{}", "sweepName": "sweep0", "historyLineCount": 0}
            return {"upsertBucket": {"bucket": run, "inserted": True}}
        if name == "CreateRunFiles":
            return {"createRunFiles": {"runID": given.get("run"), "uploadHeaders": [], "files": []}}
        return {"viewer": viewer, "project": {**PROJECT, "sweep": sweep}, "serverInfo": None, "entity": {"id": "e"}}


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(text) if self.headers["Content-Type"].startswith("application/json") else {}
        if self.path.endswith("/graphql"):
            name = body.get("operationName") or body["query"].split("(")[0].split("{")[0].split()[-1]
            self.server.seen.append(name)
            self.send({"data": self.server.answer(name, body.get("variables") or {})})
        else:
            for file, part in (body.get("files") or {}).items():
                lines = [json.loads(line) for line in part["content"] if file.endswith(".json") or "jsonl" in file]
                self.server.files.setdefault(f"{self.path.split('/')[4]}/{file}", []).extend(lines)
            self.send({})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send({})

    do_GET = do_PUT  # noqa: N815

    def send(self, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        pass
