"""`inception.docker_host()`: a Docker host for as long as a block of a program runs, served from a thread of that program."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from inception.api.server import Listener, Server, listen_unix
from inception.engine import Engine


@contextmanager
def docker_host(root: str | None = None, run_root: str | None = None, *, environment: bool = False) -> Iterator[str]:
    """The address of a private socket, `unix:///.../docker.sock`, gone at the end of the block.

        with inception.docker_host() as host:
            client = docker.DockerClient(base_url=host)

    With *environment*, DOCKER_HOST says the same inside the block, for clients that look there (testcontainers, a
    subprocess). Containers are the engine's and stay: remove them, or not. Raises what `Engine` and its socket raise.
    """
    folder = tempfile.mkdtemp(prefix="inception-")  # 0700
    try:
        address = f"unix://{folder}/docker.sock"
        with Engine(root, run_root) as engine, _serving(engine, f"{folder}/docker.sock"), _variable(address, environment):
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _serving(engine: Engine, path: str) -> Iterator[None]:
    server = Server(engine)
    listener = Listener(listen_unix(path))
    ready = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(server.run([listener], ready.set))
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="docker-host", daemon=True)
    thread.start()
    ready.wait()
    if failures:
        raise failures[0]
    try:
        yield
    finally:
        server.stop()
        thread.join()


@contextmanager
def _variable(address: str, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    former = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = address
    try:
        yield
    finally:
        if former is None:
            os.environ.pop("DOCKER_HOST", None)
        else:
            os.environ["DOCKER_HOST"] = former
