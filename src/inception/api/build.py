"""Build: a tar of a context in, the words of Docker's classic builder out."""

from __future__ import annotations

import json
import os
import re
from typing import Any, BinaryIO

from aiohttp import web

from inception.api.auth import log_ins_of
from inception.api.call import Call, empty, parse_json, reply
from inception.api.convert import resource_config
from inception.api.errors import message_of
from inception.api.fields import Fields
from inception.api.images import is_here
from inception.api.progress import Tell, error_document, stream_work
from inception.build import BuildConfig, BuildFailed, build
from inception.build.cache import BuildCache
from inception.build.caller import Caller
from inception.build.context import is_remote
from inception.build.progress import Event
from inception.engine.config import ResourceConfig
from inception.engine.filters import check_keys
from inception.engine.times import parse_when_ns
from inception.errors import InceptionError, InvalidArgument
from inception.oci.image import parse_platform
from inception.oci.reference import Reference
from inception.store.credentials import Credentials

# The `version` of a build: whose words its answer has.
_CLASSIC, _BUILDKIT = "1", "2"
_STDERR = 2
# `[2/4] RUN make`, `[builder 2/4] RUN make`: what makes files.
_STEP = re.compile(r"\[(?:\S+ )?(\d+)/(\d+)\] (.*)", re.DOTALL)


async def build_image(call: Call) -> web.StreamResponse:
    config, quiet = _config(call), call.flag("q")
    log_ins = log_ins_of(call.request.headers.get("X-Registry-Config", ""))
    if call.text("version") == _BUILDKIT:
        from inception.api.buildkit.post import build_posted

        return await build_posted(call, config, log_ins)
    known = parse_json(call.text("cachefrom") or "[]", "cachefrom") or []
    body = call.body_file()
    if known and not await call.run(lambda: any(is_here(call, name) for name in known)):
        config.no_cache = True  # asked for, these images are all the cache there is

    def work(tell: Tell) -> None:
        shown = _Words(tell)
        for name in known if not quiet else ():
            tell({"stream": f"[Warning] cachefrom {name}: only this engine's own build cache is asked\n"})
        caller = _ApiCaller(config, body, log_ins)
        result = build(call.engine, config, None if quiet else shown, caller=caller)
        if quiet:
            tell({"stream": f"{result.image_id}\n"})
            return
        tell({"aux": {"ID": result.image_id}})
        tell({"stream": f"Successfully built {result.image_id[7:19]}\n"})
        for name in config.tags:
            tell({"stream": f"Successfully tagged {_tagged(name)}\n"})

    return await stream_work(call, work, explain=_failure)


class _ApiCaller(Caller):
    """A client whose log-ins came with its request: this machine's own are none of its business."""

    def __init__(self, config: BuildConfig, stdin: BinaryIO, log_ins: dict[str, Credentials]) -> None:
        super().__init__(config, stdin)
        self._log_ins = log_ins

    def credentials(self, reference: str) -> Credentials:
        return self._log_ins.get(Reference.parse(reference).domain) or Credentials()


class _Words:
    """The builder's events as the classic builder's lines, which number all instructions.

    What only configures the image has no events of its own: it is told with the step behind it in its stage, else with the one
    before, and comes out of the cache when that does. A step is told as soon as it is known whether the cache has it.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._plan: list[str] = []
        self._groups: dict[str, list[int]] = {}

    def __call__(self, event: Event) -> None:
        text = event.data.decode("utf-8", "replace")
        if event.kind == "plan":
            self._plan = text.split("\0")
            self._groups = _groups(self._plan)
            self._tell_steps(self._groups.pop("", []), cached=False)
        elif event.kind == "warning":
            self._tell({"stream": f"[Warning] {event.name}\n"})
        elif event.name in self._plan and event.kind != "start":
            cached = event.kind == "cached" and not _is_base(event.name)
            places, ended = self._groups.get(event.name, []), event.kind in ("cached", "done")
            ready = [place for place in places if ended or place <= self._plan.index(event.name)]
            self._groups[event.name] = places[len(ready) :]
            self._tell_steps(ready, cached=cached)
            if event.kind == "output":
                self._tell({"stream": f"\x1b[91m{text}\x1b[0m" if event.stream == _STDERR else text})
        elif event.kind == "output" and event.name.startswith("[internal]"):
            self._tell({"status": text.rstrip("\n")})

    def _tell_steps(self, places: list[int], *, cached: bool) -> None:
        for place in places:
            title = self._plan[place]
            self._tell({"stream": f"Step {place + 1}/{len(self._plan)} : {_bare(title)}\n"})
            if cached and not _is_base(title):
                self._tell({"stream": " ---> Using cache\n"})


def _groups(plan: list[str]) -> dict[str, list[int]]:
    """By the title of each step that makes files, the places in *plan* that are told with it; those of stages without by ""."""
    found: dict[str, list[int]] = {"": []}
    waiting: list[int] = []
    last = ""
    for place, title in enumerate(plan):
        if _is_base(title):
            found[last] += waiting
            waiting, last = [], ""
        if _STEP.fullmatch(title):
            found[title], waiting, last = [*waiting, place], [], title
        else:
            waiting.append(place)
    found[last] += waiting
    return found


def _bare(title: str) -> str:
    match = _STEP.fullmatch(title)
    return match[3] if match else title


def _is_base(title: str) -> bool:
    return _bare(title).startswith("FROM ")


def _failure(error: InceptionError) -> dict[str, Any]:
    if isinstance(error, BuildFailed) and error.exit_code:
        match = _STEP.fullmatch(error.title)
        command = _command_text(match[3] if match else error.title)
        return error_document(f"The command '{command}' returned a non-zero code: {error.exit_code}", error.exit_code)
    return error_document(message_of(error))


def _command_text(instruction: str) -> str:
    """`RUN exit 3` as the process that ran."""
    text = instruction.partition(" ")[2].strip()
    if text.startswith("["):
        try:
            return " ".join(json.loads(text))
        except (ValueError, TypeError):
            pass  # no list of strings: a shell's `[`
    return f"/bin/sh -c {text}"


def _tagged(name: str) -> str:
    return Reference.parse(name).familiar


def _config(call: Call) -> BuildConfig:
    call.refuse(
        cgroupparent="steps run in the engine's own cgroup", securityopt="it is for Windows", squash="use a multi-stage build"
    )
    remote, dockerfile, version = call.text("remote"), call.text("dockerfile"), call.text("version")
    if version not in ("", _CLASSIC, _BUILDKIT):
        raise InvalidArgument(f"invalid version {version}: expected {_CLASSIC} or {_BUILDKIT}")
    if version != _BUILDKIT:
        call.refuse(outputs="the classic builder stores images; use version=2", session="it is for version=2")
    if remote == "client-session" and version == _BUILDKIT:
        remote = ""
    if remote and not is_remote(remote):
        raise InvalidArgument(f"remote {remote}: expected the address of a git repository, an archive or a Dockerfile")
    if call.text("isolation") not in ("", "default"):
        raise InvalidArgument("isolation is not supported: it is for Windows")
    if call.text("platform"):
        parse_platform(call.text("platform"))
    return BuildConfig(
        context=remote or "-",
        dockerfile="" if dockerfile == "Dockerfile" else dockerfile,
        tags=[name for name in call.query.getall("t", []) if name],
        target=call.text("target"),
        build_args={key: value for key, value in _map(call, "buildargs").items() if value is not None},
        labels={key: value or "" for key, value in _map(call, "labels").items()},
        no_cache=call.flag("nocache"),
        pull=call.flag("pull"),
        network=call.text("networkmode") or "default",
        extra_hosts=[host for text in call.query.getall("extrahosts", []) for host in _hosts(text)],
        platform=call.text("platform"),
        resources=_limits(call),
    )


def _limits(call: Call) -> ResourceConfig:
    names = {
        "Memory": "memory",
        "MemorySwap": "memswap",
        "CpuShares": "cpushares",
        "CpuPeriod": "cpuperiod",
        "CpuQuota": "cpuquota",
        "ShmSize": "shmsize",
    }
    values: dict[str, Any] = {field: call.number(name) for field, name in names.items()}
    values |= {"CpusetCpus": call.text("cpusetcpus"), "CpusetMems": call.text("cpusetmems")}
    values["Ulimits"] = parse_json(call.text("ulimits") or "null", "ulimits")
    return resource_config(Fields(values))


def _hosts(text: str) -> list[str]:
    """`name:address` by commas, or (as the CLI sends it) a JSON list."""
    if text.startswith("["):
        value = parse_json(text, "extrahosts")
        return [str(item) for item in value]
    return [item for item in text.split(",") if item]


def _map(call: Call, name: str) -> dict[str, str | None]:
    value = parse_json(call.text(name) or "{}", name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(item is None or isinstance(item, str) for item in value.values()):
        raise InvalidArgument(f"{name}: expected an object of strings")
    return value


async def cancel(call: Call) -> web.Response:
    from inception.api.buildkit.post import cancel as cancel_posted

    await cancel_posted(call)
    return empty(200)


async def prune(call: Call) -> web.Response:
    """Everything, or as BuildKit's options say: at most `max-used-space` stays, less where the disk has less than
    `min-free-space` left, but never less than `reserved-space`."""
    filters = call.filters()
    check_keys(filters, ("id", "until", "unused-for"))
    ages = [*filters.get("until", []), *filters.get("unused-for", [])]
    since = min((parse_when_ns(age) // 10**9 for age in ages), default=None)
    cache = BuildCache(call.engine.store)

    def work() -> tuple[list[str], int]:
        before = cache.keys()
        if "id" in filters:
            freed = cache.remove([key for key in before if key.startswith(tuple(filters["id"]))])
        else:
            freed = cache.prune(unused_since=since, keep_bytes=_keep_bytes(call, cache))
        return sorted(before - cache.keys()), freed

    deleted, freed = await call.server.threads.long(work)
    return reply({"CachesDeleted": deleted or None, "SpaceReclaimed": freed})


def _keep_bytes(call: Call, cache: BuildCache) -> int:
    reserved = call.number("reserved-space") or call.number("keep-storage")
    most, least_free = call.number("max-used-space"), call.number("min-free-space")
    disk = os.statvfs(call.engine.root)
    lacking = least_free - disk.f_bavail * disk.f_frsize
    if lacking > 0:
        rest = max(0, cache.size() - lacking)
        most = min(most, rest) if most else rest
    elif least_free and not most:
        return cache.size()
    return max(most, reserved)


ROUTES = [
    ("POST", "/build", build_image),
    ("POST", "/build/cancel", cancel),
    ("POST", "/build/prune", prune),
]
