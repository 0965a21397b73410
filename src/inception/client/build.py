"""A build on another engine: the context of this machine, sent as a tar; what is said there as the events of a build here."""

from __future__ import annotations

import json
import os
import re
import sys
import tarfile
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO

from inception.build.config import BuildConfig, BuildResult
from inception.build.ignore import IgnoreRules, parse_ignore
from inception.build.progress import Event
from inception.client.bodies import encode_header, login_fields, resources_body
from inception.client.transport import filters_text
from inception.errors import InvalidArgument, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inception.client.engine import RemoteEngine

_CHUNK = 1 << 16
_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)", re.DOTALL)
_REMOTE = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")
_DOCKERFILE = ".dockerfile.inception"


def build(
    engine: RemoteEngine, config: BuildConfig, progress: Callable[[Event], None] | None = None, stdin: BinaryIO | None = None
) -> BuildResult:
    """Raises InvalidArgument for what only a builder on this machine can do, Unavailable when a step fails."""
    if _wants_buildkit(config):
        from inception.client import buildkit  # asyncio and h2

        return buildkit.build(engine, config, progress, stdin)
    query, body = _query(config), None
    if config.context.startswith(_REMOTE) and not os.path.isdir(config.context):
        query["remote"] = config.context
    else:
        body, query["dockerfile"] = _context(config, stdin or sys.stdin.buffer)
    told = _Told(progress)
    headers = {"X-Registry-Config": encode_header(_log_ins())}
    for document in engine.transport.request("POST", "/build", body, query=query, headers=headers).documents():
        told.take(document)
    told.done()
    if not told.image_id:
        raise Unavailable("build: the engine did not say which image came of it")
    return BuildResult(image_id=told.image_id, steps=told.steps, cached_steps=told.cached)


def _wants_buildkit(config: BuildConfig) -> bool:
    """Whether something is asked for that the classic builder's request has no word for."""
    ours = config.secrets or config.ssh or config.contexts or config.outputs
    cached = config.cache_from or config.cache_to or config.no_cache_stages
    told = config.annotations or config.attestations or config.metadata
    return bool(ours or cached or told or config.allow)


def prune(engine: Any, filters: dict[str, list[str]], keep_bytes: int, limits: dict[str, int]) -> int:
    """Forget what builds over there have cached; the bytes that were freed."""
    query = {"filters": filters_text(filters), "keep-storage": keep_bytes or None}
    query |= {name: value or None for name, value in limits.items()}
    freed: int = engine.transport.json("POST", "/build/prune", None, **query)["SpaceReclaimed"]
    return freed


def _log_ins() -> dict[str, Any]:
    """This user's, for the registries of base images: the engine's own are none of ours."""
    from inception.store.credentials import find_or_anonymous, servers
    from inception.store.login import domain_of

    return {key: login_fields(find_or_anonymous(domain_of(key))[0]) for key in servers()}


def _query(config: BuildConfig) -> dict[str, Any]:
    limits = resources_body(config.resources) if config.resources is not None else {}
    names = {
        "Memory": "memory",
        "MemorySwap": "memswap",
        "CpuShares": "cpushares",
        "CpuPeriod": "cpuperiod",
        "CpuQuota": "cpuquota",
        "CpusetCpus": "cpusetcpus",
        "CpusetMems": "cpusetmems",
        "ShmSize": "shmsize",
    }
    query: dict[str, Any] = {there: limits[here] for here, there in names.items() if here in limits}
    if "Ulimits" in limits:
        query["ulimits"] = json.dumps(limits["Ulimits"])
    return {
        **query,
        "t": config.tags,
        "target": config.target,
        "buildargs": json.dumps(config.build_args) if config.build_args else "",
        "labels": json.dumps(config.labels) if config.labels else "",
        "nocache": config.no_cache,
        "pull": config.pull,
        "networkmode": "" if config.network == "default" else config.network,
        "extrahosts": config.extra_hosts or None,
        "platform": config.platform,
        "rm": True,
        "forcerm": True,
    }


def _context(config: BuildConfig, stdin: BinaryIO) -> tuple[Iterator[bytes], str]:
    """The body, and the Dockerfile's name in it. A whole archive from standard input goes through as it is."""
    if config.context == "-":
        return iter(lambda: stdin.read(_CHUNK), b""), config.dockerfile
    if not os.path.isdir(config.context):
        raise NotFound(f'unable to prepare context: path "{config.context}" not found')
    inline = config.dockerfile_inline.encode() if config.dockerfile_inline else b""
    name = config.dockerfile
    if name == "-":
        inline, name = stdin.read(), ""
    elif name:
        inside = os.path.relpath(os.path.realpath(name), os.path.realpath(config.context))
        if inside.startswith(".."):
            inline = _read(name)
        name = inside
    if inline:
        name = _DOCKERFILE
    return _packed(config.context, name or "Dockerfile", inline), name


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise NotFound(f"failed to read dockerfile: open {path}: {error.strerror}") from None


def _packed(folder: str, dockerfile: str, inline: bytes) -> Iterator[bytes]:
    """A tar of *folder* without what `.dockerignore` leaves out; the files that steer the build always come along."""
    kept = {dockerfile, ".dockerignore"}
    rules = _rules(folder, dockerfile)
    with tempfile.TemporaryFile() as spool:  # a context may be larger than memory
        with tarfile.open(fileobj=spool, mode="w") as tar:
            for path, inside in _walk(folder, rules, kept):
                tar.add(path, inside, recursive=False, filter=_owned_by_root)
            if inline:
                entry = tarfile.TarInfo(dockerfile)
                entry.size = len(inline)
                from io import BytesIO

                tar.addfile(entry, BytesIO(inline))
        spool.seek(0)
        yield from iter(lambda: spool.read(_CHUNK), b"")


def _rules(folder: str, dockerfile: str) -> IgnoreRules:
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        try:
            with open(f"{folder}/{name}", "rb") as file:
                return parse_ignore(file.read())
        except OSError:
            continue
    return IgnoreRules([])


def _walk(folder: str, rules: IgnoreRules, kept: set[str]) -> Iterator[tuple[str, str]]:
    for where, folders, files in os.walk(folder):
        inside = os.path.relpath(where, folder)
        prefix = "" if inside == "." else f"{inside}/"
        for name in sorted(folders):
            path = f"{prefix}{name}"
            if rules.ignored(path) and not rules.may_include_below(path):
                folders.remove(name)
            elif not rules.ignored(path) or os.path.islink(f"{folder}/{path}"):
                yield f"{folder}/{path}", path
        for name in sorted(files):
            path = f"{prefix}{name}"
            if path in kept or not rules.ignored(path):
                yield f"{folder}/{path}", path


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


class _Told:
    """The engine's lines as events. The classic builder says when a step begins, never when it ends: that is the next one."""

    def __init__(self, progress: Callable[[Event], None] | None) -> None:
        self._progress = progress
        self._name = ""
        self._cached = False
        self.image_id = ""
        self.steps = self.cached = 0

    def take(self, document: dict[str, Any]) -> None:
        if "error" in document:
            self._end("failed")
            raise _failure(document)
        if (document.get("aux") or {}).get("ID"):
            self.image_id = document["aux"]["ID"]
        said = document.get("stream", "")
        match = _STEP.match(said)
        if match:
            self.done()
            self.steps = int(match[1])
            self._name, self._cached = f"[{match[1]}/{match[2]}] {match[3].strip()}", False
            self._tell(Event(kind="start", step=self.steps, name=self._name))
        elif "Using cache" in said:
            self._cached = True
        elif said.strip() and not said.startswith((" ---> ", "Removing intermediate", "Successfully ")):
            self._tell(Event(kind="output", step=self.steps, name=self._name, data=said.encode()))

    def done(self) -> None:
        self.cached += self._cached
        self._end("cached" if self._cached else "done")

    def _end(self, kind: str) -> None:
        if self._name:
            self._tell(Event(kind=kind, step=self.steps, name=self._name))
            self._name = ""

    def _tell(self, event: Event) -> None:
        if self._progress is not None:
            self._progress(event)


def _failure(document: dict[str, Any]) -> InvalidArgument | Unavailable:
    code = (document.get("errorDetail") or {}).get("code")
    return Unavailable(str(document["error"])) if code else InvalidArgument(str(document["error"]))
