"""Cases of the Docker Engine API: our server and dockerd, each on a unix socket, asked by the same clients."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.measure import Result, command, measure

_REQUESTS, _CONTAINERS, _AT_ONCE = 100, 200, 50


class Client:
    """One connection to a server's socket."""

    def __init__(self, path: str) -> None:
        self._connection = http.client.HTTPConnection("localhost", timeout=300)
        self._connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.sock.settimeout(300)
        self._connection.sock.connect(path)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        text = json.dumps(body) if body is not None else None
        self._connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data!r}")
        return json.loads(data) if data.strip() else None

    def close(self) -> None:
        self._connection.close()


def api(peers: Any, runs: int) -> list[Result]:
    """`docker run` through the socket, listings of 200 containers, 50 started at once."""
    ours = f"{peers.work}/api.sock"
    server = subprocess.Popen([*peers.ours, "serve", "-H", f"unix://{ours}"], stderr=subprocess.DEVNULL)
    try:
        while not os.path.exists(ours):
            time.sleep(0.05)
        sockets = {"inception": ours}
        if peers.docker:
            sockets["docker"] = f"{peers.work}/docker/docker.sock"
        return _measured(sockets, runs)
    finally:
        server.terminate()
        server.wait()


def _measured(sockets: dict[str, str], runs: int) -> list[Result]:
    def each(*words: str) -> dict[str, Callable[[], object]]:
        return {who: command("docker", "-H", f"unix://{path}", *words) for who, path in sockets.items()}

    few = max(3, runs // 3)
    run = measure(
        "docker run --rm over the socket", each("run", "--rm", "busybox", "true"), runs=runs, peer="docker", reach=0.5
    )
    starts = {who: _start_at_once(path) for who, path in sockets.items()}
    removals = {who: _remove_all(path) for who, path in sockets.items()}
    started = measure(f"{_AT_ONCE} containers at once", starts, runs=3, warm=0, peer="docker", reach=0.5, before=removals)
    for path in sockets.values():
        _fill(path)
    listed = measure(f"docker ps -a, {_CONTAINERS} containers", each("ps", "-a"), runs=runs, peer="docker", reach=1.0)
    asks = {who: _ask(path) for who, path in sockets.items()}
    name = f"{_REQUESTS} x GET /containers/json, {_CONTAINERS} containers"
    asked = measure(name, asks, runs=few, peer="docker", reach=1.0)
    for remove in removals.values():
        remove()
    return [run, started, listed, asked]


def _start_at_once(path: str) -> Callable[[], None]:
    """Created one after the other, started all together; only the starts differ much, but both are timed."""

    def one(number: int) -> None:
        client = Client(path)
        body = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}}
        made = client("POST", f"/containers/create?name=bench-once-{number}", body)
        client("POST", f"/containers/{made['Id']}/start")
        client.close()

    def all_of_them() -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(one, range(_AT_ONCE)))

    return all_of_them


def _remove_all(path: str) -> Callable[[], None]:
    def remove() -> None:
        client = Client(path)
        for row in client("GET", "/containers/json?all=1"):
            client("DELETE", f"/containers/{row['Id']}?force=1")
        client.close()

    return remove


def _fill(path: str) -> None:
    """Some run already (the ones started at once); the rest were created and never started."""
    client = Client(path)
    there = len(client("GET", "/containers/json?all=1"))
    for number in range(_CONTAINERS - there):
        client("POST", f"/containers/create?name=bench-row-{number}", {"Image": "busybox", "Cmd": ["true"]})
    client.close()


def _ask(path: str) -> Callable[[], None]:
    def ask() -> None:
        client = Client(path)
        for _ in range(_REQUESTS):
            client("GET", "/containers/json?all=1")
        client.close()

    return ask
