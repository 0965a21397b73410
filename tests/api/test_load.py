"""A server under load: clients that vanish, many requests, a large context, a container that talks to nobody. Memory and
descriptors stay flat, and nothing is lost.

`make test-load` runs it whole: 1,000 dropped clients, 10,000 requests, a context of 2 GB, 1 GB of output. Else a fiftieth.
"""

from __future__ import annotations

import http.client
import io
import os
import tarfile
import time

import pytest

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker")

SCALE = float(os.environ.get("INCEPTION_LOAD", "0.02"))
# What a server may grow by under any load: threads that were made keep their stacks and database connections.
_MORE_BYTES, _MORE_DESCRIPTORS = 48 << 20, 200


class Usage:
    """What the server holds now."""

    def __init__(self, host: Host) -> None:
        assert host.process is not None
        folder = f"/proc/{host.process.pid}"
        with open(f"{folder}/smaps_rollup") as file:
            self.bytes = next(int(line.split()[1]) for line in file if line.startswith("Pss:")) << 10
        self.descriptors = len(os.listdir(f"{folder}/fd"))


def settle(host: Host, before: Usage) -> Usage:
    """What is held once clients that vanished have been noticed."""
    for _ in range(200):
        now = Usage(host)
        if now.descriptors <= before.descriptors + _MORE_DESCRIPTORS:
            break
        time.sleep(0.05)
    print(f"\n  {before.bytes >> 20} to {now.bytes >> 20} MiB, {before.descriptors} to {now.descriptors} descriptors")
    assert now.descriptors <= before.descriptors + _MORE_DESCRIPTORS
    assert now.bytes <= before.bytes + _MORE_BYTES
    return now


def test_clients_that_vanish(host: Host) -> None:
    talks = ["sh", "-c", "while :; do echo x; sleep 0.02; done"]
    made = host.json("POST", "/containers/create", {"Image": "bb", "Cmd": talks, "OpenStdin": True})["Id"]
    host.json("POST", f"/containers/{made}/start")

    def clients(count: int) -> None:
        for _ in range(count):
            host.upgrade(f"/containers/{made}/attach?stream=1&stdin=1&stdout=1").close()
            run = host.json("POST", f"/containers/{made}/exec", {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True})
            host.upgrade(f"/exec/{run['Id']}/start", {}).close()

    clients(10)
    before = Usage(host)
    clients(int(1000 * SCALE))
    settle(host, before)
    for _ in range(100):
        if len(host.json("GET", f"/containers/{made}/top")["Processes"]) <= 2:
            return
        time.sleep(0.05)
    raise AssertionError("execs are left in the container")


def test_many_requests(host: Host) -> None:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = host.connect()

    def requests(count: int) -> None:
        for number in range(count):
            connection.request("GET", ("/containers/json?all=1", "/images/json", "/info", "/networks")[number % 4])
            answer = connection.getresponse()
            assert answer.status == 200 and answer.read()

    requests(200)
    before = Usage(host)
    requests(int(10_000 * SCALE))
    settle(host, before)
    connection.close()


def test_a_large_context(host: Host) -> None:
    size = int((2 << 30) * SCALE)
    head = io.BytesIO()
    with tarfile.open(fileobj=head, mode="w") as tar:
        text = b"FROM bb\nCOPY big /big\nRUN stat -c %s /big\n"
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    entry = tarfile.TarInfo("big")
    entry.size = size
    start = head.getvalue()[: 512 + 512] + entry.tobuf()
    block = os.urandom(1 << 20)

    def body() -> object:
        yield start
        left = size
        while left:
            yield block[:left]
            left -= min(left, len(block))
        yield bytes(-size % 512 + 1024)

    before = Usage(host)
    connection = http.client.HTTPConnection("localhost", timeout=550)
    connection.sock = host.connect()
    connection.sock.settimeout(550)
    connection.request("POST", "/build?t=large", body(), {"Content-Type": "application/x-tar"}, encode_chunked=True)
    said = connection.getresponse().read().decode()
    connection.close()
    assert f'"stream":"{size}\\n"' in said, said[-400:]
    settle(host, before)
    host.docker("rmi", "-f", "large")
    host.docker("builder", "prune", "-af")


def test_a_container_that_nobody_listens_to(host: Host) -> None:
    """Its log is bounded, its attached client reads nothing, and its last words are there."""
    size = int((1 << 30) * SCALE)
    talk = f"head -c {size} /dev/zero | tr '\\0' x | fold -w 99; echo; echo the end"
    made = host.json("POST", "/containers/create", {"Image": "bb", "Cmd": ["sh", "-c", talk]})["Id"]
    before = Usage(host)
    followers = [host.connect() for _ in range(3)]
    for client in followers:  # they ask, and never read
        client.sendall(f"GET /containers/{made}/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n\r\n".encode())
    host.json("POST", f"/containers/{made}/start")
    connection = http.client.HTTPConnection("localhost", timeout=550)
    connection.sock = host.connect()
    connection.sock.settimeout(550)
    connection.request("POST", f"/containers/{made}/wait")
    assert connection.getresponse().read().strip() == b'{"StatusCode":0}'
    connection.close()
    for client in followers:
        client.close()
    settle(host, before)
    assert host.docker("logs", "--tail", "1", made) == "the end"
