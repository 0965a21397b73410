"""moby.buildkit.v1.Control: what the builder is, builds, their progress, and the cache."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from inception import __version__
from inception.api.buildkit.session import session_of
from inception.api.errors import NotSupported
from inception.build.cache import BuildCache
from inception.build.devices import parse_allow
from inception.buildkit import messages
from inception.buildkit.grpc import Call, Method
from inception.buildkit.http2 import Connection
from inception.buildkit.protobuf import Value
from inception.errors import InvalidArgument
from inception.oci.image import host_platform

if TYPE_CHECKING:
    from inception.api.buildkit.jobs import Solver

_VERSION = {"package": "inception", "version": f"v{__version__}", "revision": ""}
# Where buildx looks for what `host-gateway` means.
_HOST_GATEWAY = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"
_SERVING = 1


class Control:
    def __init__(self, solver: Solver) -> None:
        self._solver = solver

    def methods(self) -> dict[str, Method]:
        m = messages
        service = "/moby.buildkit.v1.Control"
        return {
            f"{service}/Info": Method(m.EMPTY, m.INFO_RESPONSE, self._info),
            f"{service}/ListWorkers": Method(m.FILTER_REQUEST, m.LIST_WORKERS_RESPONSE, self._list_workers),
            f"{service}/Solve": Method(m.SOLVE_REQUEST, m.SOLVE_RESPONSE, self._solve),
            f"{service}/Status": Method(m.REF_REQUEST, m.STATUS_RESPONSE, self._status),
            f"{service}/Session": Method(m.BYTES, m.BYTES, self._session),
            f"{service}/DiskUsage": Method(m.FILTER_REQUEST, m.DISK_USAGE_RESPONSE, self._disk_usage),
            f"{service}/Prune": Method(m.PRUNE_REQUEST, m.USAGE, self._prune),
            "/grpc.health.v1.Health/Check": Method(m.EMPTY, m.HEALTH_RESPONSE, self._health),
        }

    async def _info(self, call: Call) -> Value:
        return {"version": _VERSION}

    async def _health(self, call: Call) -> Value:
        return {"status": _SERVING}

    async def _list_workers(self, call: Call) -> Value:
        return {"record": [await self.worker()]}

    async def worker(self) -> Value:
        engine = self._solver.server.engine
        platform = host_platform()
        bridge = await self._solver.server.threads.call(engine.networks.get, "bridge")
        labels = {"org.mobyproject.buildkit.worker.executor": "inception", _HOST_GATEWAY: bridge.gateway}
        names = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant or ""}
        return {"id": engine.tag, "labels": labels, "platforms": [names], "version": _VERSION}

    async def _solve(self, call: Call) -> Value:
        request = call.request
        job = await self._solver.begin(request)
        try:
            _refuse(request)
            if request["frontend"]:
                asked, client = await job.parse(request["frontend"], request["frontend_attrs"], request["frontend_inputs"])
                if asked.subrequest:
                    raise NotSupported(f"request {asked.subrequest} is answered by the gateway alone")
                await job.build(asked, client)
                return {"exporter_response": job.response}
            # The client plays the frontend itself, through the gateway.
            ref = await job.returned
            return {"exporter_response": job.response if ref in job.results else {}}
        finally:
            await self._solver.end(job)

    async def _status(self, call: Call) -> None:
        job = await self._solver.get(call.request["ref"])
        await call.begin()
        async with aclosing(job.log.read()) as pieces:
            async for data in pieces:
                await call.send_encoded(data)

    async def _session(self, call: Call) -> None:
        """A session inside of this connection, for a client that opens none beside it."""
        await call.begin()
        found = session_of(call.metadata, Connection(Tunnel(call)))
        await self._solver.sessions.serve(found)

    async def _disk_usage(self, call: Call) -> Value:
        _refuse_filters(call.request)
        return {"record": await self._solver.server.threads.long(self._records)}

    async def _prune(self, call: Call) -> None:
        request = call.request
        _refuse_filters(request)
        if request["max_used_space"] or request["min_free_space"]:
            raise NotSupported(
                "max-used-space and min-free-space are not supported: the build cache is kept by age and reserved size"
            )
        unused_since = int(time.time()) - request["keep_duration"] // 1_000_000_000 if request["keep_duration"] else None
        cache = BuildCache(self._solver.server.engine.store)

        def prune() -> list[Value]:
            before = {record["id"]: record for record in self._records()}
            cache.prune(unused_since=unused_since, keep_bytes=request["reserved_space"])
            left = {record["id"] for record in self._records()}
            return [record for number, record in before.items() if number not in left]

        await call.begin()
        for record in await self._solver.server.threads.long(prune):
            await call.send(record)

    def _records(self) -> list[Value]:
        engine = self._solver.server.engine
        found = []
        for entry in BuildCache(engine.store).entries():
            used = {"seconds": entry.used_at, "nanos": 0}
            found.append(
                {
                    "id": entry.id,
                    "size": entry.size_bytes,
                    "created_at": used,
                    "last_used_at": used,
                    "description": entry.description,
                    "record_type": entry.kind,
                    "shared": entry.shared,
                    "mutable": entry.kind != "regular",
                }
            )
        return found


class Tunnel:
    """The bytes of a connection as the messages of a call."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._first = call.request["data"]

    async def receive(self) -> bytes:
        first, self._first = self._first, b""
        if first:
            return bytes(first)
        while (found := await self._call.messages.next()) is not None:
            if found["data"]:
                return bytes(found["data"])
        return b""

    async def send(self, data: bytes) -> None:
        await self._call.send({"data": data})


def _refuse_filters(request: Value) -> None:
    for text in request["filter"]:
        if text:
            raise NotSupported(f"filter {text} is not supported: the build cache can't be filtered")


def _refuse(request: Value) -> None:
    """Raises NotSupported for what no build of ours can do."""
    if not request["ref"]:
        raise InvalidArgument("invalid solve: it has no ref")
    if request["definition"] is not None and request["definition"]["def"]:
        raise NotSupported("a raw definition (LLB) is not supported: Dockerfiles alone are built")
    if request["source_policy"] is not None and request["source_policy"]["rules"]:
        raise NotSupported("source policies are not supported")
    for name in request["entitlements"]:
        parse_allow(name)
