"""Images."""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from inception.api.archive import send_tar
from inception.api.call import Call, parse_json, reply
from inception.api.documents import image_summary
from inception.api.errors import NotSupported
from inception.api.progress import Tell, progress_document, stream_work
from inception.engine.results import ImageRemoval
from inception.engine.times import parse
from inception.engine.validate import check_platform
from inception.errors import Forbidden, InvalidArgument, NotFound
from inception.store.progress import Progress

_ONE_PLATFORM = "images are kept for this machine's platform only"
_OPENINGS = ("Pulling from", "Unable to find image")


async def list_images(call: Call) -> web.Response:
    call.refuse(manifests=_ONE_PLATFORM)
    filters, every = call.filters(), call.flag("all")
    shared = 0 if call.flag("shared-size") else -1

    def rows() -> list[dict[str, Any]]:
        return [image_summary(image, shared_size=shared) for image in call.engine.images.list(filters=filters, all=every)]

    return reply(await call.run(rows))


async def inspect(call: Call) -> web.Response:
    call.refuse(manifests=_ONE_PLATFORM)
    return reply(await call.run(call.engine.images.inspect, call.arguments["name"]))


async def history(call: Call) -> web.Response:
    entries = await call.run(call.engine.images.history, call.arguments["name"])
    return reply(
        [
            {
                "Id": entry.id,
                "Created": parse(entry.created) // 10**9 if entry.created else 0,
                "CreatedBy": entry.created_by,
                "Tags": entry.tags or None,
                "Size": entry.size_bytes,
                "Comment": entry.comment,
            }
            for entry in entries
        ]
    )


async def tag(call: Call) -> web.Response:
    repository, name = call.text("repo"), call.text("tag")
    await call.run(call.engine.images.tag, call.arguments["name"], f"{repository}:{name}" if name else repository)
    return web.Response(status=201)


async def remove(call: Call) -> web.Response:
    call.refuse(platforms=_ONE_PLATFORM)
    removals = await call.run(
        call.engine.images.remove, call.arguments["name"], force=call.flag("force"), prune=not call.flag("noprune")
    )
    return reply([_removal(removal) for removal in removals])


def _removal(removal: ImageRemoval) -> dict[str, str]:
    return {"Untagged": removal.untagged} if removal.untagged else {"Deleted": removal.deleted}


async def prune(call: Call) -> web.Response:
    report = await call.server.threads.long(call.engine.images.prune, call.filters())
    pairs = [line.partition(": ") for line in report.images]
    deleted = [{"Untagged" if kind == "untagged" else "Deleted": what} for kind, _, what in pairs]
    return reply({"ImagesDeleted": deleted or None, "SpaceReclaimed": report.space_reclaimed_bytes})


# Transfers


async def create(call: Call) -> web.StreamResponse:
    """Pull (`fromImage`) or import (`fromSrc`)."""
    if call.text("fromImage"):
        return await _pull(call)
    if call.text("fromSrc"):
        return await _import(call)
    raise InvalidArgument("neither fromImage nor fromSrc is given")


async def _pull(call: Call) -> web.StreamResponse:
    check_platform(call.text("platform"))
    name, tag = call.text("fromImage"), call.text("tag")
    if tag:
        name = f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"
    login = has_login(call.request.headers.get("X-Registry-Auth", ""))
    images = call.engine.images

    def work(tell: Tell) -> None:
        def progress(news: Progress) -> None:
            tell(progress_document(news))

        try:
            if _is_here(call, name):
                images.pull(name, progress=progress)
            else:  # from a registry, else from a distribution's own packages
                images.ensure(name, progress=progress)
        except Forbidden as error:
            if login:
                raise Forbidden(str(error), "logging in to registries is not supported yet: this was tried without") from error
            raise

    return await stream_work(call, work, is_news=lambda document: not document["status"].startswith(_OPENINGS))


def _is_here(call: Call, name: str) -> bool:
    try:
        call.engine.images.get(name)
    except NotFound:
        return False
    return True


async def _import(call: Call) -> web.StreamResponse:
    if call.text("fromSrc") != "-":
        raise InvalidArgument(f"import from {call.text('fromSrc')}: only `-`, the request's body, is supported")
    repository, tag = call.text("repo"), call.text("tag")
    changes = [line for text in call.query.getall("changes", []) for line in text.splitlines() if line.strip()]
    body = call.body_file()

    def work(tell: Tell) -> None:
        name = f"{repository}:{tag}" if repository and tag else repository
        image = call.engine.images.import_(body, name, changes=changes, message=call.text("message"))
        tell({"status": image.id})

    return await stream_work(call, work)


async def push(call: Call) -> web.Response:
    raise NotSupported(f"push {call.arguments['name']}: pushing to a registry is not supported yet")


async def search(call: Call) -> web.Response:
    raise NotSupported("searching a registry is not supported")


async def save(call: Call) -> web.StreamResponse:
    call.refuse(platform=_ONE_PLATFORM)
    names = [call.arguments["name"]] if "name" in call.arguments else call.query.getall("names", [])
    names = [name for text in names for name in text.split(",")]
    if not names:
        raise InvalidArgument("no images to save: names is missing")
    return await send_tar(call, await call.run(call.engine.images.save, names), None)


async def load(call: Call) -> web.StreamResponse:
    call.refuse(platform=_ONE_PLATFORM)
    body = call.body_file()

    def work(tell: Tell) -> None:
        for name in call.engine.images.load(body):
            kind = "Loaded image ID" if name.startswith("sha256:") else "Loaded image"
            tell({"stream": f"{kind}: {name}\n"})

    return await stream_work(call, work)


def has_login(header: str) -> bool:
    """Whether X-Registry-Auth (base64url of JSON; `e30=` is `{}`) names a user. Raises InvalidArgument."""
    if not header:
        return False
    try:
        text = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    except ValueError:
        raise InvalidArgument("invalid X-Registry-Auth header: not base64") from None
    value = parse_json(text or b"{}", "X-Registry-Auth header")
    return isinstance(value, dict) and any(value.get(key) for key in ("username", "identitytoken", "registrytoken", "auth"))


ROUTES = [
    ("GET", "/images/json", list_images),
    ("POST", "/images/create", create),
    ("POST", "/images/load", load),
    ("POST", "/images/prune", prune),
    ("GET", "/images/get", save),
    ("GET", "/images/search", search),
    ("GET", "/images/{name:path}/json", inspect),
    ("GET", "/images/{name:path}/history", history),
    ("GET", "/images/{name:path}/get", save),
    ("POST", "/images/{name:path}/tag", tag),
    ("POST", "/images/{name:path}/push", push),
    ("DELETE", "/images/{name:path}", remove),
]
