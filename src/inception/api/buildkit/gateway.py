"""moby.buildkit.v1.frontend.LLBBridge: a client that plays the frontend of its own build, which buildx and Compose do.

    Control.Solve (no frontend)      waits
    Ping                             what we can do
    Solve (dockerfile.v0)            builds; answers with the ref of the result
    Return (that ref, or an error)   ends Control.Solve

Solve builds and exports at once: who asks for a result wants it. A call says which build it belongs to by its metadata.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from inception.api.buildkit.failures import unsupported_subrequest
from inception.api.buildkit.options import RESULT
from inception.api.errors import NotSupported
from inception.buildkit import messages
from inception.buildkit.grpc import UNKNOWN, Call, GrpcError, Method
from inception.buildkit.protobuf import Value
from inception.oci.digest import sha256

if TYPE_CHECKING:
    from inception.api.buildkit.control import Control
    from inception.api.buildkit.jobs import Job, Solver
    from inception.api.buildkit.options import Request
    from inception.api.buildkit.session import Client

_FRONTEND_CAPS = (
    "solve.base",
    "return",
    "returnmap",
    "importcaches",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "frontend.caps",
    "gateway.solve.metadata",
    "gateway.solve.evaluate",
    "gateway.evaluate",
    "gateway.warnings",
)
# Those of raw definitions are there so that it is us who refuse one, by name.
_LLB_CAPS = (
    "source.image",
    "source.local",
    "source.git",
    "source.http",
    "platform",
    "constraints",
    "meta.description",
    "meta.ignorecache",
    "exporter.multiple",
)
_BUILD_ID = "buildkit-controlapi-buildid"


class Gateway:
    """`loose` are images that were built for other builds of the same connection and have no name: they go with it."""

    def __init__(self, solver: Solver, control: Control) -> None:
        self._solver = solver
        self._control = control
        self.loose: set[str] = set()

    def methods(self) -> dict[str, Method]:
        m = messages
        service = "/moby.buildkit.v1.frontend.LLBBridge"
        return {
            f"{service}/Ping": Method(m.EMPTY, m.PONG, self._ping),
            f"{service}/Solve": Method(m.GATEWAY_SOLVE_REQUEST, m.GATEWAY_SOLVE_RESPONSE, self._solve),
            f"{service}/Return": Method(m.RETURN_REQUEST, m.EMPTY, self._return),
            f"{service}/Inputs": Method(m.EMPTY, m.INPUTS_RESPONSE, self._inputs),
            f"{service}/Evaluate": Method(m.REF_REQUEST, m.EMPTY, self._evaluate),
            f"{service}/Warn": Method(m.WARN_REQUEST, m.EMPTY, self._warn),
        }

    async def _job(self, call: Call) -> Job:
        return await self._solver.get(call.metadata(_BUILD_ID))

    async def _ping(self, call: Call) -> Value:
        return {
            "frontend_caps": [{"id": name, "enabled": True} for name in _FRONTEND_CAPS],
            "llb_caps": [{"id": name, "enabled": True} for name in _LLB_CAPS],
            "workers": [await self._control.worker()],
        }

    async def _solve(self, call: Call) -> Value:
        request, job = call.request, await self._job(call)
        if request["definition"] is not None and request["definition"]["def"]:
            raise NotSupported("a raw definition (LLB) is not supported: Dockerfiles alone are built; download what it names")
        if not request["frontend"]:
            return {"result": {"ref": {}}}  # an empty definition has an empty result
        if any(policy["rules"] for policy in request["source_policies"]):
            raise NotSupported("source policies are not supported")
        asked, client = await job.parse(
            request["frontend"], request["frontend_attrs"], request["frontend_inputs"], request["cache_imports"]
        )
        if asked.subrequest:
            return {"result": {"metadata": await self._subrequest(asked, client, job)}}
        result = await job.build(asked, client)
        if not asked.config.outputs and result.image_id:
            self.loose.add(result.image_id)
        ref = os.urandom(12).hex()
        job.results[ref] = result
        return {"result": {"ref": {"id": ref, "definition": _definition(result.image_id)}, "metadata": {}}}

    async def _return(self, call: Call) -> Value:
        job, request = await self._job(call), call.request
        if job.returned.done():
            return {}
        if request["error"] is not None:
            found = request["error"]
            details = messages.STATUS.encode(found)
            job.returned.set_exception(GrpcError(found["code"] or UNKNOWN, found["message"], details))
        else:
            job.returned.set_result(_ref_of(request["result"]))
        return {}

    async def _inputs(self, call: Call) -> Value:
        return {"definitions": (await self._job(call)).request["frontend_inputs"]}

    async def _evaluate(self, call: Call) -> Value:
        return {}  # whatever has a ref has been built

    async def _warn(self, call: Call) -> Value:
        warning = {("vertex" if key == "digest" else key): value for key, value in call.request.items()}
        await (await self._job(call)).log.add({"warnings": [warning]})
        return {}

    async def _subrequest(self, asked: Request, client: Client, job: Job) -> dict[str, bytes]:
        """`build --check`, `build --call`; other questions about a Dockerfile are refused."""
        from inception.api.buildkit.questions import NAMES, answer

        if asked.subrequest not in NAMES:
            raise unsupported_subrequest(asked.subrequest)
        return await self._solver.server.threads.long(answer, self._solver.server.engine.store, asked, client)


def _definition(image_id: str) -> Value:
    """A definition that leads back to an image of ours, for the build that a client hands it to."""
    source = messages.OP.encode({"source": {"identifier": RESULT + image_id}})
    digest = str(sha256(source))
    end = messages.OP.encode({"inputs": [{"digest": digest, "index": 0}]})
    return {"def": [source, end], "metadata": {digest: {}, str(sha256(end)): {}}}


def _ref_of(result: Value | None) -> str:
    """The ref of the result that a client hands back; empty when there is none."""
    if result is None:
        return ""
    if result["ref"] is not None:
        return str(result["ref"]["id"])
    refs = (result["refs"] or {}).get("refs", {})
    return next((str(each["id"]) for each in refs.values()), str(result["old_ref"]))
