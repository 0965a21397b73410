"""Waiting until a container is as somebody wants it, without asking again and again: its monitor tells."""

from __future__ import annotations

import os
import select
import time

from inception.compose import labels
from inception.engine.engine import Engine
from inception.errors import Unavailable
from inception.monitor import client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerState
    from inception.engine.container import Container


_ASK_EVERY_MS = 200


class Cancelled(Exception):
    """The user pressed Ctrl-C, or another operation failed."""


class Stop:
    """A flag that can be polled beside descriptors: `set` it once, and everyone who waits wakes up."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.is_set = False

    def fileno(self) -> int:
        return self._read

    def set(self) -> None:
        if not self.is_set:
            self.is_set = True
            os.write(self._write, b"x")

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def await_condition(engine: Engine, container: Container, condition: str, stop: Stop, deadline: float | None = None) -> str:
    """Waits until *container* is as *condition* says; answers the word that progress shows.

    Nothing is asked again and again: the container's monitor tells of every health probe and of its exit. Raises
    Unavailable when it can't become so any more or *deadline* passes, Cancelled when *stop* is set.
    """
    if not isinstance(engine, Engine):
        return _await_by_asking(container, condition, stop, deadline)
    while True:
        try:
            connection = client.watch(engine.run_dir(container.id))
        except client.MonitorGone:
            done = settled(container, condition, container.state)
            if done:
                return done
            raise Unavailable(f"container {container.name} is not running") from None
        with connection:
            try:
                while True:
                    done = settled(container, condition, container.state)
                    if done:
                        return done
                    _next_change(connection, container, stop, deadline)
            except client.MonitorGone:
                continue  # it has ended: look once more


def _await_by_asking(container: Container, condition: str, stop: Stop, deadline: float | None) -> str:
    """As `await_condition`, for a container of another machine, whose monitor can't be heard from here."""
    while True:
        done = settled(container, condition, container.state)
        if done:
            return done
        poll = select.poll()
        poll.register(stop.fileno(), select.POLLIN)
        poll.poll(_ASK_EVERY_MS)
        if stop.is_set:
            raise Cancelled
        if deadline is not None and time.monotonic() > deadline:
            raise Unavailable(f"timeout waiting for dependencies: container {container.name} is {describe(container.state)}")


def _next_change(connection: client.Connection, container: Container, stop: Stop, deadline: float | None) -> None:
    if not connection.pending:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(stop.fileno(), select.POLLIN)
        timeout_ms = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000))
        ready = [fd for fd, _ in poll.poll(timeout_ms)]
        if stop.is_set:
            raise Cancelled
        if not ready:
            raise Unavailable(f"timeout waiting for dependencies: container {container.name} is {describe(container.state)}")
    connection.frame(0.0)


def describe(state: ContainerState) -> str:
    """`running (starting)`, `exited (1)`."""
    if state.status == "exited":
        return f"exited ({state.exit_code})"
    return state.status if state.health.status == "none" else f"{state.status} ({state.health.status})"


def settled(container: Container, condition: str, state: ContainerState) -> str:
    """The condition's word when it is met, empty while it may still come. Raises Unavailable when it can't."""
    health = state.health.status
    if condition == "service_completed_successfully":
        if state.status == "exited":
            if state.exit_code:
                raise Unavailable(f'service "{_service(container)}" didn\'t complete successfully: exit {state.exit_code}')
            return "Exited"
        return ""
    ended = state.status in ("exited", "dead", "removing")
    if condition == "service_healthy" and health == "none" and not ended and not _has_check(container):
        raise Unavailable(f"container {container.name} has no healthcheck configured")
    if health == "healthy" and not ended:
        return "Healthy"
    if health == "unhealthy" and not ended:
        raise Unavailable(
            f"dependency failed to start: container {container.name} is unhealthy",
            f"see `logs {container.name}` and `inspect {container.name}`",
        )
    if ended:
        if condition == "running_or_healthy":
            raise Unavailable(f"container {container.name} exited ({state.exit_code})", f"see `logs {container.name}`")
        raise Unavailable(
            f"dependency failed to start: container {container.name} exited ({state.exit_code})", f"see `logs {container.name}`"
        )
    if condition == "running_or_healthy" and state.status == "running" and not _has_check(container):
        return "Running"
    return ""


def _has_check(container: Container) -> bool:
    check = container.config.healthcheck
    return check is not None and bool(check.test) and check.test[0] != "NONE"


def _service(container: Container) -> str:
    return container.labels.get(labels.SERVICE, container.name)
