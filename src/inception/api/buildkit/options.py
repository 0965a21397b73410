"""What a client asks of the Dockerfile frontend and of the exporters, as a `BuildConfig`.

Each attribute is honoured or refused by name.
Source: BuildKit's frontend/dockerui and frontend/dockerfile, buildx's toSolveOpt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from inception.api.call import parse_json
from inception.api.convert import resource_config
from inception.api.errors import NotSupported
from inception.api.fields import Fields
from inception.build import BuildConfig
from inception.build.cacheplaces import parse_source, parse_target
from inception.build.config import Annotation, CachePlace, Output
from inception.build.output import parse_annotation
from inception.buildkit.protobuf import Value
from inception.errors import InvalidArgument
from inception.oci.reference import Reference
from inception.record import Record, replace

FRONTEND, GATEWAY_FRONTEND = "dockerfile.v0", "gateway.v0"
_DOCKERFILE_IMAGE = "docker/dockerfile"
UPLOAD = "http://buildkit-session/"
# A result of ours, in the definition that a client hands on to another build.
RESULT = "inception-image://"
_ELSEWHERE = ("cache-imports", "cache-from", "contextkey", "dockerfilekey", "shm-size", "ulimit")
_MAPS = {"build-arg:": "build_args", "label:": "labels"}
# What says nothing about the outcome here: notes for provenance, what clients ask for in passing, how a result is wrapped.
_NOTES = (
    "vcs:",
    "frontend.caps",
    "input-metadata:",
    "local-sessionid:",
    "cmdline",
    "multi-platform",
)
_EXPORTERS = {"moby": "image", "image": "image", "docker": "docker", "oci": "oci", "local": "local", "tar": "tar"}
_STORED = ("moby", "image")
_ANNOTATION = re.compile(r"annotation(?:-([a-z-]+))?(\[[^]]*\])?\.(.+)", re.DOTALL)
# How an image is wrapped for a registry or an archive; the store keeps its layers as they are.
_WRAPPING = (
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "unpack",
    "buildinfo",
    "buildinfo-attrs",
    "load",
    "store",
    "dangling-name-prefix",
    "name-canonical",
    "rewrite-timestamp",
    "context",
)


class Request(Record):
    """`context` is a local name of the client's, or an address; `dockerfile_from` the local name that has the Dockerfile, empty
    when it lies in the context; `locals` are named contexts by the names that the client gives to their folders."""

    config: BuildConfig
    filename: str = "Dockerfile"
    context: str = "context"
    dockerfile_from: str = "dockerfile"
    locals: dict[str, str] = {}
    subrequest: str = ""


def parse_request(frontend: str, attrs: dict[str, str], inputs: dict[str, Value]) -> Request:
    """Raises NotSupported, InvalidArgument for what can't be done."""
    if frontend == GATEWAY_FRONTEND and attrs.get("source", "").partition(":")[0].endswith(_DOCKERFILE_IMAGE):
        attrs = {key: value for key, value in attrs.items() if key != "source"}
    elif frontend != FRONTEND:
        source = f" {attrs['source']}" if attrs.get("source") else ""
        raise NotSupported(f"frontend {frontend}{source} is not supported: Dockerfiles alone are built")
    request = Request(config=BuildConfig(context="-"))
    config: dict[str, Any] = {}
    maps: dict[str, dict[str, str]] = {name: {} for name in (*_MAPS.values(), "contexts")}
    # In an order of their own: a client's map has none, and an image's labels are part of its id.
    for key, value in sorted(attrs.items()):
        head, colon, _ = key.partition(":")
        prefix = head + colon
        if prefix in _MAPS:
            maps[_MAPS[prefix]][key.removeprefix(prefix)] = value
        elif prefix == "context:":
            _named_context(request, maps["contexts"], key.removeprefix(prefix).lower(), value, inputs)
        elif prefix == "attest:":
            _attestation(key, value)
        elif key in _READERS:
            config |= _READERS[key](value)
        elif key in ("filename", "context", "requestid"):
            setattr(request, {"requestid": "subrequest"}.get(key, key), value)
        elif key not in _ELSEWHERE and not key.startswith(_NOTES):
            raise NotSupported(f"frontend option {key}={value} is not supported")
    if "context" in inputs and "context" not in attrs:
        raise NotSupported("a build context that is another build's definition is not supported")
    request.filename = request.filename or "Dockerfile"
    if "context" in attrs:
        request.dockerfile_from = attrs.get("dockerfilekey", "")
    else:
        request.context = attrs.get("contextkey") or "context"
        request.dockerfile_from = attrs.get("dockerfilekey") or "dockerfile"
    request.config = replace(request.config, **config, **maps, **_resources(attrs))
    return request


def _named_context(request: Request, contexts: dict[str, str], name: str, value: str, inputs: dict[str, Value]) -> None:
    kind, _, rest = value.partition(":")
    if kind == "local":
        request.locals[name] = rest
        contexts[name] = value
    elif kind == "input":
        contexts[name] = f"docker-image://{_result_of(inputs.get(rest), value)}"
    elif kind in ("docker-image", "http", "https", "git", "ssh"):
        contexts[name] = value
    else:
        raise NotSupported(f"build context {name}={value} is not supported")


def _result_of(definition: Value | None, name: str) -> str:
    """The image of ours that a definition leads to. Raises NotSupported for any other definition."""
    from inception.buildkit.messages import OP

    for data in (definition or {}).get("def", []):
        source = OP.decode(data)["source"]
        if source is not None and source["identifier"].startswith(RESULT):
            return str(source["identifier"].removeprefix(RESULT))
    raise NotSupported(f"build context {name}: a raw definition (LLB) is not supported: Dockerfiles alone are built")


def _attestation(key: str, value: str) -> None:
    """Attestations lie beside an image in an index; our store has images alone. The one that clients ask for by themselves is
    meant for nothing but such an index."""
    if value and "inline-only=true" not in value.split(",") and "disabled=true" not in value.split(","):
        raise NotSupported(
            f"attestation {key.partition(':')[2]} is not supported: turn it off with --provenance=false --sbom=false"
        )


def _platform(value: str) -> dict[str, Any]:
    if "," in value:
        raise NotSupported(f"platform {value}: one platform a build is supported")
    return {"platform": value}


def _no_cache(value: str) -> dict[str, Any]:
    return {"no_cache_stages": value.split(",")} if value else {"no_cache": True}


def _resolve_mode(value: str) -> dict[str, Any]:
    if value not in ("", "default", "pull", "local"):
        raise InvalidArgument(f"invalid image-resolve-mode: {value}")
    return {"pull": value == "pull"}


def _network(value: str) -> dict[str, Any]:
    modes = {"": "default", "sandbox": "default", "default": "default", "none": "none", "host": "host"}
    if value not in modes:
        raise InvalidArgument(f"invalid network mode: {value}")
    return {"network": modes[value]}


def _hosts(value: str) -> dict[str, Any]:
    """`name=address`, by commas."""
    return {"extra_hosts": [":".join(word.split("=", 1)) for word in value.split(",") if word]}


def _cgroup_parent(value: str) -> dict[str, Any]:
    if value:
        raise NotSupported(f"cgroup-parent {value} is not supported: steps run in the engine's own cgroup")
    return {}


def _no_hostname(value: str) -> dict[str, Any]:
    if value:
        raise NotSupported(f"hostname {value} is not supported for builds")
    return {}


def _resources(attrs: dict[str, str]) -> dict[str, Any]:
    """`shm-size` in bytes, `ulimit` as `nofile=1024:2048` by commas."""
    shm, ulimits = attrs.get("shm-size", ""), []
    if shm and not shm.isdecimal():
        raise InvalidArgument(f"invalid shm-size: {shm}")
    for word in filter(None, attrs.get("ulimit", "").split(",")):
        name, _, limits = word.partition("=")
        soft, _, hard = limits.partition(":")
        try:
            ulimits.append({"Name": name, "Soft": int(soft), "Hard": int(hard or soft)})
        except ValueError:
            raise InvalidArgument(f"invalid ulimit: {word}") from None
    return {"resources": resource_config(Fields({"ShmSize": int(shm or 0), "Ulimits": ulimits}))}


_READERS = {
    "target": lambda value: {"target": value},
    "platform": _platform,
    "no-cache": _no_cache,
    "image-resolve-mode": _resolve_mode,
    "force-network-mode": _network,
    "add-hosts": _hosts,
    "cgroup-parent": _cgroup_parent,
    "hostname": _no_hostname,
}


def parse_caches(entries: list[Value], attrs: dict[str, str]) -> list[CachePlace]:
    """Caches to ask: those of a request, and those among a frontend's attributes. Raises InvalidArgument, NotSupported."""
    found = [_cache(entry, parse_source) for entry in entries]
    found += [parse_source(text) for text in attrs.get("cache-from", "").split(",") if text]
    for item in parse_json(attrs.get("cache-imports") or "[]", "cache-imports"):
        fields = Fields(item, "cache-imports")
        found.append(_cache({"type": fields.text("Type"), "attrs": fields.value.get("Attrs") or {}}, parse_source))
    return list({(place.type, place.place): place for place in found}.values())


def parse_cache_targets(entries: list[Value]) -> list[CachePlace]:
    """Where this build's cache goes. Raises InvalidArgument, NotSupported."""
    return [_cache(entry, parse_target) for entry in entries]


def _cache(entry: Value, parse: Callable[[str], CachePlace]) -> CachePlace:
    if entry["type"] == "local":
        raise NotSupported("a cache of type local is not supported here: its folder is the client's; use registry or inline")
    words = [f"type={entry['type']}", *(f"{key}={value}" for key, value in sorted(entry["attrs"].items()))]
    return parse(",".join(words))


def parse_exporters(solve: Value) -> list[Output]:
    """Where a client wants the result. Raises NotSupported, InvalidArgument."""
    given = solve["exporters"]
    if not given and solve["exporter"]:
        given = [{"type": solve["exporter"], "attrs": solve["exporter_attrs"]}]
    return [_exporter(each["type"], each["attrs"]) for each in given]


def parse_annotations(solve: Value) -> list[Annotation]:
    """`annotation-LEVEL[PLATFORM].KEY` of the exporters, as `--annotation` would say it. Raises InvalidArgument."""
    found = []
    for each in solve["exporters"]:
        for name, value in each["attrs"].items():
            match = _ANNOTATION.fullmatch(name)
            if match:
                level, platform, key = match.groups()
                found += parse_annotation(f"{level or 'manifest'}{platform or ''}:{key}={value}")
    return found


def _exporter(kind: str, attrs: dict[str, str]) -> Output:
    if kind not in _EXPORTERS:
        raise NotSupported(f"exporter {kind} is not supported")
    names = [str(Reference.parse(name)) for name in attrs.get("name", "").split(",") if name]
    for key, value in attrs.items():
        known = key in ("name", "push", "tar", "mode", "dest", *_WRAPPING) or _ANNOTATION.fullmatch(key)
        if not known and value not in ("", "false"):
            raise NotSupported(f"exporter option {key}={value} is not supported for type {kind}")
    if attrs.get("mode", "copy") != "copy" or (kind == "oci" and attrs.get("tar") == "false"):
        raise NotSupported(f"exporter {kind}: only archives and copies are supported")
    # The docker driver's `push`: its client pushes what was stored.
    push = kind == "image" and attrs.get("push", "").lower() in ("true", "1")
    stored = kind in _STORED
    return Output(type=_EXPORTERS[kind], names=names, push=push, to_caller=not stored)
