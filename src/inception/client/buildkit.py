"""A build on another engine by BuildKit's protocol: for what the request of the classic builder has no words for.

Secrets, agents, named contexts and outputs stay on this machine: the engine asks for them over the session (`session.py`) when
a step wants them. The plan and its steps are the engine's.

    thread of the event loop                       this thread
    /session  served                               waits for the result
    /grpc     Control.Solve, Control.Status  ──▶   events of a build, as one here would tell them

Source: BuildKit's api/services/control; buildx's toSolveOpt for the attributes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

from inception.build.config import BuildResult
from inception.build.progress import Event
from inception.buildkit import messages
from inception.buildkit.grpc import Channel, GrpcError
from inception.buildkit.http2 import Connection
from inception.client.bodies import resources_body
from inception.client.session import Services, SocketWire
from inception.engine.limits import LIMITS
from inception.errors import InvalidArgument, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build.config import BuildConfig, Output
    from inception.buildkit.protobuf import Value
    from inception.client.engine import RemoteEngine
    from inception.engine.config import ResourceConfig

_CONTROL = "/moby.buildkit.v1.Control"
_REMOTE = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")
_UPLOAD = "http://buildkit-session/"
_HERE = ("local", "tar", "oci", "docker")
_END_S = 5.0


def build(
    engine: RemoteEngine, config: BuildConfig, progress: Callable[[Event], None] | None, stdin: BinaryIO | None
) -> BuildResult:
    """Raises InvalidArgument for what can't be asked for, Unavailable when a step fails or the engine has no BuildKit."""
    if config.annotations or config.attestations or config.metadata:
        raise engine.unsupported("build with annotations, attestations or a metadata file")
    if len(config.outputs) > 1:
        raise engine.unsupported("build with several outputs")
    upload = os.urandom(12).hex()
    folders: dict[str, str] = {}
    attributes = _attributes(config, folders, upload)
    services = Services(config, folders, stdin or sys.stdin.buffer, upload)
    result = _Build(engine, config, services, progress).run(attributes)
    for output in config.outputs:
        if output.push or output.type == "registry":
            for name in dict.fromkeys([*config.tags, *output.names]):
                engine.images.push(name)
    return result


class _Build:
    """`ref` is the build's number, `number` the session's."""

    def __init__(
        self, engine: RemoteEngine, config: BuildConfig, services: Services, progress: Callable[[Event], None] | None
    ) -> None:
        self._engine = engine
        self._config = config
        self._services = services
        self._told = _Told(progress)
        self._ref, self._number = os.urandom(12).hex(), os.urandom(12).hex()
        self._loop = asyncio.new_event_loop()

    def run(self, attributes: dict[str, str]) -> BuildResult:
        thread = threading.Thread(target=self._loop.run_forever, name="buildkit", daemon=True)
        thread.start()
        try:
            work = asyncio.run_coroutine_threadsafe(self._build(attributes), self._loop)
            try:
                response = work.result()
            except BaseException:
                work.cancel()
                raise
        except GrpcError as error:
            raise Unavailable(str(error).removeprefix("failed to solve: ")) from error
        finally:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_END_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(_END_S)
            self._services.close()
        found = response.get("containerimage.config.digest") or response.get("containerimage.digest", "")
        return BuildResult(image_id=found, steps=self._told.steps, cached_steps=self._told.cached)

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _build(self, attributes: dict[str, str]) -> dict[str, str]:
        session = await self._open("/session", self._session_headers())
        control = await self._open("/grpc", [])
        calls = Connection(control)
        served = Connection(session, self._services.service())
        running = [asyncio.ensure_future(each.run()) for each in (served, calls)]
        try:
            channel = Channel(calls)
            status = asyncio.ensure_future(self._follow(channel))
            solved = asyncio.ensure_future(
                channel.call(f"{_CONTROL}/Solve", messages.SOLVE_REQUEST, messages.SOLVE_RESPONSE, self._request(attributes))
            )
            await asyncio.wait([solved, *running], return_when=asyncio.FIRST_COMPLETED)
            if not solved.done():
                solved.cancel()
                raise Unavailable("the engine has ended the connection")
            await asyncio.wait([status], timeout=_END_S)
            return dict(solved.result()["exporter_response"])
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            session.close()
            control.close()

    async def _open(self, path: str, headers: list[tuple[str, str]]) -> SocketWire:
        return SocketWire(await asyncio.to_thread(self._engine.transport.upgrade_to, "h2c", path, headers))

    def _session_headers(self) -> list[tuple[str, str]]:
        context = self._config.context
        return [
            ("X-Docker-Expose-Session-Uuid", self._number),
            ("X-Docker-Expose-Session-Name", "inception"),
            ("X-Docker-Expose-Session-Sharedkey", os.path.realpath(context) if os.path.isdir(context) else ""),
            *(("X-Docker-Expose-Session-Grpc-Method", path) for path in self._services.methods()),
        ]

    def _request(self, attributes: dict[str, str]) -> Value:
        config = self._config
        output = config.outputs[0] if config.outputs else None
        return {
            "ref": self._ref,
            "session": self._number,
            "frontend": "dockerfile.v0",
            "frontend_attrs": attributes,
            **_exporter(output, config.tags),
            "entitlements": config.allow,
            "cache": {
                "imports": [_cache(place) for place in config.cache_from],
                "exports": [_cache(place) for place in config.cache_to],
            },
        }

    async def _follow(self, channel: Channel) -> None:
        exchange = await channel.open(f"{_CONTROL}/Status", messages.REF_REQUEST, messages.STATUS_RESPONSE)
        await exchange.send({"ref": self._ref})
        await exchange.end()
        try:
            while responses := await exchange.some():
                for response in responses:
                    self._told.take(response)
        except GrpcError:
            pass  # Solve says it


def _exporter(output: Output | None, tags: list[str]) -> dict[str, Any]:
    names = ",".join([*tags, *(output.names if output is not None else [])])
    if output is None or output.type in ("image", "registry") or (output.type == "docker" and not output.destination):
        return {"exporter": "moby", "exporter_attrs": {"name": names} if names else {}}
    return {"exporter": output.type, "exporter_attrs": {"name": names} if names and output.needs_image else {}}


def _cache(place: Any) -> Value:
    if place.type not in ("registry", "inline"):
        raise InvalidArgument(f"a cache of type {place.type} is not possible on another engine: use registry or inline")
    attrs = {"ref": place.place} if place.place else {}
    return {"type": place.type, "attrs": {**attrs, **({"mode": "max"} if place.whole else {})}}


# --- what is asked for ---


def _attributes(config: BuildConfig, folders: dict[str, str], upload: str) -> dict[str, str]:
    """The frontend's, with the local *folders* that it will ask for by name."""
    found = {f"build-arg:{name}": value for name, value in config.build_args.items()}
    found |= {f"label:{name}": value for name, value in config.labels.items()}
    found |= _where(config, folders, upload)
    for name, value in config.contexts.items():
        if value.startswith("oci-layout://"):
            raise InvalidArgument(f"build context {name}={value} is not possible on another engine")
        if "://" in value or value.startswith("git@"):
            found[f"context:{name}"] = value
            continue
        if not os.path.isdir(value):
            raise NotFound(f'unable to prepare context: path "{value}" not found')
        folders[f"context:{name}"] = value
        found[f"context:{name}"] = f"local:context:{name}"
    found |= {name: value for name, value in (("target", config.target), ("platform", config.platform)) if value}
    if config.no_cache or config.no_cache_stages:
        found["no-cache"] = "" if config.no_cache else ",".join(config.no_cache_stages)
    if config.pull:
        found["image-resolve-mode"] = "pull"
    if config.network not in ("", "default"):
        found["force-network-mode"] = config.network
    found |= _limits(config.resources)
    if config.extra_hosts:
        found["add-hosts"] = ",".join("=".join(host.split(":", 1)) for host in config.extra_hosts)
    return found


def _limits(resources: ResourceConfig | None) -> dict[str, str]:
    if resources is None:
        return {}
    limits = resources_body(resources)
    found = {"shm-size": str(limits.pop("ShmSize", "") or "")}
    found["ulimit"] = ",".join(f"{each['Name']}={each['Soft']}:{each['Hard']}" for each in limits.pop("Ulimits", None) or ())
    others = [f"--{flag}" for _field, flag, document in LIMITS if document in limits]
    if others:
        raise InvalidArgument(f"{', '.join(others)}: not possible on another engine together with what only BuildKit has")
    return {name: value for name, value in found.items() if value}


def _where(config: BuildConfig, folders: dict[str, str], upload: str) -> dict[str, str]:
    """The context, and the Dockerfile in it or beside it."""
    if config.dockerfile == "-" or config.dockerfile_inline:
        raise InvalidArgument("a Dockerfile on standard input is not possible here on another engine", "write it to a file")
    if config.context == "-":
        return {"context": f"{_UPLOAD}{upload}", "filename": config.dockerfile or "Dockerfile"}
    if config.context.startswith(_REMOTE) and not os.path.isdir(config.context):
        return {"context": config.context, "filename": config.dockerfile or "Dockerfile"}
    if not os.path.isdir(config.context):
        raise NotFound(f'unable to prepare context: path "{config.context}" not found')
    path = config.dockerfile or f"{config.context}/Dockerfile"
    folders["context"] = config.context
    folders["dockerfile"] = os.path.dirname(path) or "."
    return {"filename": os.path.basename(path)}


# --- what is told ---


class _Told:
    """Vertexes and their logs as the events of a build here."""

    def __init__(self, progress: Callable[[Event], None] | None) -> None:
        self._progress = progress
        self._numbers: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._ended: set[str] = set()
        self.steps = self.cached = 0

    def take(self, response: Value) -> None:
        for vertex in response["vertexes"]:
            self._vertex(vertex)
        for status in response["statuses"]:
            if status["completed"] is not None:
                self._tell("output", status["vertex"], data=f"{status['name'] or status['id']}\n".encode())
        for log in response["logs"]:
            self._tell("output", log["vertex"], data=log["msg"])
        for warning in response["warnings"]:
            if self._progress is not None:
                self._progress(Event(kind="warning", name=warning["short"].decode("utf-8", "replace")))

    def _vertex(self, vertex: Value) -> None:
        digest = vertex["digest"]
        if vertex["started"] is None and not vertex["cached"]:
            return
        if digest not in self._numbers:
            self._numbers[digest] = len(self._numbers) + 1
            self._names[digest] = vertex["name"]
            self._tell("start", digest)
        if vertex["completed"] is None or digest in self._ended:
            return
        self._ended.add(digest)
        is_step = vertex["name"].startswith("[") and not vertex["name"].startswith("[internal]")
        self.steps += is_step
        self.cached += is_step and vertex["cached"]
        seconds = _seconds(vertex["completed"]) - _seconds(vertex["started"] or vertex["completed"])
        kind = "failed" if vertex["error"] else "cached" if vertex["cached"] else "done"
        self._tell(kind, digest, data=vertex["error"].encode(), seconds=seconds)

    def _tell(self, kind: str, digest: str, *, data: bytes = b"", seconds: float = 0.0) -> None:
        number = self._numbers.get(digest)
        late = kind == "output" and digest in self._ended  # logs may come after the end that they are from
        if self._progress is not None and number is not None and not late:
            self._progress(Event(kind=kind, step=number, name=self._names[digest], data=data, seconds=seconds))


def _seconds(stamp: Value) -> float:
    return float(stamp["seconds"] + stamp["nanos"] / 1e9)
