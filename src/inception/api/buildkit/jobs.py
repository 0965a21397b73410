"""One build, from the Solve that asks for it to the end of its progress.

A job is known by the client's own number for it: Solve begins it, Status reads its log, and (where the client plays the
frontend) the calls to LLBBridge name it too. The one that needs it may come first, and waits a little.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from inception.api.buildkit.failures import words_of
from inception.api.buildkit.options import (
    Request,
    parse_annotations,
    parse_cache_targets,
    parse_caches,
    parse_exporters,
    parse_request,
)
from inception.api.buildkit.session import Client, Sessions
from inception.api.buildkit.status import Log, Vertexes
from inception.api.threads import Stop
from inception.build import BuildFailed, BuildResult, build
from inception.build.output import all_names
from inception.build.progress import Event
from inception.buildkit.protobuf import Value
from inception.errors import Conflict, InceptionError, NotFound

if TYPE_CHECKING:
    from inception.api.server import Server

_APPEARS_S = 5.0
# A client that asks for the progress of a build that was over at once still gets it.
_KEPT_S = 10.0


class Solver:
    """All jobs and sessions of one server. `posted` are the builds of POST /build, for who wants to cancel one."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sessions = Sessions()
        self.posted: dict[str, asyncio.Task[BuildResult]] = {}
        self._jobs: dict[str, Job] = {}
        self._news = asyncio.Condition()

    async def begin(self, request: Value) -> Job:
        """Raises Conflict when there is a job of that number."""
        ref = request["ref"]
        if ref in self._jobs:
            raise Conflict(f"job {ref} exists already")
        job = self._jobs[ref] = Job(self, request)
        async with self._news:
            self._news.notify_all()
        return job

    async def get(self, ref: str) -> Job:
        """Raises NotFound when it doesn't appear."""
        try:
            async with asyncio.timeout(_APPEARS_S), self._news:
                await self._news.wait_for(lambda: ref in self._jobs)
        except TimeoutError:
            raise NotFound(f"no such job {ref}") from None
        return self._jobs[ref]

    async def end(self, job: Job) -> None:
        await job.log.end()
        job.returned.cancel()
        asyncio.get_running_loop().call_later(_KEPT_S, self._jobs.pop, job.ref, None)


class Job:
    """`returned` is what the client that plays the frontend hands back: the ref of a result, or an error. `results` are the
    images of refs."""

    def __init__(self, solver: Solver, request: Value) -> None:
        self.solver = solver
        self.ref: str = request["ref"]
        self.request = request
        self.log = Log()
        self.returned: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.results: dict[str, BuildResult] = {}
        self.response: dict[str, str] = {}
        self._vertexes = Vertexes(self.ref)

    async def parse(
        self, frontend: str, attrs: dict[str, str], inputs: dict[str, Value], imports: Sequence[Value] = ()
    ) -> tuple[Request, Client]:
        """What is asked for, and whom to ask for files. Raises NotSupported, InvalidArgument, NotFound."""
        request = parse_request(frontend, attrs, inputs)
        request.config.cache_from = parse_caches([*(self.request["cache"] or {}).get("imports", []), *imports], attrs)
        request.config.allow = list(self.request["entitlements"])
        session = await self.solver.sessions.get(self.request["session"])
        request.config.context = f"{session.shared_key}/{request.context}"
        return request, Client(session, asyncio.get_running_loop())

    async def build(self, request: Request, client: Client) -> BuildResult:
        """Builds, exports as Solve said, and tells of it. Cancelled, it ends the build. Raises what `build` raises."""
        from inception.api.buildkit.remote import RemoteCaller

        config = request.config
        config.cache_to = parse_cache_targets((self.request["cache"] or {}).get("exports", []))
        config.outputs = parse_exporters(self.request)
        config.annotations = parse_annotations(self.request)
        cancels: list[Callable[[], None]] = []
        caller = RemoteCaller(request, client, cancels.append)
        engine, threads = self.solver.server.engine, self.solver.server.threads
        results: list[BuildResult] = []

        def work(tell: Callable[[Event], None]) -> None:
            results.append(build(engine, config, tell, caller=caller))

        try:
            async with aclosing(threads.told(work, Stop())) as events:  # type: ignore[type-var]
                async for event in events:
                    response = self._vertexes.response(event)
                    if response is not None:
                        await self.log.add(response)
        except asyncio.CancelledError:
            for cancel in cancels:
                # On a thread: it takes a lock that the build may hold.
                asyncio.get_running_loop().run_in_executor(None, cancel)
            raise
        except InceptionError as error:
            title = error.title if isinstance(error, BuildFailed) else ""
            for response in self._vertexes.failures(title, words_of(error)):
                await self.log.add(response)
            raise
        for response in self._vertexes.failures():  # a cache that could not be read
            await self.log.add(response)
        (result,) = results
        self.response = _response(result, all_names(config.tags, config.outputs))
        return result


def _response(result: BuildResult, names: list[str]) -> dict[str, str]:
    from inception.oci.reference import Reference

    if not result.image_id:
        return {}
    found = {"containerimage.config.digest": result.image_id, "containerimage.digest": result.image_id}
    if names:
        found["image.name"] = ",".join(str(Reference.parse(name)) for name in names)
    return found
