"""Build: a tar of a context in, the words of Docker's classic builder out."""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web

from inception.api.call import Call, parse_json, reply
from inception.api.convert import resource_config
from inception.api.errors import NotSupported, message_of
from inception.api.fields import Fields
from inception.api.progress import Tell, error_document, stream_work
from inception.build import BuildConfig, BuildFailed, build
from inception.build.progress import Event
from inception.engine.config import ResourceConfig
from inception.errors import InceptionError, InvalidArgument

# `[2/4] RUN make`, `[builder 2/4] RUN make`: what is shown of the builder's steps; the rest is its own business.
_STEP = re.compile(r"\[(?:\S+ )?(\d+)/(\d+)\] (.*)", re.DOTALL)


async def build_image(call: Call) -> web.StreamResponse:
    config, quiet = _config(call), call.flag("q")
    body = call.body_file()

    def work(tell: Tell) -> None:
        shown = _Words(tell)
        result = build(call.engine, config, None if quiet else shown, stdin=body)
        if quiet:
            tell({"stream": f"{result.image_id}\n"})
            return
        tell({"aux": {"ID": result.image_id}})
        tell({"stream": f"Successfully built {result.image_id[7:19]}\n"})
        for name in config.tags:
            tell({"stream": f"Successfully tagged {_tagged(name)}\n"})

    return await stream_work(call, work, explain=_failure)


class _Words:
    """The builder's events as the classic builder's lines."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._shown: set[int] = set()

    def __call__(self, event: Event) -> None:
        if event.kind == "warning":
            self._tell({"stream": f"[Warning] {event.name}\n"})
        elif event.kind == "start" and (match := _STEP.fullmatch(event.name)):
            self._shown.add(event.step)
            self._tell({"stream": f"Step {match[1]}/{match[2]} : {match[3]}\n"})
        elif event.step in self._shown and event.kind == "output":
            self._tell({"stream": event.data.decode("utf-8", "replace")})
        elif event.step in self._shown and event.kind == "cached" and "] FROM " not in event.name:
            self._tell({"stream": " ---> Using cache\n"})
        elif event.kind == "output" and event.name.startswith("[internal]"):
            self._tell({"status": event.data.decode("utf-8", "replace").rstrip("\n")})


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
    from inception.oci.reference import Reference

    return Reference.parse(name).familiar


def _config(call: Call) -> BuildConfig:
    call.refuse(
        cgroupparent="steps run in the engine's own cgroup",
        outputs="the result is an image in the store",
        securityopt="it is for Windows",
        squash="use a multi-stage build",
    )
    if call.text("version") == "2" or call.text("session"):
        raise NotSupported("BuildKit's own protocol is not served; set DOCKER_BUILDKIT=0")
    remote, dockerfile = call.text("remote"), call.text("dockerfile")
    if remote and remote != "client-session":
        raise InvalidArgument(f"remote {remote}: remote contexts are not supported; download it and send a tar")
    if call.text("isolation") not in ("", "default"):
        raise InvalidArgument("isolation is not supported: it is for Windows")
    return BuildConfig(
        context="-",
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


async def prune(call: Call) -> web.Response:
    reason = "the build cache is kept by age, not by size"
    call.refuse(keep_storage=reason, reserved_space=reason, max_used_space=reason, min_free_space=reason)
    call.refuse(filters="the build cache can't be filtered")
    from inception.build.cache import BuildCache

    reclaimed = await call.server.threads.long(lambda: BuildCache(call.engine.store).prune())
    return reply({"CachesDeleted": [], "SpaceReclaimed": reclaimed})


ROUTES = [
    ("POST", "/build", build_image),
    ("POST", "/build/prune", prune),
]
