"""What the engine is and uses: ping, version, info, df, events, and the doors of BuildKit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from inception.api.call import Call, encode_json, event_document, open_stream, reply
from inception.api.errors import NotSupported
from inception.api.router import API_VERSION, MINIMUM_VERSION
from inception.engine.filters import event_matches
from inception.engine.times import parse_when_ns
from inception.errors import InvalidArgument

if TYPE_CHECKING:
    from inception.api.hub import Subscription
    from inception.engine.results import CacheEntry, Event


async def ping(call: Call) -> web.Response:
    # Builder-Version 2: clients may build with BuildKit's protocol, and with POST /build as ever.
    headers = {"Builder-Version": "2", "Swarm": "inactive", "Cache-Control": "no-cache, no-store, must-revalidate"}
    return web.Response(text="OK", headers={**headers, "Pragma": "no-cache"})


# What clients expect of a program in Go: they show it, and their tests look for the names.
_NOT_GO = {"GoVersion": "none (Python)", "GitCommit": "", "BuildTime": ""}


async def version(call: Call) -> web.Response:
    document = await call.run(call.engine.system.version)
    numbers = {
        "ApiVersion": f"{API_VERSION[0]}.{API_VERSION[1]}",
        "MinAPIVersion": f"{MINIMUM_VERSION[0]}.{MINIMUM_VERSION[1]}",
    }
    told = {"Experimental": True} if call.server.experimental else {}
    return reply({**document, **numbers, **_NOT_GO, **told})


async def info(call: Call) -> web.Response:
    return reply({**await call.run(call.engine.system.info), "ExperimentalBuild": call.server.experimental})


async def events(call: Call) -> web.StreamResponse:
    """History from `since`, then what happens, until `until`."""
    since, until = call.text("since"), call.text("until")
    filters = call.filters()
    matches = event_matches({key: values for key, values in filters.items() if key not in ("daemon", "scope")})
    until_ns = parse_when_ns(until) if until else None
    with call.server.hub.subscribe() as news:  # first, so that nothing falls between history and news
        history = await call.run(lambda: list(call.engine.events.read(since=since, until=until))) if since else []
        response = await open_stream(call)
        last_ns = 0
        for event in history:
            last_ns = max(last_ns, event.time_ns)
            if matches(event):
                await response.write(encode_json(event_document(event)))
        seen = {(event.time_ns, event.id, event.action) for event in history[-1000:]}
        async for event in _until(news, until_ns):
            if matches(event) and not (event.time_ns <= last_ns and (event.time_ns, event.id, event.action) in seen):
                await response.write(encode_json(event_document(event)))
        await response.write_eof()
        return response


async def _until(news: Subscription, until_ns: int | None) -> Any:
    import time

    while True:
        left = None if until_ns is None else (until_ns - time.time_ns()) / 1e9
        if left is not None and left <= 0:
            return
        event: Event | None = await news.next(left)
        if event is None or (until_ns is not None and event.time_ns > until_ns):
            return
        yield event


async def df(call: Call) -> web.Response:
    """`system df`: objects with their sizes, of the types that are asked for."""
    kinds = set(call.query.getall("type", []))
    if kinds - {"container", "image", "volume", "build-cache"}:
        raise InvalidArgument(f"unknown object type: {', '.join(sorted(kinds))}")
    from inception.api.documents import container_summary, image_summary, volume_document

    engine = call.engine

    def gather() -> dict[str, Any]:
        def wanted(kind: str) -> bool:
            return not kinds or kind in kinds

        containers = engine.containers.list(all=True)
        uses: dict[str, int] = {}
        for container in containers:
            uses[container.image_id] = uses.get(container.image_id, 0) + 1
        images = engine.images.list() if wanted("image") else []
        sizes = dict(_volume_sizes(engine)) if wanted("volume") else {}
        rows = {row.type: row for row in engine.system.df()}
        return {
            "LayersSize": rows["Images"].size_bytes if "Images" in rows else 0,
            "Images": [image_summary(image, uses.get(image.id, 0)) for image in images],
            "Containers": [container_summary(c, size=True) for c in containers] if wanted("container") else [],
            "Volumes": [volume_document(volume, sizes.get(volume.name)) for volume in engine.volumes.list()]
            if wanted("volume")
            else [],
            "BuildCache": [_cache_entry(entry) for entry in engine.system.build_cache()] if wanted("build-cache") else [],
            "BuilderSize": rows["Build Cache"].size_bytes if "Build Cache" in rows else 0,
        }

    return reply(await call.run(gather))


def _cache_entry(entry: CacheEntry) -> dict[str, Any]:
    return {
        "ID": entry.id,
        "Type": "regular",
        "Description": "",
        "InUse": False,
        "Shared": entry.shared,
        "Size": entry.size_bytes,
        "CreatedAt": entry.created or None,
        "LastUsedAt": entry.used,
        "UsageCount": entry.usage,
    }


def _volume_sizes(engine: Any) -> list[tuple[str, int]]:
    return [(volume.name, size) for volume, size in engine.system.volume_sizes()]


async def grpc(call: Call) -> web.StreamResponse:
    from inception.api.buildkit import doors  # h2 and all that: for clients that come with it

    return await doors.grpc(call)


async def session(call: Call) -> web.StreamResponse:
    from inception.api.buildkit import doors

    return await doors.session(call)


async def no_plugins(call: Call) -> web.Response:
    return reply([])


async def no_plugin(call: Call) -> web.Response:
    from inception.errors import NotFound

    raise NotFound(f'plugin "{call.arguments.get("name", "")}" not found')


async def plugins_refused(call: Call) -> web.Response:
    raise NotSupported("plugins are not supported")


ROUTES = [
    ("GET", "/_ping", ping),
    ("HEAD", "/_ping", ping),
    ("GET", "/version", version),
    ("GET", "/info", info),
    ("GET", "/events", events),
    ("GET", "/system/df", df),
    ("POST", "/session", session),
    ("POST", "/grpc", grpc),
    ("GET", "/plugins", no_plugins),
    ("GET", "/plugins/privileges", plugins_refused),
    ("GET", "/plugins/{name:path}/json", no_plugin),
    ("POST", "/plugins/{name:path}", plugins_refused),
    ("DELETE", "/plugins/{name:path}", no_plugin),
]
