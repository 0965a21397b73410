"""A server under test, and the ways to speak to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DOCKERD = str(Path(__file__).parents[2] / "bench/dockerd")


class Host:
    """`inception serve` on a root below *folder*. `docker` runs the real CLI against it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.run_root = folder / "run"
        self.log = folder / "log"
        self.socket = str(self.run_root / "docker.sock")
        self.address = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": self.address, "DOCKER_CONFIG": str(self.run_root.parent)}

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "inception.cli", "--root", self.root, "--run-root", self.run_root, "serve", *options]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, stdin=subprocess.DEVNULL)
        for _ in range(300):
            if os.path.exists(self.socket) and self._answers():
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError("the server does not come up")

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def remove(self) -> None:
        """What outlives containers and servers: bridges, and the engine's own cgroup."""
        from inception import Engine
        from inception.engine.endpoints import take_down

        with Engine(str(self.root), str(self.run_root)) as engine:
            for network in engine.networks.list():
                take_down(engine, network)
            for folder in [*engine.cgroups.v1.values(), *([engine.cgroups.v2] if engine.cgroups.v2 else [])]:
                try:
                    os.rmdir(f"{folder}/inception")
                except OSError:
                    pass  # not there, or another engine's containers are in it

    def clean(self) -> None:
        """Remove all containers."""
        names = self.docker("ps", "-aq").split()
        if names:
            self.docker("rm", "-f", "-v", *names)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The docker CLI; its outcome as it is."""
        options = {"capture_output": True, "text": True, "timeout": 60, "env": self.environment, **options}
        return subprocess.run(["docker", *arguments], check=False, **options)

    def docker(self, *arguments: str, **options: Any) -> str:
        """The docker CLI; its output without blanks around. It must succeed."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(30)
        connection.connect(self.socket)
        return connection

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of one HTTP request."""
        import http.client

        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = self.connect()
        try:
            data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a request that must succeed."""
        status, _, data = self.request(method, path, body)
        assert status < 300, (status, data)
        return json.loads(data) if data.strip() else None

    def upgrade(self, path: str, body: Any = None) -> socket.socket:
        """A hijacked connection, past its head."""
        data = json.dumps(body).encode() if body is not None else b""
        connection = self.connect()
        head = f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += connection.recv(1)
        assert received.startswith(b"HTTP/1.1 101 UPGRADED"), received
        return connection


class Dockerd(Host):
    """A real dockerd in namespaces of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.socket = f"{folder}/docker.sock"
        self.address = f"unix://{self.socket}"

    def start(self, *_options: str) -> None:
        subprocess.run([DOCKERD, "start", self.folder], check=True, timeout=60)

    def stop(self, _number: int = 0) -> int:
        return subprocess.run([DOCKERD, "stop", self.folder], check=True, timeout=60).returncode


def read_all(connection: socket.socket) -> bytes:
    """Everything until the end."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a multiplexed stream, neighbours of one stream joined."""
    found: list[tuple[int, bytes]] = []
    while data:
        stream, length = data[0], int.from_bytes(data[4:8], "big")
        piece, data = data[8 : 8 + length], data[8 + length :]
        if found and found[-1][0] == stream:
            found[-1] = (stream, found[-1][1] + piece)
        else:
            found.append((stream, piece))
    return found
