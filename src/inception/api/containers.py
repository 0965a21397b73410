"""Containers: list, create, inspect, change, remove."""

from __future__ import annotations

from aiohttp import web

from inception.api.call import Call, empty, encode_json, reply
from inception.api.convert import container_config, update_config
from inception.api.documents import RUNNING, container_summary
from inception.api.fields import Fields
from inception.api.images import tagged
from inception.engine.config import CommitConfig
from inception.engine.links import linked_name
from inception.engine.links import names as link_names
from inception.engine.validate import check_platform
from inception.errors import InvalidArgument, NotFound

_KINDS = {"C": 0, "A": 1, "D": 2}


async def list_containers(call: Call) -> web.Response:
    filters = call.filters()
    limit = call.number("limit", -1)
    every = call.flag("all") or limit > 0 or "status" in filters or bool(call.text("since") or call.text("before"))
    for name in ("since", "before"):
        if call.text(name):
            filters.setdefault(name, []).append(call.text(name))
    size, engine = call.flag("size"), call.engine

    def rows() -> bytes:
        found = engine.containers.list(all=every, filters=filters, limit=max(limit, 0))
        stopped = any(not container.record.state.endpoints for container in found)
        ids = {network.name: network.id for network in engine.networks.list()} if stopped else {}
        linked = link_names(engine)
        named = [(container, linked.get(container.record.name, ())) for container in found]
        if size:
            return encode_json([container_summary(each, size=True, network_ids=ids, linked=names) for each, names in named])
        return b"[" + b",".join([call.server.summaries.row(each, ids, names) for each, names in named]) + b"]\n"

    return web.Response(body=await call.run(rows), content_type="application/json")


async def create(call: Call) -> web.Response:
    body = await call.json(required=True)
    if not body:
        raise InvalidArgument("config cannot be empty in order to create a container")
    _check_platform(call.text("platform"), Fields(body).text("Image"))
    config = container_config(Fields(body), name=call.text("name").removeprefix("/"), platform=call.text("platform"))
    try:
        # Clients pull by themselves when they hear of a missing image.
        container = await call.run(call.engine.containers.create, config, pull="never")
    except NotFound as error:
        if str(error).startswith("No such image"):
            raise
        raise InvalidArgument(str(error), error.hint) from error  # a network, a container: nothing that a pull could bring
    return reply({"Id": container.id, "Warnings": []}, 201)


def _check_platform(platform: str, image: str) -> None:
    """An image for another machine is none for this: clients then pull, and hear it again."""
    try:
        check_platform(platform)
    except InvalidArgument as error:
        raise NotFound(f"image with reference {image} was found but does not match the specified platform: {error}") from error


async def inspect(call: Call) -> web.Response:
    name = call.arguments["id"]
    if "/" in name.strip("/"):  # `CONTAINER/ALIAS`
        call.arguments["id"] = await call.run(linked_name, call.engine, name) or name
    container = await call.container()
    document = await call.run(container.inspect, size=call.flag("size"))
    document["ExecIDs"] = call.server.execs.of(container.id) or None
    return reply(document)


async def remove(call: Call) -> web.Response:
    if call.flag("link"):
        from inception.engine.links import remove_link

        await call.run(remove_link, call.engine, call.arguments["id"])
        return empty()
    container = await call.container()
    if container.record.state.status not in RUNNING:
        await call.server.await_followers(container.id)
    await call.run(container.remove, force=call.flag("force"), volumes=call.flag("v"))
    return empty()


async def rename(call: Call) -> web.Response:
    container = await call.container()
    if not call.text("name"):
        raise InvalidArgument("Neither old nor new names may be empty")
    await call.run(container.rename, call.text("name"))
    return empty()


async def update(call: Call) -> web.Response:
    changes = update_config(Fields(await call.json(required=True)))
    container = await call.container()
    await call.run(container.update, changes)
    return reply({"Warnings": []})


async def top(call: Call) -> web.Response:
    container = await call.container()
    found = await call.run(container.top, call.text("ps_args"))
    return reply({"Titles": found.titles, "Processes": found.processes})


async def changes(call: Call) -> web.Response:
    container = await call.container()
    found = await call.run(container.diff)
    return reply([{"Path": change.path, "Kind": _KINDS[change.kind]} for change in found] or None)


async def prune(call: Call) -> web.Response:
    report = await call.run(call.engine.containers.prune, call.filters())
    return reply({"ContainersDeleted": report.containers or None, "SpaceReclaimed": report.space_reclaimed_bytes})


async def commit(call: Call) -> web.Response:
    container = await call.run(call.engine.containers.get, call.text("container"))
    changes = [line for text in call.query.getall("changes", []) for line in text.splitlines() if line.strip()]
    config = CommitConfig(
        reference=tagged(call.text("repo"), call.text("tag")),
        author=call.text("author"),
        message=call.text("comment"),
        changes=[*_changes_of(Fields(await call.json())), *changes],
        pause=call.flag("pause", True),
    )
    return reply({"Id": await call.server.threads.long(container.commit, config)}, 201)


def _changes_of(body: Fields) -> list[str]:
    """A configuration in the body says what the image gets, as Dockerfile instructions would."""
    from json import dumps

    found = [f"LABEL {dumps(key)}={dumps(value)}" for key, value in body.texts("Labels").items()]
    found += [f"ENV {name}={dumps(value)}" for name, _, value in (item.partition("=") for item in body.strings("Env"))]
    found += [f"EXPOSE {port}" for port in body.keys("ExposedPorts")]
    found += [f"VOLUME {dumps([path])}" for path in body.keys("Volumes")]
    for field, instruction in (("Cmd", "CMD"), ("Entrypoint", "ENTRYPOINT")):
        if body.strings(field):
            found.append(f"{instruction} {dumps(body.strings(field))}")
    for field, instruction in (("User", "USER"), ("WorkingDir", "WORKDIR"), ("StopSignal", "STOPSIGNAL")):
        if body.text(field):
            found.append(f"{instruction} {body.text(field)}")
    return found


ROUTES = [
    ("GET", "/containers/json", list_containers),
    ("POST", "/containers/create", create),
    ("POST", "/containers/prune", prune),
    ("GET", "/containers/{id:path}/json", inspect),
    ("GET", "/containers/{id}/top", top),
    ("GET", "/containers/{id}/changes", changes),
    ("POST", "/containers/{id}/update", update),
    ("POST", "/containers/{id}/rename", rename),
    ("DELETE", "/containers/{id:path}", remove),
    ("POST", "/commit", commit),
]
