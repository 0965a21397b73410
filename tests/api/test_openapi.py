"""The API's own specification as the judge: what a session is answered, held against the schema of each answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker", "engine-api")

SPEC = Path(__file__).parents[3] / "shared/specs/engine-api/v1.51.yaml"


#: Pointers in Docker's own code, so null where nothing was set; the specification forgets to say it.
POINTERS = ("MemorySwappiness", "OomKillDisable", "PidsLimit", "Init", "ExitCode", "StopTimeout")


def relaxed(value: Any) -> Any:
    """Swagger 2 as JSON Schema: `x-nullable`, and null for what Go leaves empty (lists, maps, pointers to objects)."""
    if isinstance(value, list):
        return [relaxed(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: relaxed(item) for key, item in value.items() if key not in ("format", "example", "examples", "default")}
    for name in POINTERS:
        if isinstance(found.get(name), dict):
            found[name]["x-nullable"] = True
            found[name] = relaxed(found[name])
    kind = found.get("type")
    if isinstance(kind, str) and (kind in ("array", "object") or found.get("x-nullable")):
        found["type"] = [kind, "null"]
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
    return {"$ref": found["$ref"]} if "$ref" in found else found


class Judge:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.spec = yaml.load(SPEC.read_text(), yaml.CSafeLoader)
        self.definitions = relaxed(self.spec["definitions"])
        self.seen: set[tuple[str, str]] = set()
        self.paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in self.spec["paths"]]

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """Ask, and hold the answer against its schema; answers the document."""
        status, headers, data = self.host.request(method, f"/v1.51{path}", body)
        plain = path.partition("?")[0]
        known = next(
            name for pattern, name in self.paths if pattern.fullmatch(plain) and method.lower() in self.spec["paths"][name]
        )
        answers = self.spec["paths"][known][method.lower()]["responses"]
        # The specification's own table of statuses has holes: 400 for what can't be read, 409 for a name in use.
        assert status in answers or str(status) in answers or status in (400, 409), (
            f"{method} {path}: {status} is none of {list(answers)}: {data!r}"
        )
        self.seen.add((method, known))
        if not data.strip():
            return None
        assert headers["content-type"].startswith(("application/json", "text/plain")), headers
        if headers["content-type"].startswith("text/plain"):
            return data
        document = json.loads(data)
        answer = answers.get(status) or answers.get(str(status)) or {"schema": {"$ref": "#/definitions/ErrorResponse"}}
        if "schema" in answer:
            schema = {**relaxed(answer["schema"]), "definitions": self.definitions}
            try:
                fastjsonschema.compile(schema)(document)
            except fastjsonschema.JsonSchemaException as error:
                pytest.fail(f"{method} {path}: {error.message}: {str(error.value)[:300]}")
        return document


@pytest.fixture
def judge(host: Host) -> Judge:
    return Judge(host)


def test_every_answer_of_a_session_is_as_specified(judge: Judge, host: Host) -> None:
    for path in (
        "/_ping",
        "/version",
        "/info",
        "/system/df",
        "/containers/json?all=1",
        "/images/json?all=1",
        "/networks",
        "/volumes",
    ):
        judge("GET", path)
    body = {
        "Image": "bb",
        "Cmd": ["sleep", "100"],
        "Labels": {"a": "b"},
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": ""}]}, "Binds": ["judged:/d"], "Tmpfs": {"/t": "size=1m"}},
    }
    made = judge("POST", "/containers/create?name=judged", body)["Id"]
    judge("POST", "/containers/create?name=judged", body)
    judge("GET", f"/containers/{made}/json?size=1")
    for step in ("start", "start", "pause", "unpause"):
        judge("POST", f"/containers/{made}/{step}")
    for question in ("json", "top", "stats?stream=0&one-shot=1", "changes"):
        judge("GET", f"/containers/{made}/{question}")
    judge("GET", "/containers/json?size=1")
    run = judge("POST", f"/containers/{made}/exec", {"Cmd": ["true"], "AttachStdout": True})["Id"]
    judge("POST", f"/exec/{run}/start", {"Detach": True})
    judge("GET", f"/exec/{run}/json")
    judge("POST", f"/containers/{made}/update", {"Memory": 64 << 20, "MemorySwap": 64 << 20})
    judge("POST", f"/containers/{made}/rename?name=other")
    judge("DELETE", f"/containers/{made}")
    image = judge("POST", f"/commit?container={made}&repo=judged&tag=1", {})["Id"]
    for question in ("json", "history"):
        judge("GET", f"/images/judged:1/{question}")
    judge("POST", f"/images/{image}/tag?repo=judged&tag=2")
    judge("GET", "/images/json?shared-size=1&filters=%7B%22reference%22%3A%5B%22judged%22%5D%7D")
    judge("GET", "/system/df?type=image&type=container&type=volume&type=build-cache")
    network = judge("POST", "/networks/create", {"Name": "judged", "Labels": {"x": "y"}})["Id"]
    judge("POST", "/networks/create", {"Name": "judged"})
    judge("POST", f"/networks/{network}/connect", {"Container": made})
    judge("GET", f"/networks/{network}")
    judge("POST", f"/networks/{network}/disconnect", {"Container": made})
    judge("POST", "/volumes/create", {"Name": "judged2"})
    judge("GET", "/volumes/judged2")
    judge("GET", "/volumes")
    judge("POST", f"/containers/{made}/kill?signal=KILL")
    judge("POST", f"/containers/{made}/wait")
    judge("POST", f"/containers/{made}/stop")
    judge("DELETE", f"/containers/{made}?v=1")
    judge("DELETE", f"/networks/{network}")
    judge("DELETE", "/volumes/judged2")
    judge("DELETE", "/volumes/judged")
    judge("DELETE", "/images/judged:1")
    judge("DELETE", "/images/judged:2")
    for kind in ("containers", "images", "networks", "volumes", "build"):
        judge("POST", f"/{kind}/prune")
    for path in ("/containers/nope/json", "/images/nope/json", "/networks/nope", "/volumes/nope", "/exec/nope/json", "/swarm"):
        judge("GET", path)
    for path in ("/nodes", "/services", "/tasks", "/secrets", "/configs", "/plugins"):
        judge("GET", path)
    assert len(judge.seen) >= 50


_WRONG = [
    None,
    [],
    "text",
    3,
    {"Image": 3},
    {"Image": "bb", "Cmd": {}},
    {"HostConfig": []},
    {"Name": 7},
    {"Container": {}},
    {"Env": "x"},
]


def test_no_body_and_no_parameter_brings_a_server_error(judge: Judge, host: Host) -> None:
    """Each path with bodies and parameters of other types than it wants: refused or ignored, never a 500."""
    spared = (
        "/build",
        "/events",
        "/session",
        "/grpc",
        "/attach",
        "/images/create",
        "/images/load",
        "/images/search",
        "/distribution",
    )
    for path, methods in judge.spec["paths"].items():
        if any(part in path for part in spared) or path.endswith(("/prune", "/push", "/auth")):
            continue
        place = re.sub(r"\{\w+\}", "nope", path)
        for method, operation in methods.items():
            if method not in ("get", "post", "put", "delete", "head"):
                continue
            names = [each["name"] for each in operation.get("parameters", []) if each.get("in") == "query"]
            for value in ("", "-1", "x", "%00", "[]", "%7B%22a%22%3A1%7D", "99999999999999999999"):
                query = "&".join(f"{name}={value}" for name in names if not (name == "follow" or name == "stream"))
                status, _, data = host.request(method.upper(), f"{place}?{query}")
                assert status not in (500,), (method, place, query, data)
            for body in _WRONG if method in ("post", "put") else ():
                status, _, data = host.request(method.upper(), place, json.dumps(body).encode())
                assert status != 500, (method, place, body, data)
    assert "Traceback" not in host.log.read_text()
