"""A container that should run and could not be started is tried again, by nobody's command."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from tests.waiting import wait_until

from inception import Engine, PortBinding, RestartPolicy
from inception.engine.container import Container

from .conftest import make

pytestmark = pytest.mark.needs("root", "nft")


def owner(engine: Engine, container: Container) -> int:
    (pid,) = engine.database.row("SELECT owner_pid FROM containers WHERE id = ?", (container.id,))
    return int(pid)


def stuck(engine: Engine) -> tuple[Container, socket.socket]:
    """A container with a policy whose monitor was killed, and whose port somebody has taken."""
    thief = socket.create_server(("127.0.0.1", 0))
    port = thief.getsockname()[1]
    thief.close()
    container = make(
        engine,
        *("sleep", "60"),
        name="stuck",
        network_mode="bridge",
        ports=[PortBinding(container_port=80, host_ip="127.0.0.1", host_port=port)],
        restart=RestartPolicy(name="always"),
    )
    container.start()
    monitor = owner(engine, container)
    os.kill(monitor, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{monitor}").exists())
    thief = socket.create_server(("127.0.0.1", port))
    assert engine.containers.get("stuck").state.status == "exited"
    return container, thief


def test_a_start_that_failed_in_recovery_is_tried_again_until_it_succeeds(engine: Engine) -> None:
    container, thief = stuck(engine)
    assert "address already in use" in container.state.error
    wait_until(lambda: owner(engine, container) > 0)
    os.kill(owner(engine, container), signal.SIGKILL)  # recovery finds out, and sends another
    killed = owner(engine, container)
    wait_until(lambda: engine.containers.get("stuck") and owner(engine, container) not in (0, killed))
    thief.close()
    wait_until(lambda: container.state.status == "running")
    assert container.state.error == ""


@pytest.mark.parametrize("how", ["stopped", "removed"])
def test_nobody_tries_again_what_was(engine: Engine, how: str) -> None:
    container, thief = stuck(engine)
    wait_until(lambda: owner(engine, container) > 0)
    pid = owner(engine, container)
    if how == "removed":
        container.remove()
    else:
        from inception import NotModified

        with pytest.raises(NotModified):
            container.stop()
    thief.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    if how == "stopped":
        assert container.state.status == "exited"
