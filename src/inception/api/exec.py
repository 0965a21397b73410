"""Exec: made, started, asked about. An exec belongs to its client and so to this server; what it ran is the engine's."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from inception.api.call import Call, empty, reply, wait_ready
from inception.api.errors import message_of
from inception.api.fields import Fields
from inception.api.hijack import MULTIPLEXED, RAW, Hijacked, Taken, frame, head_of
from inception.api.session import run_session
from inception.engine.config import ExecConfig
from inception.engine.detach import DetachKeys, parse_detach_keys
from inception.engine.names import new_id
from inception.errors import Conflict, InceptionError, InvalidArgument, NotFound, StartFailed, Unavailable
from inception.record import replace

if TYPE_CHECKING:
    from inception.engine.container import Container
    from inception.engine.exec import ExecProcess
    from inception.monitor.client import ExecWatch

# Ended execs are kept for whoever asks for their exit code; Docker forgets them after five minutes, too.
_KEEP_S = 300.0
_MOST = 10_000
# What an exec gets to end by itself when its client has gone: some close as soon as they have read what they wanted.
_GRACE_S = 2.0


class Exec:
    """One exec of a client's. `exit_code` is None until it has ended."""

    def __init__(self, container: Container, config: ExecConfig, outputs: tuple[str, ...]) -> None:
        self.id = new_id()
        self.container = container
        self.config = replace(config, id=self.id)  # its events are ours to tell, but for its start
        self.outputs = outputs
        self.started = False
        self.pid = 0
        self.exit_code: int | None = None
        self.process: ExecProcess | None = None
        self.last_used_s = time.monotonic()

    def end(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        self.process = None
        self.last_used_s = time.monotonic()

    @property
    def running(self) -> bool:
        return self.started and self.exit_code is None


class Execs:
    """All execs of a server's clients; bounded."""

    def __init__(self) -> None:
        self._execs: dict[str, Exec] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def add(self, found: Exec) -> None:
        self._forget_old()
        if len(self._execs) >= _MOST:
            raise Unavailable(f"too many execs: {_MOST} are running or not started yet")
        self._execs[found.id] = found

    def get(self, exec_id: str) -> Exec:
        """By id or unique prefix. Raises NotFound."""
        found = self._execs.get(exec_id)
        if found is None:
            matching = [value for key, value in self._execs.items() if key.startswith(exec_id)]
            if len(matching) != 1:
                raise NotFound(f"No such exec instance: {exec_id}")
            (found,) = matching
        return found

    def of(self, container_id: str) -> list[str]:
        """Ids of those in a container that have not ended."""
        return [key for key, found in self._execs.items() if found.exit_code is None and found.container.id == container_id]

    def watch(self, found: Exec, watch: ExecWatch) -> None:
        """Note the exit code of an exec that its container's monitor runs."""
        self._keep(asyncio.create_task(_watch(found, watch)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    def let_go(self, found: Exec, process: ExecProcess, grace_s: float | None) -> None:
        """An exec whose client has gone gets *grace_s* to end; for ever (None) when its user detached from it."""
        if process.ended:
            process.close()
            _ended(found, process.exit_code)
        else:
            self._keep(asyncio.create_task(_outlive(found, process, grace_s)))

    def close(self) -> None:
        for task in list(self._watchers):
            task.cancel()

    def _forget_old(self) -> None:
        before = time.monotonic() - _KEEP_S
        for key, found in list(self._execs.items()):
            if not found.running and found.last_used_s < before:
                del self._execs[key]


async def _outlive(found: Exec, process: ExecProcess, grace_s: float | None) -> None:
    try:
        if grace_s is not None:
            process.close_stdin()
        async with asyncio.timeout(grace_s):
            while not process.ended:
                if process.read(0.0) is None and not process.ended:
                    await wait_ready(process.fileno(), writing=False)
    except TimeoutError:
        pass
    finally:
        process.close()
        _ended(found, process.exit_code)


async def _watch(found: Exec, watch: ExecWatch) -> None:
    with watch:
        try:
            while found.exit_code is None:
                if not watch.pending:
                    await wait_ready(watch.fileno(), writing=False)
                code = watch.exit_code(0.0)
                if code is not None:
                    _ended(found, code)
        except Unavailable:
            _ended(found, 137)  # the container ended, and all in it


async def create(call: Call) -> web.Response:
    body = Fields(await call.json(required=True))
    container = await call.container()
    command = body.strings("Cmd")
    if not command:
        raise InvalidArgument("No exec command specified")
    if not isinstance(body.get("ConsoleSize"), list | None):
        raise InvalidArgument("invalid JSON: ConsoleSize: expected an array of two numbers")
    parse_detach_keys(body.text("DetachKeys"))
    status = container.record.state.status
    if status == "paused":
        raise Conflict(f"Container {container.name} is paused, unpause the container before exec")
    if status == "restarting":
        raise Conflict(f"Container {container.name} is restarting, wait until the container is running")
    if status != "running":
        raise Conflict(f"container {container.id} is not running")
    config = ExecConfig(
        command=command,
        env=body.strings("Env"),
        user=body.text("User"),
        working_dir=body.text("WorkingDir"),
        tty=body.flag("Tty"),
        open_stdin=body.flag("AttachStdin"),
        privileged=body.flag("Privileged"),
        detach_keys=body.text("DetachKeys"),
    )
    outputs = [("stdout", body.flag("AttachStdout")), ("stderr", body.flag("AttachStderr"))]
    found = Exec(container, config, tuple(name for name, wanted in outputs if wanted))
    call.server.execs.add(found)
    _emit(found, f"exec_create: {' '.join(command)}")
    return reply({"Id": found.id}, 201)


async def start(call: Call) -> web.StreamResponse:
    body = Fields(await call.json(required=True))
    found = call.server.execs.get(call.arguments["id"])
    if found.started:
        raise Conflict(f"Error: Exec command {found.id} has already run" if not found.running else "exec is already running")
    found.started = True
    if body.flag("Detach"):
        return await _start_detached(call, found)
    return await _start_attached(call, found, body)


async def _start_detached(call: Call, found: Exec) -> web.Response:
    """The monitor's to keep. One with a terminal is this server's: somebody must hold the terminal's other end."""
    from inception.engine.exec import start_watched

    try:
        if found.config.tty:
            process = await call.server.threads.open(found.container.exec_start, found.config)
            found.pid, found.process = process.pid, process
            call.server.execs.let_go(found, process, None)
            return empty(200)
        watch = await call.server.threads.open(start_watched, call.engine, found.container.id, found.config)
    except InceptionError as error:
        _ended(found, error.exit_code if isinstance(error, StartFailed) else 126)
        raise
    found.pid = watch.pid
    call.server.execs.watch(found, watch)
    return empty(200)


async def _start_attached(call: Call, found: Exec, body: Fields) -> web.StreamResponse:
    """As Docker does, the head goes out before the process starts: some clients throw away what comes in one piece with it."""
    framed = not body.flag("Tty")  # the client's word now, whatever the exec was made with: Docker has it so
    client = Hijacked(call.request, call.server.hang_ups)
    process: ExecProcess | None = None
    detached = False
    try:
        known = MULTIPLEXED in call.request.headers.get("Accept", "") or call.version >= (1, 42)
        call.answered = True
        client.answer(head_of(call.request, MULTIPLEXED if framed and known else RAW))
        process = await call.server.threads.open(found.container.exec_start, found.config)
        detached = await _join(found, client, process, body, framed)
    except InceptionError as error:
        _ended(found, error.exit_code if isinstance(error, StartFailed) else 126)
        text = f"{message_of(error)}\r\n".encode()
        await client.send(frame("stdout", text) if framed else text)
    except ConnectionError:
        pass  # the client has gone
    finally:
        if process is not None:
            call.server.execs.let_go(found, process, None if detached else _GRACE_S)
        client.close()
    return Taken()


async def _join(found: Exec, client: Hijacked, process: ExecProcess, body: Fields, framed: bool) -> bool:
    """Until its end, or until (True) the user detached."""
    found.pid, found.process = process.pid, process
    size = body.get("ConsoleSize")
    if isinstance(size, list) and len(size) == 2 and all(isinstance(number, int) for number in size):
        process.resize(*size)
    if not found.config.open_stdin:
        process.close_stdin()
    outputs = found.outputs if not found.config.tty else ("stdout",)
    config = found.config
    detach = DetachKeys(parse_detach_keys(config.detach_keys)) if config.tty else None
    return await run_session(client, process, framed=framed, stdin=config.open_stdin, outputs=outputs, detach=detach)


async def resize(call: Call) -> web.Response:
    found = call.server.execs.get(call.arguments["id"])
    if found.process is None:
        raise Conflict(f"exec process is not started or has ended: {found.id}")
    found.process.resize(call.number("h"), call.number("w"))
    return empty(200)


async def inspect(call: Call) -> web.Response:
    found = call.server.execs.get(call.arguments["id"])
    config = found.config
    process: dict[str, Any] = {
        "tty": config.tty,
        "entrypoint": config.command[0],
        "arguments": config.command[1:],
        "privileged": config.privileged,
    }
    if config.user:
        process["user"] = config.user
    return reply(
        {
            "ID": found.id,
            "Running": found.running,
            "ExitCode": found.exit_code,
            "ProcessConfig": process,
            "OpenStdin": config.open_stdin,
            "OpenStderr": "stderr" in found.outputs,
            "OpenStdout": "stdout" in found.outputs,
            "CanRemove": False,
            "ContainerID": found.container.id,
            "DetachKeys": config.detach_keys,
            "Pid": found.pid,
        }
    )


def _ended(found: Exec, exit_code: int | None) -> None:
    if found.exit_code is None:
        found.end(exit_code)
        _emit(found, "exec_die", exitCode=str(exit_code))


def _emit(found: Exec, action: str, **attributes: str) -> None:
    from inception.engine.records import event_attributes

    about = {**event_attributes(found.container.record), "execID": found.id, **attributes}
    found.container.engine.events.emit("container", action, found.container.id, about)


ROUTES = [
    ("POST", "/containers/{id}/exec", create),
    ("POST", "/exec/{id}/start", start),
    ("POST", "/exec/{id}/resize", resize),
    ("GET", "/exec/{id}/json", inspect),
]
