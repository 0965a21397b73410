"""Images."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from inception.api.archive import send_tar
from inception.api.auth import credentials_of
from inception.api.call import Call, parse_json, reply
from inception.api.documents import image_summary
from inception.api.progress import Tell, progress_document, stream_work
from inception.engine.results import ImageRemoval
from inception.engine.times import parse
from inception.engine.web import is_url, open_url
from inception.errors import Forbidden, InvalidArgument, NotFound, Unavailable
from inception.oci.image import Platform, platform_text
from inception.oci.reference import Reference
from inception.record import decode
from inception.store.bootstrap import find_recipe
from inception.store.progress import Progress

_NO_MANIFESTS = "ask for each platform by itself"


async def list_images(call: Call) -> web.Response:
    call.refuse(manifests=_NO_MANIFESTS)
    filters, every = call.filters(), call.flag("all")
    asked = call.flag("shared-size")

    def rows() -> list[dict[str, Any]]:
        shared = call.engine.images.shared_sizes() if asked else {}
        images = call.engine.images.list(filters=filters, all=every)
        return [image_summary(image, shared_size=shared.get(image.id, 0) if asked else -1) for image in images]

    return reply(await call.run(rows))


async def inspect(call: Call) -> web.Response:
    call.refuse(manifests=_NO_MANIFESTS)
    return reply(await call.run(call.engine.images.inspect, call.arguments["name"], platform=_platform(call)))


def _platform(call: Call) -> str:
    """`linux/arm64`: as text, or as the object that newer clients send."""
    return _platform_text(call.text("platform"))


def _platform_text(text: str) -> str:
    if not text.startswith("{"):
        return text
    return platform_text(decode(Platform, parse_json(text.encode(), "platform"), "platform"))


async def history(call: Call) -> web.Response:
    entries = await call.run(call.engine.images.history, call.arguments["name"], platform=_platform(call))
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


def tagged(name: str, tag: str) -> str:
    """The image that a request means by a name and a tag (or a digest) beside it: the tag that stands in the name gives way."""
    if not name or not tag or "@" in name:
        return name
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}{'@' if ':' in tag else ':'}{tag}"


async def tag(call: Call) -> web.Response:
    name = tagged(call.text("repo"), call.text("tag"))
    await call.run(call.engine.images.tag, call.arguments["name"], name)
    return web.Response(status=201)


async def remove(call: Call) -> web.Response:
    if not call.arguments["name"].strip():
        raise InvalidArgument("image name cannot be blank")
    removals = await call.run(
        call.engine.images.remove,
        call.arguments["name"],
        force=call.flag("force"),
        prune=not call.flag("noprune"),
        platforms=[_platform_text(text) for text in call.query.getall("platforms", [])],
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
    name, tag, platform = call.text("fromImage"), call.text("tag"), call.text("platform")
    name = tagged(name, tag)
    every_tag = not tag and "@" not in name and ":" not in name.rpartition("/")[2]
    credentials = credentials_of(call.request.headers.get("X-Registry-Auth", ""))
    images = call.engine.images

    def work(tell: Tell) -> None:
        def progress(news: Progress) -> None:
            tell(progress_document(news))

        try:
            fetch = images.pull_all_tags if every_tag else images.pull
            fetch(name, progress=progress, platform=platform, credentials=credentials)
        except (Unavailable, NotFound, Forbidden) as error:
            if platform or is_here(call, name) or find_recipe(name) is None:
                raise
            progress(Progress(status=f"{error}; making {name} from its distribution's own packages"))
            images.bootstrap(name, progress=progress)

    return await stream_work(call, work, is_news=lambda document: not document["status"].startswith("Pulling from"))


def is_here(call: Call, name: str) -> bool:
    try:
        call.engine.images.get(name)
    except NotFound:
        return False
    return True


async def _import(call: Call) -> web.StreamResponse:
    """From the request's body (`-`), or from an address."""
    source = call.text("fromSrc")
    if source != "-" and not is_url(source):
        raise InvalidArgument(f"import from {source}: expected `-` or an http address")
    repository, tag = call.text("repo"), call.text("tag")
    changes = [line for text in call.query.getall("changes", []) for line in text.splitlines() if line.strip()]
    body = call.body_file() if source == "-" else None

    def work(tell: Tell) -> None:
        name = tagged(repository, tag)
        if body is None:
            tell({"status": f"Downloading from {source}"})
        with open_url(source) if body is None else body as stream:
            image = call.engine.images.import_(stream, name, changes=changes, message=call.text("message"))
        tell({"status": image.id})

    return await stream_work(call, work)


async def push(call: Call) -> web.StreamResponse:
    name, tag, platform = call.arguments["name"], call.text("tag"), _platform(call)
    credentials = credentials_of(call.request.headers.get("X-Registry-Auth", ""))
    images = call.engine.images

    def work(tell: Tell) -> None:
        for each in [tagged(name, tag)] if tag else _names_of(call, name):
            pushed = images.push(
                each, progress=lambda news: tell(progress_document(news)), credentials=credentials, platform=platform
            )
            result = {"Tag": pushed.tag, "Digest": pushed.digest, "Size": pushed.size_bytes}
            tell({"progressDetail": {}, "aux": result})

    return await stream_work(call, work, every_error_told=True)


def _names_of(call: Call, repository: str) -> list[str]:
    """All local names in a repository, or the one name that has its tag already."""
    if ":" in repository.rpartition("/")[2]:
        return [repository]
    wanted = Reference.parse(repository).repository
    found = [name for image in call.engine.images.list() for name in image.names]
    names = [name for name in found if Reference.parse(name).repository == wanted]
    if not names:
        raise NotFound(f"An image does not exist locally with the tag: {repository}")
    return names


async def search(call: Call) -> web.Response:
    from inception.store.login import search

    found = await call.server.threads.long(search, call.text("term"), call.number("limit") or 25, call.filters())
    return reply(
        [
            {
                "name": each.name,
                "description": each.description,
                "star_count": each.stars,
                "is_official": each.official,
                "is_automated": False,
            }
            for each in found
        ]
    )


async def save(call: Call) -> web.StreamResponse:
    names = [call.arguments["name"]] if "name" in call.arguments else call.query.getall("names", [])
    names = [name for text in names for name in text.split(",")]
    if not names:
        raise InvalidArgument("no images to save: names is missing")
    platforms = ",".join(_platform_text(text) for text in call.query.getall("platform", []))
    return await send_tar(call, await call.run(call.engine.images.save, names, platform=platforms), None)


async def load(call: Call) -> web.StreamResponse:
    body, platform = call.body_file(), _platform(call)

    def work(tell: Tell) -> None:
        def progress(news: Progress) -> None:
            if not news.id:  # what the load has done to images that were here
                tell({"stream": f"{news.status}\n"})

        for name in call.engine.images.load(body, progress, platform=platform):
            kind = "Loaded image ID" if name.startswith("sha256:") else "Loaded image"
            tell({"stream": f"{kind}: {name}\n"})

    return await stream_work(call, work, every_error_told=True)


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
