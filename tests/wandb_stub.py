"""A local server of Weights & Biases with the parts that one sweep needs."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import yaml

PROJECT = {"id": "p", "name": "vae_zoo", "entity": {"id": "e", "name": "me"}}


class Stub(ThreadingHTTPServer):
    """Hands out the runs it is given to an agent, and keeps what the runs send.

    Args:
        runs: Parameters of each run, as wandb's server sends them.
        method: How the sweep searches.
    """

    daemon_threads = True

    def __init__(self, runs: list[dict[str, Any]], method: str = "grid") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.waiting = [{"type": "run", "run_id": f"run{n}", "args": run} for n, run in enumerate(runs)]
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.sweep, self.method, self.seen = "", method, list[str]()
        self.stop_after = ""  # no request after this one is answered
        self.artifacts: list[str] = []
        self.exits: dict[str, int] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, list[dict[str, Any]]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def config(self, run: str) -> dict[str, Any]:
        """The configuration of a run."""
        return {name: entry["value"] for name, entry in self.configs[run].items() if "value" in entry}

    def lines(self, run: str) -> int:
        """Steps of a run that are here."""
        return len(self.files.get(f"{run}/wandb-history.jsonl", []))

    def resumed(self, run: str) -> dict[str, Any] | None:
        """Where a run is that there is already."""
        if run not in self.configs:
            return None
        history = self.files.get(f"{run}/wandb-history.jsonl", [{"_step": -1}])
        counts = {"logLineCount": 0, "historyLineCount": self.lines(run), "eventsLineCount": 0}
        tails = {"historyTail": json.dumps([json.dumps(history[-1])]), "eventsTail": "[]"}
        text = {"summaryMetrics": "{}", "config": json.dumps(self.configs[run]), "tags": []}
        return {"id": run, "name": run, "displayName": run, "wandbConfig": '{"t": 1}', **counts, **tails, **text}

    def answer(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """What a request of that name gets."""
        viewer = {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
        sweep = {
            "id": "s",
            "name": "sweep0",
            "displayName": None,
            "state": "RUNNING",
            "method": self.method,
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
            inserted = given["name"] not in self.configs
            known = self.configs.setdefault(given["name"], {})
            known |= json.loads(given.get("config") or "{}")
            run = {"id": given["name"], "name": given["name"], "displayName": given["name"], "project": PROJECT}
            run |= {"config": "{}", "sweepName": "sweep0", "historyLineCount": self.lines(given["name"])}
            return {"upsertBucket": {"bucket": run, "inserted": inserted}}
        if name == "CreateArtifact":
            self.artifacts.append(json.dumps(given))
            return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "q"}}}}
        if name == "RunResumeStatus":
            return {"model": {**PROJECT, "bucket": self.resumed(given["name"])}}
        if name == "CreateRunFiles":
            return {"createRunFiles": {"runID": given.get("run"), "uploadHeaders": [], "files": []}}
        return {"viewer": viewer, "project": {**PROJECT, "sweep": sweep}, "serverInfo": None, "entity": {"id": "e"}}


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(text) if self.headers["Content-Type"].startswith("application/json") else {}
        if self.path.endswith("/graphql"):
            if self.server.stop_after in self.server.seen:
                self.close_connection = True
                return
            name = body.get("operationName") or body["query"].split("(")[0].split("{")[0].split()[-1]
            self.server.seen.append(name)
            self.send({"data": self.server.answer(name, body.get("variables") or {})})
        else:
            if "exitcode" in body:
                self.server.exits[self.path.split("/")[4]] = body["exitcode"]
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


class Kept(NamedTuple):
    """What an offline run keeps on disk.

    Args:
        config: The configuration.
        history: What was logged, a dictionary a step.
        artifacts: Names of files by name of artifact.
        project: Project of the run.
    """

    config: dict[str, Any]
    history: list[dict[str, Any]]
    artifacts: dict[str, list[str]]
    project: str


def read_back(file: Path) -> Kept:
    """Read the log that a run leaves offline."""
    from wandb.proto.wandb_internal_pb2 import Record

    kept = Kept({}, [], {}, "")
    for text in records(file.read_bytes()):
        record = Record.FromString(text)
        if record.run.project:
            kept = kept._replace(project=record.run.project)
        put(kept.config, [*record.run.config.update, *record.config.update])
        if record.history.item:
            kept.history.append(put({}, record.history.item))
        if record.artifact.name:
            kept.artifacts[record.artifact.name] = [entry.path for entry in record.artifact.manifest.contents]
    return kept


def put(into: dict[str, Any], items: Iterable[Any]) -> dict[str, Any]:
    """Set items of a record, whose keys may be paths."""
    for item in items:
        *path, last = item.nested_key or [item.key]
        place = into
        for part in path:
            place = place.setdefault(part, {})
        place[last] = json.loads(item.value_json)
    return into


def records(log: bytes) -> Iterator[bytes]:
    """Records of a log in LevelDB's format: blocks of 32 KiB, whose first begins with a header of 7 bytes."""
    place, text = 7, b""
    while place + 7 <= len(log):
        if 32768 - place % 32768 < 7:  # too little for a record: padding
            place += 32768 - place % 32768
            continue
        _, length, part = struct.unpack("<IHB", log[place : place + 7])
        text += log[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):  # whole, or the last part
            yield text
            text = b""
