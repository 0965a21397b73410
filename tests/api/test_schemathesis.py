"""What the specification lets a client send, and much of it: no answer is a crash, and every refusal is a message."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker", "engine-api")

SPEC = Path(__file__).parents[3] / "shared/specs/engine-api/v1.51.yaml"
EXAMPLES = 20
LEFT_OUT = {
    "GET /events": "streams for ever",
    "POST /containers/{id}/attach": "takes the connection over",
    "GET /containers/{id}/attach/ws": "takes the connection over",
    "POST /exec/{id}/start": "takes the connection over",
    "POST /session": "takes the connection over",
    "POST /containers/{id}/wait": "waits for an end that does not come",
    "GET /containers/{id}/logs": "follows when it is told to",
    "GET /containers/{id}/stats": "streams for ever",
    "POST /auth": "asks a registry",
    "GET /images/search": "asks a registry",
    "GET /distribution/{name}/json": "asks a registry",
    "POST /images/load": "its body is an archive",
    "POST /build": "its body is an archive",
    "PUT /containers/{id}/archive": "its body is an archive",
}
SWARM = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/plugins")


def operations() -> Iterator[Any]:
    import schemathesis

    found = [result.ok() for result in schemathesis.openapi.from_path(str(SPEC)).get_all_operations()]
    assert LEFT_OUT.keys() <= {operation.label for operation in found}
    for operation in found:
        if operation.label not in LEFT_OUT and not operation.path.startswith(SWARM):
            yield operation


@pytest.mark.filterwarnings("ignore")
def test_whatever_the_specification_allows_gets_an_answer(host: Host) -> None:
    assert host.process is not None
    folder = f"/proc/{host.process.pid}/fd"
    wrong: dict[str, str] = {}
    statuses: set[int] = set()
    descriptors = []
    for operation in operations():
        # What one call has done to it, another finds.
        host.request("POST", "/containers/create?name=fuzzed", {"Image": "bb", "Cmd": ["true"]})
        for there in (False, True) if "{id}" in operation.path else (False,):
            _try(host, operation, there, wrong, statuses)
        descriptors.append(len(os.listdir(folder)))
    assert not wrong, "\n".join(f"{what}: {request}" for what, request in wrong.items())
    assert {200, 201, 400, 404} <= statuses
    half = len(descriptors) // 2
    assert max(descriptors[half:]) <= max(descriptors[:half]) + 8, descriptors


def _try(host: Host, operation: Any, there: bool, wrong: dict[str, str], statuses: set[int]) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        method, target, body, headers = _request(operation, case, there)
        status, _, data = host.request(method, target, body, headers)
        statuses.add(status)
        # 501 and 503 say by name what there is not: a feature, a swarm.
        if (status >= 500 and status not in (501, 503)) or (status >= 400 and method != "HEAD" and not _is_message(data)):
            wrong.setdefault(f"{operation.label}: {status} {data[:200]!r}", f"{target} {body!r}")

    ask()


def _request(operation: Any, case: Any, there: bool) -> tuple[str, str, Any, dict[str, str]]:
    path = operation.path
    for name, value in (case.path_parameters or {}).items():
        known = there and name == "id"
        path = path.replace(f"{{{name}}}", "fuzzed" if known else quote(str(value), safe="") or "x")
    query = [
        (name, str(value).lower() if isinstance(value, bool) else str(value))
        for name, given_ in (case.query or {}).items()
        for value in (given_ if isinstance(given_, list) else [given_])
    ]
    body = case.body if isinstance(case.body, (dict, list)) else None
    if operation.path == "/containers/create" and isinstance(body, dict):
        body = {**body, "Image": "bb"}
    headers = {
        name: value
        for name, value in (case.headers or {}).items()
        if name.lower() != "content-type" and value.isascii() and value.isprintable()
    }
    target = f"/v1.51{path}" + (f"?{urlencode(query, errors='replace')}" if query else "")
    return operation.method.upper(), target, body, headers


def _is_message(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data)["message"], str)
    except (ValueError, KeyError, TypeError):
        return False
