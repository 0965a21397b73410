"""Builds with BuildKit's protocol: Docker's own Compose and buildx as they are, without DOCKER_BUILDKIT=0."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.store.registries import HTPASSWD, DebianRegistry

from inception.buildkit.messages import STATUS_RESPONSE

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker")


class Client:
    """Compose or docker in *folder*, against *host*."""

    def __init__(self, host: Host, folder: Path, command: list[str], **environment: str) -> None:
        self.host, self.folder, self.command, self.environment = host, folder, command, environment

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**self.host.environment, **self.environment}
        options = {"capture_output": True, "text": True, "timeout": 100, "env": environment, "cwd": self.folder, **options}
        return subprocess.run([*self.command, *arguments], check=False, **options)

    def __call__(self, *arguments: str, **options: Any) -> str:
        """Its output and its progress; it must succeed."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def inside(self, service: str, *words: str) -> str:
        """What a command says in a new container of *service*."""
        return self.host.docker("run", "--rm", f"kit-{service}", *words)

    def write(self, **files: str) -> None:
        """Files by their names; `__` is a dot, `_in_` a slash."""
        for name, text in files.items():
            path = self.folder / name.replace("_in_", "/").replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


@pytest.fixture(params=["library", pytest.param("bake", marks=pytest.mark.needs("buildx"))])
def project(request: pytest.FixtureRequest, compose: str, host: Host, tmp_path: Path) -> Iterator[Client]:
    """Compose, which builds with the buildx that it has inside, or (bake) with the plugin."""
    folder = tmp_path / "project"
    folder.mkdir()
    config = str(request.getfixturevalue("buildx")) if request.param == "bake" else str(tmp_path)
    client = Client(host, folder, [compose, "--progress=plain"], DOCKER_CONFIG=config)
    yield client
    if (folder / "compose.yaml").exists():
        client("down", "-v", "-t", "0", "--rmi", "local")


@pytest.fixture
def docker(buildx: Path, host: Host, tmp_path: Path) -> Client:
    """The docker CLI, whose `build` is buildx."""
    folder = tmp_path / "context"
    folder.mkdir()
    return Client(host, folder, ["docker"], DOCKER_CONFIG=str(buildx))


def steps(output: str) -> dict[str, str]:
    """How each step ended: `DONE`, `CACHED`, `ERROR`, by its name."""
    names = dict(re.findall(r"^#(\d+) \[(?:\w+ )?(?:\w+ )?\d+/\d+\] (.*)$", output, re.MULTILINE))
    return {
        names[number]: end
        for number, end in re.findall(r"^#(\d+) (DONE|CACHED|ERROR)", output, re.MULTILINE)
        if number in names
    }


ASK = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {  /* asks the agent which keys there are, and prints the type of its answer */
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    unsigned char answer[5], *end = answer;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(place.sun_path, getenv("SSH_AUTH_SOCK"), sizeof place.sun_path - 1);
    if (connect(fd, (void *)&place, sizeof place) || write(fd, "\0\0\0\1\13", 5) != 5) return 1;
    while (end < answer + 5) {
        ssize_t n = read(fd, end, answer + 5 - end);
        if (n <= 0) return 2;
        end += n;
    }
    printf("%d", answer[4]);
    return 0;
}
"""


def compile_static(source: str, target: Path) -> None:
    command = ["gcc", "-static", "-x", "c", "-o", str(target), "-"]
    subprocess.run(command, input=source, text=True, check=True, capture_output=True)


# --- Compose ---


def test_up_builds_several_services_and_an_unchanged_build_is_cached(project: Client) -> None:
    project.write(
        compose__yaml="""\
name: kit
services:
  one:
    build: {context: ., args: {WORD: mellon}, target: early, labels: {a: b}}
    command: ["sleep", "100"]
    stop_grace_period: 0s
  two:
    build:
      context: .
      dockerfile_inline: |
        FROM bb
        COPY sub/two /two
        CMD ["sleep", "100"]
    stop_grace_period: 0s
""",
        Dockerfile="FROM bb AS early\nARG WORD\nCOPY . /all\nRUN echo $WORD >/word\nFROM early\nRUN false\n",
        sub_in_one="1",
        sub_in_two="2",
        __dockerignore="sub/one\n*.yaml\n",
    )
    project("up", "-d", "--build", "--wait")
    assert project("exec", "-T", "one", "cat", "/word").strip() == "mellon"
    assert project("exec", "-T", "one", "find", "/all", "-type", "f").split() == [
        "/all/.dockerignore",
        "/all/Dockerfile",
        "/all/sub/two",
    ]
    assert project("exec", "-T", "two", "cat", "/two").strip() == "2"
    image = project.host.docker("inspect", "-f", "{{.Id}} {{.Config.Labels.a}}", "kit-one")
    assert image.endswith(" b")
    before = project("ps", "-q").split()
    output = project("build")
    assert set(steps(output).values()) == {"CACHED"}
    assert project.host.docker("inspect", "-f", "{{.Id}} {{.Config.Labels.a}}", "kit-one") == image
    project("up", "-d", "--build", "--wait")
    assert project("ps", "-q").split() == before, "an unchanged build made new containers"


def test_only_what_has_changed_is_sent(project: Client) -> None:
    project.write(
        compose__yaml="name: kit\nservices: {a: {build: .}}\n",
        Dockerfile="FROM bb\nCOPY files /files\n",
        files_in_a="a" * 50_000,
        files_in_b="b",
        elsewhere="x" * 90_000,
    )
    assert "transferring context: 50kB" in project("build")
    project.write(files_in_b=project.environment["DOCKER_CONFIG"])  # of no other test, nor of this one's other run
    output = project("build")
    size = len(project.environment["DOCKER_CONFIG"])
    assert f"transferring context: {size}B" in output and steps(output)["COPY files /files"] == "DONE"
    (project.folder / "files/a").unlink()
    (project.folder / "files/a").mkdir()
    (project.folder / "files/link").symlink_to("/etc/passwd")
    output = project("build")
    assert project.inside("a", "ls", "-R", "/files").split() == ["/files:", "a", "b", "link", "/files/a:"]


def test_secrets_ssh_contexts_and_limits_reach_the_steps(project: Client, tmp_path: Path) -> None:
    bake = "config" in project.environment["DOCKER_CONFIG"]
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        while not (tmp_path / "agent").exists():
            time.sleep(0.01)
        project.write(
            compose__yaml="""\
name: kit
services:
  a:
    build:
      context: .
      secrets: [file, word]
      ssh: [default]
      additional_contexts: {other: ./other, image: docker-image://bb}
      extra_hosts: ["there:192.0.2.7"]
      ulimits: {nofile: {soft: 123, hard: 456}}
      shm_size: 8m
      network: none
secrets: {file: {file: ./file}, word: {environment: WORD}}
""",
            Dockerfile=f"""\
FROM image
RUN echo {bake} >/mode
RUN --mount=type=secret,id=file --mount=type=secret,id=word,env=WORD [ "$(cat /run/secrets/file) $WORD" = "speak friend" ]
RUN --mount=type=secret,id=none [ ! -e /run/secrets/none ]
COPY ask /ask
RUN --mount=type=ssh /ask >/agent
COPY --from=other thing /thing
RUN grep there /etc/hosts; ulimit -n; ip link | grep -c UP; df -k /dev/shm | tail -1
""",
            file="speak",
            other_in_thing="thing",
        )
        compile_static(ASK, project.folder / "ask")
        project.environment |= {"WORD": "friend", "SSH_AUTH_SOCK": str(tmp_path / "agent")}
        output = project("build")
        assert re.search(r"192\.0\.2\.7\s+there", output) and re.search(r" 123$", output, re.MULTILINE)
        assert not bake or re.search(r" 8192 ", output)  # Compose's own does not send it
        assert project.inside("a", "cat", "/thing", "/agent") == "thing12"  # SSH_AGENT_IDENTITIES_ANSWER
    finally:
        agent.terminate()
        agent.wait()


def test_a_service_builds_on_another_ones_image(project: Client) -> None:
    project.write(
        compose__yaml="""\
name: kit
services:
  base: {build: {context: ., target: base}}
  top: {build: {context: ., target: top, additional_contexts: {below: "service:base"}}}
""",
        Dockerfile="FROM bb AS base\nRUN echo below >/below\nFROM below AS top\nRUN cat /below >/top\n",
    )
    before = project.host.docker("images", "-q", "--filter", "dangling=true")
    project("build")
    assert project.inside("top", "cat", "/top") == "below"
    assert project.host.docker("images", "-q", "--filter", "dangling=true") == before


def test_a_failing_step_has_dockers_words_and_leaves_nothing(project: Client) -> None:
    project.write(
        compose__yaml="name: kit\nservices: {a: {build: .}}\n",
        Dockerfile="FROM bb\nRUN echo almost; exit 7\n",
    )
    before = project.host.docker("images", "-aq")
    done = project.run("build")
    output = done.stdout + done.stderr
    assert done.returncode not in (0, None)
    assert 'process "/bin/sh -c echo almost; exit 7" did not complete successfully: exit code: 7' in output
    assert "almost" in output and steps(output)["RUN echo almost; exit 7"] == "ERROR"
    assert project.host.docker("images", "-aq") == before


def test_what_is_missing_or_wrong_is_said(project: Client) -> None:
    def failure(dockerfile: str, more: str = "") -> str:
        project.write(
            compose__yaml=f"name: kit\nservices: {{a: {{build: {{context: .{more}}}}}}}\n",
            Dockerfile=dockerfile,
        )
        done = project.run("build")
        assert done.returncode != 0
        return done.stdout + done.stderr

    assert "unknown instruction: RUNN" in failure("FROM bb\nRUNN x\n")
    assert '"/nope": not found' in failure("FROM bb\nCOPY nope /\n")
    assert 'target stage "x" could not be found' in failure("FROM bb\n", ", target: x")
    assert "failed to read dockerfile: open Other" in failure("FROM bb\n", ", dockerfile: Other")


def test_a_cache_that_is_not_there_stops_nothing(project: Client) -> None:
    project.write(
        compose__yaml="name: kit\nservices: {a: {build: {context: ., cache_from: ['localhost:1/nope']}}}\n",
        Dockerfile="FROM bb\nRUN true\n",
    )
    assert "importing cache manifest from localhost:1/nope" in project("build")


# --- buildx ---


@pytest.mark.needs("buildx")
def test_docker_build_with_buildx(docker: Client, tmp_path: Path) -> None:
    docker.write(Dockerfile="FROM bb\nARG A\nCOPY file /file\nRUN echo $A >>/file\n", file="file ")
    ids, metadata = tmp_path / "id", tmp_path / "metadata"
    docker(
        "build", "-t", "one", "-t", "two:x", "--build-arg", "A=1", "--iidfile", str(ids), "--metadata-file", str(metadata), "."
    )
    image = docker.host.docker("inspect", "-f", "{{.Id}}", "one")
    assert ids.read_text() == image == docker.host.docker("inspect", "-f", "{{.Id}}", "two:x")
    found = json.loads(metadata.read_text())
    assert found["containerimage.config.digest"] == found["containerimage.digest"] == image
    assert found["image.name"] == "docker.io/library/one:latest,docker.io/library/two:x"
    assert docker.host.docker("run", "--rm", "one", "cat", "/file") == "file 1"
    # From standard input: an archive, and a lone Dockerfile.
    with tarfile.open(tmp_path / "context.tar.gz", "w:gz") as tar:
        tar.add(docker.folder, ".")
    with open(tmp_path / "context.tar.gz", "rb") as stream:
        assert docker("build", "-q", "--build-arg", "A=1", "-", stdin=stream).strip().endswith(image)
    assert docker("build", "-q", "-", input="FROM bb\nRUN echo alone >/alone\n").startswith("sha256:")
    docker.host.docker("rmi", "one", "two:x")


@pytest.mark.needs("buildx")
def test_outputs_are_written_by_the_client(docker: Client, tmp_path: Path) -> None:
    docker.write(
        Dockerfile="FROM bb AS made\nRUN mkdir -p /out/dir && echo 1 >/out/dir/file\n"
        "RUN ln -s dir/file /out/link && chmod 4750 /out/dir/file\nFROM scratch\nCOPY --from=made /out /\n"
    )
    before = docker.host.docker("images", "-aq")
    docker("build", "-o", str(tmp_path / "out"), ".")
    assert (tmp_path / "out/link").read_text() == "1\n" and os.readlink(tmp_path / "out/link") == "dir/file"
    assert (tmp_path / "out/dir/file").stat().st_mode & 0o7777 == 0o4750
    docker("build", "-o", f"type=tar,dest={tmp_path}/out.tar", ".")
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert sorted(tar.getnames()) == ["dir", "dir/file", "link"]
    assert docker.host.docker("images", "-aq") == before


@pytest.mark.needs("buildx")
def test_the_lines_of_a_failure_are_shown(docker: Client) -> None:
    docker.write(Dockerfile="FROM bb\n\nRUN exit 3\n")
    done = docker.run("build", ".")
    assert done.returncode == 1
    assert "Dockerfile:3\n--------------------\n" in done.stderr and ">>> RUN exit 3" in done.stderr


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DebianRegistry]:
    """One that wants a log-in, which the docker CLI of these tests has."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    server = DebianRegistry(tmp_path, f"auth: {{htpasswd: {{realm: tests, path: {tmp_path}/htpasswd}}}}")
    yield server
    server.close()


@pytest.mark.needs("buildx", "docker-registry")
def test_registries_are_spoken_to_with_the_clients_log_ins(docker: Client, registry: DebianRegistry) -> None:
    name = f"{registry.host}/team/base:1"
    docker.write(Dockerfile="FROM bb\nRUN date +%N >/made\n")
    denied = docker.run("build", "--push", "-t", name, ".")
    assert denied.returncode == 1 and "denied" in denied.stderr
    log_in = base64.b64encode(b"user:secret").decode()
    config = Path(docker.environment["DOCKER_CONFIG"]) / "config.json"
    config.write_text(json.dumps({"auths": {registry.host: {"auth": log_in}}}))
    docker("build", "--push", "--cache-to", "type=inline", "-t", name, ".")
    made = docker.host.docker("run", "--rm", name, "cat", "/made")
    # Neither the image nor its cache is here any more; base images and caches are fetched as the client.
    docker.host.docker("rmi", name)
    docker("buildx", "prune", "-af")
    output = docker("build", "--progress=plain", "--cache-from", name, "-t", "again", ".")
    assert steps(output)["RUN date +%N >/made"] == "CACHED"
    assert docker.host.docker("run", "--rm", "again", "cat", "/made") == made
    docker.write(Dockerfile=f"FROM {name}\nRUN cat /made\n")
    assert made in docker("build", "--progress=plain", ".")
    config.write_text("{}")
    docker.host.docker("rmi", name)
    assert "denied" in docker.run("build", ".").stderr


@pytest.mark.needs("buildx")
def test_questions_about_a_dockerfile_are_answered(docker: Client) -> None:
    docker.write(Dockerfile="from bb\nRUN true\n")
    done = docker.run("build", "--check", ".")
    assert done.returncode == 1 and "ConsistentInstructionCasing" in done.stdout and ">>> from bb" in done.stdout
    docker.write(Dockerfile="FROM bb AS base\n# last what comes out\nFROM --platform=$BUILDPLATFORM base AS last\n")
    rows = [line.split() for line in docker("build", "--call", "targets", ".").splitlines() if not line.startswith("#")]
    assert ["base"] in rows and ["last", "(default)", "what", "comes", "out"] in rows
    found = json.loads(docker.run("build", "--call", "targets,format=json", ".").stdout)["targets"]
    assert [(each["name"], each["base"], each["platform"]) for each in found] == [
        ("base", "bb", ""),
        ("last", "base", "$BUILDPLATFORM"),
    ]
    docker.write(Dockerfile="# V is the version\nARG V=1\nFROM bb:$V\nRUN --mount=type=secret,id=token true\n")
    shown = docker.run("build", "--call", "outline", "--build-arg", "V=2", ".").stdout
    assert [line.split() for line in shown.splitlines()][1:5] == [
        ["V", "2", "is", "the", "version"],
        [],
        ["SECRET", "REQUIRED"],
        ["token"],
    ]
    docker.write(Dockerfile="FROM bb\nMAINTAINER me\nBADCMD\n")
    done = docker.run("build", "--check", ".")
    assert done.returncode == 1 and "MaintainerDeprecated" in done.stdout and "unknown instruction: BADCMD" in done.stdout


@pytest.mark.needs("buildx")
def test_the_builder_and_its_cache_are_shown_and_pruned(docker: Client) -> None:
    assert "host-gateway-ip" in docker("buildx", "inspect")
    docker.write(Dockerfile="FROM bb\nCOPY x /\nRUN echo 1 >/1\n", x="1")
    docker("build", "-q", ".")
    assert "layer-" in docker("buildx", "du") and "contexts-" in docker("buildx", "du")
    docker("build", "-q", ".")
    folders = docker.host.root / "build-cache/contexts"
    assert list(folders.glob("*/digests.*"))
    docker("buildx", "prune", "-af")
    assert "contexts-" not in docker("buildx", "du")
    assert not list(folders.glob("*/d*"))


@pytest.mark.needs("buildx")
def test_what_is_not_supported_is_refused_by_name(docker: Client) -> None:
    docker.write(Dockerfile="FROM bb\nRUN true\n")
    done = docker.run("build", "--cgroup-parent", "x", ".")
    assert done.returncode == 1 and "cgroup-parent x is not supported" in done.stderr


@pytest.mark.needs("buildx")
def test_a_step_without_a_sandbox_takes_the_users_word(docker: Client) -> None:
    docker.write(Dockerfile="FROM bb\nRUN --security=insecure grep -q '^Seccomp:.*0' /proc/self/status\n")
    done = docker.run("build", ".")
    assert done.returncode == 1 and "security.insecure is not allowed" in done.stderr, done.stderr
    assert docker.run("build", "--allow", "security.insecure", ".").returncode == 0


@pytest.mark.needs("buildx")
def test_a_client_that_goes_away_ends_its_build(docker: Client) -> None:
    docker.write(Dockerfile="FROM bb\nRUN echo begun; sleep 1000\n")
    environment = {**docker.host.environment, **docker.environment}
    for number in (signal.SIGKILL, signal.SIGINT):
        client = subprocess.Popen(
            ["docker", "build", "--progress=plain", "."], cwd=docker.folder, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert client.stderr is not None
        assert any(re.search(r"^#\d+ [\d.]+ begun", line) for line in client.stderr)
        client.send_signal(number)
        client.stderr.close()
        client.wait(30)
        for _ in range(300):
            if not _sleepers():
                break
            time.sleep(0.05)
        assert not _sleepers()
    docker.write(Dockerfile="FROM bb\nRUN true\n")
    docker("build", "-q", ".")


def _sleepers() -> list[str]:
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", b"1000"] or b"echo begun; sleep 1000" in words:
            found.append(pid)
    return found


def posted(host: Host, query: str, **files: str) -> tuple[int, list[dict[str, Any]]]:
    """The status and the objects of POST /build with BuildKit's words, for a context of *files*."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    status, _, data = host.request(
        "POST", f"/build?version=2&{query}", archive.getvalue(), {"Content-Type": "application/x-tar"}
    )
    return status, [json.loads(line) for line in data.splitlines()]


def traces(answer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [each["aux"] for each in answer if each.get("id") == "moby.buildkit.trace"]
    return [STATUS_RESPONSE.decode(base64.b64decode(data)) for data in found]


def test_a_build_by_one_request_answers_in_buildkits_words(host: Host) -> None:
    status, answer = posted(host, "t=posted:1&t=posted:2", Dockerfile="FROM bb\nCOPY file /\nRUN echo hello\n", file="x")
    assert status == 200
    assert answer[-1]["id"] == "moby.image.id"
    assert host.json("GET", "/images/posted:2/json")["Id"] == answer[-1]["aux"]["ID"]
    told = traces(answer)
    assert "[3/3] RUN echo hello" in {vertex["name"] for each in told for vertex in each["vertexes"]}
    assert b"".join(log["msg"] for each in told for log in each["logs"]) == b"hello\n"

    assert posted(host, "q=1", Dockerfile="FROM bb\nRUN echo hello\n")[1][-1]["stream"].startswith("sha256:")


def test_a_failing_build_by_one_request_ends_with_the_error(host: Host) -> None:
    status, answer = posted(host, "dockerfile=other", other="FROM bb\nRUN exit 3\n")
    words = 'process "/bin/sh -c exit 3" did not complete successfully: exit code: 3'
    assert status == 200 and answer[-1] == {"errorDetail": {"message": words}, "error": words}
    assert words in {vertex["error"] for each in traces(answer) for vertex in each["vertexes"]}

    status, answer = posted(host, "dockerfile=nope", other="FROM bb\n")
    assert status == 404 and "nope" in answer[0]["message"]
    status, answer = posted(host, "remote=client-session", other="FROM bb\n")
    assert status == 400 and "names no session" in answer[0]["message"]
    assert posted(host, "session=nobody", Dockerfile="FROM bb\n")[0] == 404


def test_a_build_by_one_request_can_be_cancelled(host: Host) -> None:
    found: list[Any] = []
    dockerfile = "FROM bb\nRUN touch /begun && sleep 1000\n"
    build = threading.Thread(target=lambda: found.append(posted(host, "buildid=mine&nocache=1", Dockerfile=dockerfile)))
    build.start()
    while b"sleep 1000" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout:
        assert build.is_alive(), found
        time.sleep(0.05)
    assert host.request("POST", "/build/cancel?id=another")[0] == 200
    assert host.request("POST", "/build/cancel?id=mine")[0] == 200
    build.join(30)
    assert found and found[0][1][-1]["error"] == "context canceled"


def test_a_connection_must_ask_for_the_protocol_and_speak_it(host: Host) -> None:
    status, _, body = host.request("POST", "/grpc")
    assert status == 400 and b"no upgrade to h2c" in body
    connection = _upgrade(host, "/grpc")
    connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
    assert _end(connection), "a client that speaks something else is not let go"
    connection = _upgrade(host, "/session", "X-Docker-Expose-Session-Uuid: x\r\n")
    connection.sendall(b"\0\0\1\6\0\0\0\0\0x")  # a PING of one byte
    assert _end(connection)


def _upgrade(host: Host, path: str, headers: str = "") -> socket.socket:
    connection = host.connect()
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n{headers}\r\n".encode())
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        received += connection.recv(1)
    assert received.startswith(b"HTTP/1.1 101 "), received
    return connection


def _end(connection: socket.socket) -> bool:
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True
