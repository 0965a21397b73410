"""The server itself, spoken to in plain HTTP: who may, what it answers, what vanished clients leave."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .support import Host, frames, read_all

pytestmark = pytest.mark.needs("root", "nft", "docker")


def test_socket_is_private_and_none_is_abstract(host: Host) -> None:
    assert stat.S_IMODE(os.stat(host.socket).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(host.socket)).st_mode) == 0o700
    assert host.process is not None
    inodes = set()
    for name in os.listdir(f"/proc/{host.process.pid}/fd"):
        try:
            target = os.readlink(f"/proc/{host.process.pid}/fd/{name}")
        except FileNotFoundError:
            continue
        inodes.add(target.removeprefix("socket:[").rstrip("]"))
    with open("/proc/net/unix") as table:
        rows = [line.split() for line in table]
    assert not [row for row in rows if len(row) > 7 and row[6] in inodes and row[7].startswith("@")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:2375"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "docker.evil.example"},
    ],
)
def test_foreign_hosts_and_pages_are_refused(host: Host, headers: dict[str, str]) -> None:
    assert host.request("GET", "/containers/json", headers=headers)[0] == 403


@pytest.mark.parametrize("name", ["docker", "localhost", "api.moby.localhost", "127.0.0.1:80", "%2Frun%2Fdocker.sock"])
def test_names_that_clients_use_are_taken(host: Host, name: str) -> None:
    assert host.request("GET", "/_ping", headers={"Host": name})[0] == 200


def test_every_answer_says_whose_it_is(host: Host) -> None:
    for path in ("/_ping", "/nope", "/events?until=1", "/v1.44/containers/nope/json"):
        _, headers, _ = host.request("GET", path)
        found = [headers[name] for name in ("api-version", "ostype", "docker-experimental", "server")]
        assert found[:3] == ["1.51", "linux", "false"] and found[3].startswith("Inception/"), (path, headers)
    assert host.request("GET", "/_ping", headers={"Expect": "a miracle"})[1]["server"].startswith("Inception/")
    for line in ("GARBAGE", "GET / HTTP/x", "GET /x\x01y HTTP/1.1"):
        with host.connect() as connection:
            connection.sendall(f"{line}\r\n\r\n".encode())
            head = read_all(connection).partition(b"\r\n\r\n")[0]
        assert head.startswith(b"HTTP/1.") and b" 400 " in head and b"Server: Inception/" in head, (line, head)
        assert b"aiohttp" not in head
    assert host.request("OPTIONS", "/v1.44/containers/json")[::2] == (200, b"")
    assert host.request("GET", "/_ping", headers={f"X-{i}": "x" for i in range(500)})[0] == 200
    assert host.json("GET", "/networks/") == host.json("GET", "/networks")


def test_a_client_that_asks_first_is_told_to_send_its_body(host: Host) -> None:
    def ask(expected: str) -> bytes:
        head = f"POST /v1.44/containers/create HTTP/1.1\r\nHost: docker\r\nExpect: {expected}\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n".encode())
        return connection.recv(1 << 12)

    with host.connect() as connection:
        assert ask("100-continue") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")
    with host.connect() as connection:
        assert ask("a miracle").startswith(b"HTTP/1.1 417 ")


def test_versions_are_negotiated(host: Host) -> None:
    status, headers, body = host.request("GET", "/_ping")
    assert (status, body, headers["api-version"], headers["ostype"]) == (200, b"OK", "1.51", "linux")
    assert host.request("HEAD", "/v1.30/_ping")[0] == 200
    assert host.request("GET", "/v1.24/containers/json")[0] == 200
    status, _, body = host.request("GET", "/v1.52/containers/json")
    assert status == 400 and "client version 1.52 is too new. Maximum supported API version is 1.51" in body.decode()
    status, _, body = host.request("GET", "/v1.23/containers/json")
    assert status == 400 and "client version 1.23 is too old" in body.decode()


@pytest.mark.parametrize(
    "method, path, body, status, text",
    [
        ("GET", "/nope", None, 404, "page not found"),
        ("GET", "/containers/nope/json", None, 404, "No such container: nope"),
        ("GET", "/images/nope/json", None, 404, "No such image: nope:latest"),
        ("GET", "/networks/nope", None, 404, "network nope not found"),
        ("GET", "/volumes/nope", None, 404, "get nope: no such volume"),
        ("GET", "/exec/nope/json", None, 404, "No such exec instance: nope"),
        ("GET", "/plugins/nope/json", None, 404, 'plugin "nope" not found'),
        ("GET", "/nodes", None, 503, "This node is not a swarm manager."),
        ("POST", "/session", None, 400, "no upgrade to h2c"),
        ("POST", "/containers/create", b"{", 400, "invalid JSON"),
        ("POST", "/containers/create", b"[" * 100_000, 400, "invalid JSON"),
        ("POST", "/containers/create", {"Image": 5}, 400, "Image: expected a string"),
        ("POST", "/containers/create", {"Image": "nope"}, 404, "No such image: nope:latest"),
        (
            "POST",
            "/containers/create",
            {"Image": "bb", "HostConfig": {"Links": ["a"]}},
            400,
            "could not get container for a: No such container: a",
        ),
        ("POST", "/containers/create?name=!", {"Image": "bb"}, 400, "Invalid container name (!)"),
        ("POST", "/containers/create", b"x" * (5 << 20), 413, "request body too large"),
        ("GET", "/containers/json?filters=%7B", None, 400, "invalid JSON in filters"),
        ("GET", '/containers/json?filters={"nope":["x"]}', None, 400, "invalid filter 'nope'"),
        ("GET", "/containers/nope/top?ps_args=%00", None, 404, "No such container"),
        ("POST", "/containers/create?name=%00", {"Image": "bb"}, 400, "zero byte"),
        ("GET", "/containers//json", None, 404, "page not found"),
        ("GET", "/containers/%2e%2e/json", None, 404, ""),
        ("POST", "/containers/nope/wait?condition=x", None, 400, "invalid condition"),
    ],
)
def test_errors_have_docker_statuses_and_bodies(
    host: Host, method: str, path: str, body: object, status: int, text: str
) -> None:
    found, headers, data = host.request(method, path, body)
    assert (found, headers["content-type"].partition(";")[0]) == (status, "application/json")
    assert text in json.loads(data)["message"]


def test_unknown_fields_are_ignored_and_null_is_nothing(host: Host) -> None:
    body = {"Image": "bb", "Nope": 1, "Env": None, "HostConfig": {"Nope": [], "PortBindings": None, "Memory": None}}
    assert host.json("POST", "/containers/create", body)["Id"]


def test_filters_come_in_both_spellings(host: Host) -> None:
    made = host.json("POST", "/containers/create", {"Image": "bb", "Labels": {"a": "b"}})["Id"]
    for text in ('{"label":{"a=b":true}}', '{"label":["a=b"]}'):
        assert [row["Id"] for row in host.json("GET", f"/containers/json?all=True&filters={text}")] == [made]
    assert host.json("GET", '/containers/json?all=1&filters={"label":["a=c"]}') == []


def test_wait_answers_its_head_before_the_start(host: Host) -> None:
    made = host.json("POST", "/containers/create", {"Image": "bb", "Cmd": ["sh", "-c", "exit 5"]})["Id"]
    for condition in ("next-exit", "next-exit"):
        waiter = host.connect()
        waiter.sendall(f"POST /v1.44/containers/{made}/wait?condition={condition} HTTP/1.1\r\nHost: docker\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += waiter.recv(1)
        assert b"200 OK" in head and b"chunked" in head
        host.json("POST", f"/containers/{made}/start")
        assert b'{"StatusCode":5}' in waiter.recv(1000)
        waiter.close()


def test_attach_before_the_start_multiplexes_and_half_closes(host: Host) -> None:
    body = {"Image": "bb", "Cmd": ["sh", "-c", "echo start; cat; echo end >&2"], "OpenStdin": True, "StdinOnce": True}
    made = host.json("POST", "/containers/create", body)["Id"]
    stream = host.upgrade(f"/v1.44/containers/{made}/attach?stream=1&stdin=1&stdout=1&stderr=1")
    host.json("POST", f"/containers/{made}/start")
    stream.sendall(b"middle\n")
    stream.shutdown(socket.SHUT_WR)
    said = frames(read_all(stream))
    assert sorted(said) == [(1, b"start\nmiddle\n"), (2, b"end\n")]


def test_a_terminal_is_raw(host: Host) -> None:
    body = {"Image": "bb", "Cmd": ["echo", "hi"], "Tty": True}
    made = host.json("POST", "/containers/create", body)["Id"]
    stream = host.upgrade(f"/v1.44/containers/{made}/attach?stream=1&stdout=1&stderr=1")
    host.json("POST", f"/containers/{made}/start")
    assert read_all(stream) == b"hi\r\n"


def test_a_client_that_detaches_leaves_stdin_open(host: Host) -> None:
    made = host.json("POST", "/containers/create", {"Image": "bb", "Cmd": ["cat"], "OpenStdin": True})["Id"]
    host.json("POST", f"/containers/{made}/start")
    first = host.upgrade(f"/containers/{made}/attach?stream=1&stdin=1&stdout=1")
    first.close()
    time.sleep(0.1)
    second = host.upgrade(f"/containers/{made}/attach?stream=1&stdin=1&stdout=1")
    second.sendall(b"still here\n")
    assert second.recv(100).endswith(b"still here\n")


def test_keys_that_detach_leave_the_container_alone(host: Host) -> None:
    made = host.json("POST", "/containers/create", {"Image": "bb", "Cmd": ["cat"], "OpenStdin": True, "Tty": True})["Id"]
    host.json("POST", f"/containers/{made}/start")
    stream = host.upgrade(f"/containers/{made}/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,z")
    stream.sendall(b"\x01z")
    assert read_all(stream) == b""
    assert host.json("GET", f"/containers/{made}/json")["State"]["Running"]
    assert host.request("POST", f"/containers/{made}/attach?stream=1&detachKeys=ctrl-aa")[0] == 400


def test_vanished_clients_leave_nothing(host: Host) -> None:
    command = ["sh", "-c", "while :; do echo x; sleep 0.02; done"]
    made = host.json("POST", "/containers/create", {"Image": "bb", "Cmd": command, "OpenStdin": True})["Id"]
    host.json("POST", f"/containers/{made}/start")

    def round_of_clients() -> None:
        for _ in range(15):
            host.upgrade(f"/containers/{made}/attach?stream=1&stdin=1&stdout=1").close()
            run = host.json("POST", f"/containers/{made}/exec", {"Cmd": ["sleep", "1000"], "AttachStdin": True})["Id"]
            host.upgrade(f"/exec/{run}/start", {}).close()
            for line in (f"GET /containers/{made}/logs?follow=1&stdout=1", "GET /events", f"POST /containers/{made}/wait"):
                client = host.connect()
                client.sendall(f"{line} HTTP/1.1\r\nHost: docker\r\n\r\n".encode())
                client.recv(10)
                client.close()

    def descriptors() -> int:
        assert host.process is not None
        return len(os.listdir(f"/proc/{host.process.pid}/fd"))

    def settled(most: int) -> bool:
        for _ in range(100):
            if descriptors() <= most and len(host.json("GET", f"/containers/{made}/top")["Processes"]) <= 2:
                return True
            time.sleep(0.05)
        return False

    round_of_clients()
    assert settled(200)
    before = descriptors()
    round_of_clients()
    # Threads that were made meanwhile keep their database connections: three descriptors each, and they are bounded.
    assert settled(before + 30)


def test_smuggled_and_doubled_requests_are_not_served_twice(host: Host) -> None:
    connection = host.connect()
    connection.sendall(
        b"POST /containers/prune HTTP/1.1\r\nHost: docker\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"
    )
    assert b"400" in connection.recv(4096).split(b"\r\n")[0]


def test_a_build_context_is_never_held_in_memory(host: Host, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM bb\nCOPY small /\n")
    (tmp_path / "small").write_text("x")
    with open(tmp_path / "big", "wb") as file:
        for _ in range(150):
            file.write(os.urandom(1 << 20))
    before = _peak_kib(host)
    host.docker("build", "-q", str(tmp_path))
    assert _peak_kib(host) - before < 60 << 10


def _peak_kib(host: Host) -> int:
    assert host.process is not None
    with open(f"/proc/{host.process.pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def test_tcp_without_tls_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inception.cli", "--root", tmp_path / "r", "--run-root", tmp_path / "rr", "serve"]
    done = subprocess.run([*command, "-H", "tcp://127.0.0.1:0"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and "--tlsverify" in done.stderr


@pytest.mark.needs("openssl")
def test_tcp_wants_a_certificate_of_the_authority(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    host = Host(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    files = [f"--tlscacert={tmp_path}/ca.pem", f"--tlscert={tmp_path}/server.pem", f"--tlskey={tmp_path}/server.key"]
    host.start("-H", f"unix://{host.socket}", "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *files)
    try:
        client = ["--tlsverify", f"--tlscacert={tmp_path}/ca.pem", "-H", f"tcp://127.0.0.1:{port}"]
        good = [*client, f"--tlscert={tmp_path}/client.pem", f"--tlskey={tmp_path}/client.key"]
        assert host.docker(*good, "ps", "-q") == ""
        done = host.run("--tls", "-H", f"tcp://127.0.0.1:{port}", "ps")
        assert done.returncode == 1
    finally:
        assert host.stop() == 0


def make_certificates(folder: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    for name in ("server", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", *sign, "-out", f"{name}.pem")


def test_socket_activation(tmp_path: Path) -> None:
    """As systemd does it: the socket is descriptor 3, and LISTEN_PID is the process's own."""
    path = tmp_path / "activated.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    start = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
        "os.execv(sys.executable, [sys.executable, '-m', 'inception.cli', *sys.argv[2:]])"
    )
    roots = ["--root", str(tmp_path / "r"), "--run-root", str(tmp_path / "rr")]
    command = [sys.executable, "-c", start, str(listening.fileno()), *roots, "serve"]
    process = subprocess.Popen(command, pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL)
    try:
        listening.close()
        done = subprocess.run(["docker", "-H", f"unix://{path}", "ps", "-q"], capture_output=True, timeout=30, check=False)
        assert done.returncode == 0
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_dial_stdio_joins_the_socket(host: Host) -> None:
    command = [sys.executable, "-m", "inception.cli", "--root", host.root, "--run-root", host.run_root, "system", "dial-stdio"]
    request = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(request)
        process.stdin.flush()
        assert process.stdout.read().endswith(b"\r\n\r\nOK")
    assert process.returncode == 0


def test_a_second_server_does_not_take_the_first_ones_socket(host: Host) -> None:
    command = [sys.executable, "-m", "inception.cli", "--root", host.root, "--run-root", host.run_root, "serve"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and "another server is there" in done.stderr
    assert host.request("GET", "/_ping")[0] == 200


def test_a_stop_ends_streams_and_takes_the_socket_away(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.start()
    events = host.connect()
    events.sendall(b"GET /events HTTP/1.1\r\nHost: docker\r\n\r\n")
    assert b"200 OK" in events.recv(1000)
    assert host.stop() == 0
    assert events.recv(1000) == b"" and not os.path.exists(host.socket)
    assert host.log.read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{invalid", "invalid character 'i' looking for beginning of object key string"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a": 1', "unexpected end of JSON input"),
        (b"{} {}", "invalid character '{' after top-level value"),
        (b"", "got EOF while reading request body"),
    ],
)
def test_a_body_that_is_no_json_is_refused_in_gos_words_before_anything_is_looked_for(
    host: Host, body: bytes, words: str
) -> None:
    for path in (
        "/containers/create",
        "/containers/nope/exec",
        "/containers/nope/update",
        "/exec/nope/start",
        "/volumes/create",
    ):
        status, _, data = host.request("POST", path, body)
        if (path, body) != ("/containers/create", b""):
            assert status == 400 and words in json.loads(data)["message"], (path, data)


def test_a_body_must_say_that_it_is_json(host: Host) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        status, _, data = host.request("POST", "/volumes/create", b"{}", {"Content-Type": kind})
        assert status == 400 and f"unsupported Content-Type header ({kind})" in json.loads(data)["message"]


def test_a_stop_with_a_timeout_beyond_any_clock_is_a_stop(host: Host) -> None:
    for timeout in (2**31, 2**63 - 1):
        host.docker("run", "-d", "--name", "patient", "bb", "sh", "-c", "trap exit TERM; while :; do sleep 0.05; done")
        status, _, data = host.request("POST", f"/containers/patient/stop?t={2**63}")
        assert status == 400 and b"value out of range" in data
        assert host.request("POST", f"/containers/patient/stop?t={timeout}")[0] == 204
        host.docker("rm", "-f", "patient")


def test_what_docker_refuses_is_refused_before_anything_is_looked_at(host: Host) -> None:
    """Found by a session against dockerd, after the cases of moby's own integration tests."""
    body = {"Image": "bb", "Cmd": ["sleep", "60"], "HostConfig": {"Memory": 16 << 20, "MemorySwap": 32 << 20}}
    box = host.json("POST", "/containers/create", body)["Id"]
    status, _, said = host.request("POST", f"/containers/{box}/start", {"Binds": ["/tmp:/x"]})
    assert status == 400 and b"starting container with non-empty request body" in said
    assert host.request("POST", f"/containers/{box}/start", b"{}")[0] == 204
    status, _, said = host.request("POST", f"/containers/{box}/update", {"Memory": 64 << 20})
    assert status == 409 and b"update the memoryswap at the same time" in said
    for kind in ("containers", "networks", "images"):
        assert host.request("POST", f"/{kind}/prune?filters=%7B%22until%22:[%22x%22]%7D")[0] == 400
    assert host.request("GET", "/containers/json?filters=%7B%22is-task%22:[%22x%22]%7D")[0] == 400


def test_an_empty_entrypoint_takes_the_images_command_away_too(host: Host) -> None:
    for entrypoint, status in (([""], 400), ([], 201), (None, 201)):
        assert host.request("POST", "/containers/create", {"Image": "bb", "Entrypoint": entrypoint})[0] == status


def test_a_push_of_what_is_not_here_is_told_in_the_stream(host: Host) -> None:
    status, _, said = host.request("POST", "/images/nope/push", headers={"X-Registry-Auth": "e30="})
    assert status == 200 and "An image does not exist locally with the tag: nope" in json.loads(said)["error"]
