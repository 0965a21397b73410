"""Docker's own Compose against our server."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker")

PROJECT = """\
name: judge
services:
  web:
    build: .
    ports: ["127.0.0.1:18998:80"]
    depends_on: {db: {condition: service_healthy}}
    configs: [{source: greeting, target: /etc/greeting}]
    secrets: [word]
    stop_grace_period: 0s
  db:
    image: bb
    command: ["sh", "-c", "touch /ok; echo db is up; sleep 1000"]
    healthcheck: {test: ["CMD", "test", "-f", "/ok"], interval: 200ms}
    volumes: ["data:/data"]
    networks: {default: {aliases: [base]}, back: {}}
    stop_grace_period: 0s
  tool:
    image: bb
    profiles: [tools]
    command: ["echo", "a tool"]
volumes: {data: {}}
networks: {back: {internal: true}}
configs: {greeting: {content: "hello"}}
secrets: {word: {environment: WORD}}
"""


class Project:
    def __init__(self, compose: str, host: Host, folder: Path) -> None:
        self.compose, self.host, self.folder = compose, host, folder

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**self.host.environment, "WORD": "mellon"}
        options = {"capture_output": True, "text": True, "timeout": 100, "env": environment, "cwd": self.folder, **options}
        return subprocess.run([self.compose, *arguments], check=False, **options)

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"compose {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()


@pytest.fixture
def project(compose: str, host: Host, tmp_path: Path) -> Any:
    (tmp_path / "compose.yaml").write_text(PROJECT)
    (tmp_path / "Dockerfile").write_text(
        'FROM bb\nRUN mkdir /www && echo page >/www/index.html\nCMD ["httpd", "-f", "-h", "/www"]\n'
    )
    project = Project(compose, host, tmp_path)
    yield project
    project("down", "-v", "-t", "0", "--rmi", "local")
    assert host.docker("volume", "ls", "-q") == ""
    assert host.docker("network", "ls", "-q", "--filter", "type=custom") == ""


def test_a_project_from_nothing_to_its_page(project: Project) -> None:
    project("up", "-d", "--build", "--wait")
    assert _page("http://127.0.0.1:18998") == b"page\n"
    assert project("exec", "-T", "web", "cat", "/etc/greeting") == "hello"
    assert project("exec", "-T", "web", "cat", "/run/secrets/word") == "mellon"
    assert "db is up" in project("logs", "db")
    assert "Address" in project("exec", "-T", "web", "nslookup", "base")
    assert project("run", "--rm", "-T", "web", "echo", "once") == "once"
    assert project("ps", "--services").split() == ["db", "web"]
    project("cp", "web:/www/index.html", str(project.folder / "copied"))
    assert (project.folder / "copied").read_text() == "page\n"
    assert project("--profile", "tools", "run", "--rm", "-T", "tool") == "a tool"


def test_the_classic_builder_is_there_for_those_who_ask_for_it(project: Project) -> None:
    done = project.run("build", env={**project.host.environment, "DOCKER_BUILDKIT": "0", "WORD": "mellon"})
    assert done.returncode == 0 and "Successfully tagged judge-web:latest" in done.stdout + done.stderr


def test_scaling_and_changing(project: Project) -> None:
    project("up", "-d", "--wait", "--scale", "db=2")
    assert len(project("ps", "-q", "db").split()) == 2
    addresses = [line for line in project("exec", "-T", "web", "nslookup", "db").splitlines() if line.startswith("Address: ")]
    assert len(addresses) == 2
    project("up", "-d", "--wait", "--scale", "db=1")
    before = project("ps", "-q", "db")
    (project.folder / "compose.yaml").write_text(PROJECT.replace("db is up", "db has changed"))
    project("up", "-d", "--wait")
    assert project("ps", "-q", "db") != before
    assert "db has changed" in project("logs", "db")
    project("restart", "-t", "0", "web")
    project("stop", "-t", "0")
    assert project("ps", "-q") == ""


def test_attached_up_shows_output_and_ends_with_its_services(project: Project) -> None:
    (project.folder / "compose.yaml").write_text(
        "name: judge\nservices:\n  one: {image: bb, command: ['sh', '-c', 'echo first; sleep 0.3; exit 4']}\n"
        "  two: {image: bb, command: ['sleep', '100'], stop_grace_period: 0s}\n"
    )
    done = project.run("up", "--abort-on-container-exit", "--exit-code-from", "one")
    assert done.returncode == 4 and "first" in done.stdout


def _page(url: str) -> bytes:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"{url} does not answer")
