"""Short forms to long ones: after this, a thing is written in one way only.

Each file is brought into canonical form before files are merged, so that `ports: ["80:80"]` of one file meets
`ports: [{target: 80, published: "80"}]` of another. Strings become what they stand for: booleans, integers, sizes in bytes,
durations in nanoseconds, command lines as words. Paths become absolute, from the folder of the file that wrote them.
"""

from __future__ import annotations

import os

from inception.compose import values
from inception.compose.errors import ComposeFileError
from inception.compose.merge import unique
from inception.compose.yaml import Map, Seq, go_string
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from inception.compose.yaml import Place

    Form = Callable[["Context", Any, str], Any]


class Context:
    """Where relative paths start, and which variables a bare `KEY` in `environment` and `args` takes its value from."""

    def __init__(self, base_dir: str, env: dict[str, str], home: str = "") -> None:
        self.base_dir, self.env = base_dir, env
        self.home = home or env.get("HOME", "/")

    def path(self, text: str) -> str:
        """*text* as an absolute path, `~` expanded. Symbolic links stay as they are: the file may be moved with its folder."""
        if text == "~" or text.startswith("~/"):
            text = self.home + text[1:]
        return text if text.startswith("/") else os.path.normpath(os.path.join(self.base_dir, text))


def canonicalise(tree: Map, context: Context) -> Map:
    """The whole file *tree* in canonical form, changed in place and returned; what says one thing twice says it once."""
    for section, form in _SECTIONS.items():
        if isinstance(tree.get(section), Map):
            _entries(context, tree[section], section, form)
    for volume in (tree.get("volumes") or {}).values():
        options = volume.get("driver_opts") or {}
        if "device" in options and "bind" in options.get("o", "").split(","):
            options["device"] = context.path(options["device"])
    for service in (tree.get("services") or {}).values():
        for key, value in service.items():
            if isinstance(value, Seq):
                service[key] = unique(value, f"services.*.{key}")
    return tree


def _entries(context: Context, section: Map, path: str, form: dict[str, Form]) -> None:
    for name, value in section.items():
        if value is None:
            section[name] = Map(section.place_of(name))
        else:
            _fields(context, value, f"{path}.{name}", form)


def _fields(context: Context, fields: Map, path: str, forms: dict[str, Form]) -> None:
    for key, value in fields.items():
        form = forms.get(key)
        if form is not None and (value is not None or key in _KEPT_NULL):
            fields[key] = _apply(form, context, value, f"{path}.{key}", fields.place_of(key))


def _apply(form: Form, context: Context, value: Any, path: str, place: Place | None) -> Any:
    try:
        return form(context, value, path)
    except ComposeFileError:
        raise
    except (ValueError, InvalidArgument) as error:
        raise ComposeFileError(f"{path}: {error}", place) from None


# ---- forms --------------------------------------------------------------------------------------------------------------


def _scalar(parse: Callable[[Any], Any]) -> Form:
    return lambda context, value, path: parse(value)


def _path(context: Context, value: str, path: str) -> str:
    return context.path(value)


def _record(forms: dict[str, Form]) -> Form:
    def form(context: Context, value: Any, path: str) -> Any:
        if isinstance(value, Map):
            _fields(context, value, path, forms)
        return value

    return form


def _strings(context: Context, value: Any, path: str) -> Seq:
    """A string or a list of scalars as a list of strings, each once."""
    if not isinstance(value, Seq):
        value = _seq_of([value], getattr(value, "place", None))
    items = Seq(value.place)
    for item, place in value.items():
        if (text := go_string(item)) not in items:
            items.add(text, place)
    return items


def _seq_of(found: list[Any], place: Place | None) -> Seq:
    items = Seq(place)
    for item in found:
        items.add(item, place)
    return items


def _command(context: Context, value: Any, path: str) -> Seq | None:
    if value is None or isinstance(value, Seq):
        return value
    return _seq_of(list(values.shell_words(value)), None)


def _pairs(inherit: bool) -> Form:
    """`KEY=value` lists or mappings as a mapping of strings. With *inherit* a bare KEY takes the value it has outside."""

    def form(context: Context, value: Any, path: str) -> Map:
        pairs = Map(value.place)
        if isinstance(value, Map):
            pairs.reset, pairs.override = value.reset, value.override
            for key, item in value.items():
                pairs.put(key, None if item is None and inherit else go_string(item), value.place_of(key))
        else:
            for item, place in value.items():
                key, equals, text = item.partition("=")
                pairs.put(key, text if equals or not inherit else None, place)
        if inherit:
            for key, item in pairs.items():
                if item is None and key in context.env:
                    pairs[key] = context.env[key]
        return pairs

    return form


def _names(context: Context, value: Any, path: str) -> Map:
    """`networks: [a]` and `networks: {a: {...}}` alike, as a mapping; an empty entry is None."""
    if isinstance(value, Map):
        for name, item in value.items():
            if isinstance(item, Map):
                _fields(context, item, f"{path}.{name}", _ENDPOINT)
        return value
    names = Map(value.place)
    for item, place in value.items():
        names.put(item, None, place)
    return names


def _depends_on(context: Context, value: Any, path: str) -> Map:
    found = Map(value.place)
    if isinstance(value, Map):
        found.reset, found.override = value.reset, value.override
        for name, item in value.items():
            _fields(context, item, f"{path}.{name}", _DEPENDENCY)
            item.setdefault("required", True)
            found.put(name, item, value.place_of(name))
        return found
    for name, place in value.items():
        entry = Map(place)
        entry.put("condition", "service_started")
        entry.put("required", True)
        found.put(name, entry, place)
    return found


def _long(value: dict[str, Any], place: Place | None) -> Map:
    """A plain dict from `values` as a Map that knows its place."""
    found = Map(place)
    for key, item in value.items():
        found.put(key, _long(item, place) if isinstance(item, dict) else item, place)
    return found


def _each(short: Callable[[Context, Any], list[dict[str, Any]]], forms: dict[str, Form]) -> Form:
    """A list whose items are short forms, turned by *short*, or long ones with *forms*."""

    def form(context: Context, value: Any, path: str) -> Seq:
        if not isinstance(value, Seq):
            value = _seq_of([value], getattr(value, "place", None))
        items = Seq(value.place)
        for index, (item, place) in enumerate(value.items()):
            where = f"{path}[{index}]"
            if isinstance(item, Map):
                _fields(context, item, where, forms)
                items.add(item, place)
                continue
            try:
                for each in short(context, item):
                    items.add(_long(each, place), place)
            except (ValueError, InvalidArgument) as error:
                raise ComposeFileError(f"{where}: {error}", place) from None
        return items

    return form


def _ports(context: Context, value: Seq, path: str) -> Seq:
    ports: Seq = _PORT_ITEMS(context, value, path)
    distinct = Seq(ports.place)
    for port, place in ports.items():
        if port not in distinct:  # `3000` and `3000-3005`
            distinct.add(port, place)
        if "target" not in port:
            raise ComposeFileError(f"{path}: no port specified: target is missing", place)
        if not 1 <= port["target"] <= 65535:
            raise ComposeFileError(f"{path}: invalid containerPort: {port['target']}", place)
        port.setdefault("mode", "ingress")
        port.setdefault("protocol", "tcp")
    return distinct


def _published(value: Any) -> str:
    text = go_string(value)
    if text:
        values.published_ports(f"{text}:1")  # raises for what is no port
    return text


def _volumes(context: Context, value: Seq, path: str) -> Seq:
    mounts: Seq = _MOUNT_ITEMS(context, value, path)
    for mount, place in mounts.items():
        if not mount.get("target"):
            raise ComposeFileError(f"{path}: invalid mount config: field Target must not be empty", place)
        if mount["type"] == "bind":
            if not mount.get("source"):
                raise ComposeFileError(f'{path}: invalid mount config for type "bind": field Source must not be empty', place)
            mount["source"] = context.path(mount["source"])
    return mounts


def _env_files(context: Context, value: Any, path: str) -> Seq:
    files: Seq = _ENV_FILE_ITEMS(context, value, path)
    for file, _ in files.items():
        file.setdefault("required", True)
    return files


def _device(context: Context, text: str) -> list[dict[str, Any]]:
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise ValueError(f"invalid device specification: {text}")
    source = parts[0]
    target = parts[1] if len(parts) > 1 and parts[1].startswith("/") else source
    last = parts[-1] if len(parts) > 1 and not parts[-1].startswith("/") else "rwm"
    return [{"source": source, "target": target, "permissions": last}]


def _ulimits(context: Context, value: Map, path: str) -> Map:
    for name, item in value.items():
        if isinstance(item, Map):
            _fields(context, item, f"{path}.{name}", {"soft": _scalar(values.integer), "hard": _scalar(values.integer)})
        else:
            value[name] = _apply(_scalar(values.integer), context, item, f"{path}.{name}", value.place_of(name))
    return value


def _extra_hosts(context: Context, value: Any, path: str) -> Seq:
    """`host=address` strings, whatever the form; an address may be in brackets."""
    hosts = Seq(value.place)
    found: list[tuple[str, str, Place | None]] = []
    if isinstance(value, Map):
        for host, addresses in value.items():
            for address in addresses if isinstance(addresses, Seq) else [addresses]:
                found.append((host, address, value.place_of(host)))
    else:
        for item, place in value.items():
            host, separator, address = item.partition("=")
            if not separator:
                host, separator, address = item.partition(":")
            if not separator or not address:
                raise ComposeFileError(f"{path}: invalid additional host, missing IP: {item}", place)
            found.append((host.strip(), address.strip(), place))
    for host, address, place in found:
        if address.startswith("[") and address.endswith("]"):
            address = address[1:-1]
        if f"{host}={address}" not in hosts:
            hosts.add(f"{host}={address}", place)
    return hosts


def _health_test(context: Context, value: Any, path: str) -> Seq:
    if not isinstance(value, Seq):
        return _seq_of(["CMD-SHELL", value], None)
    if value and value[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise ValueError('healthcheck.test must start either by "CMD", "CMD-SHELL" or "NONE"')
    return value


def _build(context: Context, value: Any, path: str) -> Map:
    if isinstance(value, str):
        build = Map()
        build.put("context", value)
        value = build
    _fields(context, value, path, _BUILD)
    if "context" not in value:
        value["context"] = context.base_dir
        value.implied.add("context")
    return value  # type: ignore[no-any-return]


def _context_path(context: Context, value: str, path: str) -> str:
    """A folder as an absolute path; a URL stays as it is (and is refused by name later)."""
    return value if "://" in value or value.startswith("git@") else context.path(value)


def _contexts(context: Context, value: Any, path: str) -> Any:
    """Named contexts: folders as absolute paths, what has a scheme as it is."""
    found = _LABELS(context, value, path)
    for name, place in found.items():
        if not place.startswith(("service:", "target:")):
            found[name] = _context_path(context, place, path)
    return found


def _ssh(context: Context, value: Any, path: str) -> Any:
    """Agents and keys: the path of one as an absolute path, empty for `default`."""
    found = _LABELS(context, value, path)
    for name, place in found.items():
        if place:
            found[name] = context.path(place)
    return found


def _truth_or_text(context: Context, value: Any, path: str) -> str:
    """A boolean as YAML has it, or the words that an option takes (`mode=max`)."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _external(context: Context, value: Any, path: str) -> Any:
    """`external: {name: x}` is an old spelling: the name goes up one level later."""
    return value if isinstance(value, Map) else values.boolean(value)


def _device_count(context: Context, value: Any, path: str) -> int:
    return -1 if value == "all" else values.integer(value)


def _requests(context: Context, value: Any, path: str) -> Any:
    """Requests for devices; one that says neither how many nor which means all."""
    found = _DEVICE_REQUESTS(context, value, path)
    for request in found:
        if "count" not in request and "device_ids" not in request:
            request.put("count", -1)
    return found


def _gpus(context: Context, value: Any, path: str) -> Any:
    if value == "all":
        request = Map()
        request.put("count", -1)
        return _seq_of([request], None)
    return _requests(context, value, path)


# ---- which field has which form -----------------------------------------------------------------------------------------

_BOOLEAN, _INTEGER, _NUMBER = _scalar(values.boolean), _scalar(values.integer), _scalar(values.number)
_SIZE, _DURATION, _MODE = _scalar(values.size_bytes), _scalar(values.duration_ns), _scalar(values.file_mode)
_LABELS, _VARIABLES = _pairs(inherit=False), _pairs(inherit=True)

_KEPT_NULL = ("command", "entrypoint")
_ENDPOINT: dict[str, Form] = {"aliases": _strings, "priority": _INTEGER, "gw_priority": _INTEGER, "driver_opts": _LABELS}
_DEPENDENCY: dict[str, Form] = {"restart": _BOOLEAN, "required": _BOOLEAN}
_PORT_ITEMS = _each(
    lambda context, item: values.published_ports(go_string(item)),
    {"target": _INTEGER, "published": _scalar(_published)},
)
_MOUNT_ITEMS = _each(
    lambda context, item: [values.mount(item)],
    {
        "read_only": _BOOLEAN,
        "bind": _record({"create_host_path": _BOOLEAN}),
        "volume": _record({"nocopy": _BOOLEAN, "labels": _LABELS}),
        "tmpfs": _record({"size": _SIZE, "mode": _MODE}),
    },
)
_ENV_FILE_ITEMS = _each(lambda context, item: [{"path": context.path(item)}], {"path": _path, "required": _BOOLEAN})
_FILE_ITEMS = _each(lambda context, item: [{"source": item}], {"mode": _MODE})
_BUILD: dict[str, Form] = {
    "context": _context_path,
    "args": _VARIABLES,
    "labels": _LABELS,
    "ssh": _ssh,
    "additional_contexts": _contexts,
    "entitlements": _strings,
    "platforms": _strings,
    "cache_from": _strings,
    "cache_to": _strings,
    "provenance": _truth_or_text,
    "sbom": _truth_or_text,
    "no_cache": _BOOLEAN,
    "pull": _BOOLEAN,
    "privileged": _BOOLEAN,
    "shm_size": _SIZE,
    "extra_hosts": _extra_hosts,
    "ulimits": _ulimits,
    "secrets": _FILE_ITEMS,
    "tags": _strings,
}
_DEVICE_REQUESTS = _each(
    lambda context, item: [], {"count": _device_count, "options": _LABELS, "capabilities": _strings, "device_ids": _strings}
)
_RESOURCES: dict[str, Form] = {"cpus": _NUMBER, "memory": _SIZE, "pids": _INTEGER, "devices": _requests}
_DEPLOY: dict[str, Form] = {
    "replicas": _INTEGER,
    "labels": _LABELS,
    "resources": _record({"limits": _record(_RESOURCES), "reservations": _record(_RESOURCES)}),
    "restart_policy": _record({"delay": _DURATION, "window": _DURATION, "max_attempts": _INTEGER}),
}
_HEALTHCHECK: dict[str, Form] = {
    "disable": _BOOLEAN,
    "test": _health_test,
    "interval": _DURATION,
    "timeout": _DURATION,
    "start_period": _DURATION,
    "start_interval": _DURATION,
    "retries": _INTEGER,
}
_HOOKS = _each(lambda context, item: [], {"command": _command, "environment": _VARIABLES, "privileged": _BOOLEAN})
_WATCH: dict[str, Form] = {
    "path": _path,
    "exec": _record({"command": _command, "environment": _VARIABLES, "privileged": _BOOLEAN}),
    "include": _strings,
    "ignore": _strings,
    "initial_sync": _BOOLEAN,
}
_RATES = _each(lambda context, item: [], {"rate": _SIZE})
_BLOCK_IO: dict[str, Form] = {
    "weight": _INTEGER,
    "weight_device": _each(lambda context, item: [], {"weight": _INTEGER}),
    "device_read_bps": _RATES,
    "device_write_bps": _RATES,
    "device_read_iops": _RATES,
    "device_write_iops": _RATES,
}
_SERVICE: dict[str, Form] = {
    "annotations": _LABELS,
    "attach": _BOOLEAN,
    "blkio_config": _record(_BLOCK_IO),
    "build": _build,
    "cap_add": _strings,
    "cap_drop": _strings,
    "command": _command,
    "configs": _FILE_ITEMS,
    "cpu_period": _INTEGER,
    "cpu_quota": _INTEGER,
    "cpu_shares": _INTEGER,
    "cpus": _NUMBER,
    "depends_on": _depends_on,
    "deploy": _record(_DEPLOY),
    "device_cgroup_rules": _strings,
    "develop": _record({"watch": _each(lambda context, item: [], _WATCH)}),
    "devices": _each(_device, {}),
    "dns": _strings,
    "dns_opt": _strings,
    "dns_search": _strings,
    "entrypoint": _command,
    "env_file": _env_files,
    "environment": _VARIABLES,
    "expose": _strings,
    "external_links": _strings,
    "extra_hosts": _extra_hosts,
    "gpus": _gpus,
    "group_add": _strings,
    "healthcheck": _record(_HEALTHCHECK),
    "init": _BOOLEAN,
    "label_file": lambda context, value, path: _seq_of([context.path(each) for each in _strings(context, value, path)], None),
    "labels": _LABELS,
    "links": _strings,
    "logging": _record({"options": _LABELS}),
    "mem_limit": _SIZE,
    "mem_reservation": _SIZE,
    "mem_swappiness": _INTEGER,
    "memswap_limit": _SIZE,
    "networks": _names,
    "oom_kill_disable": _BOOLEAN,
    "oom_score_adj": _INTEGER,
    "pids_limit": _INTEGER,
    "ports": _ports,
    "post_start": _HOOKS,
    "pre_stop": _HOOKS,
    "privileged": _BOOLEAN,
    "profiles": _strings,
    "read_only": _BOOLEAN,
    "scale": _INTEGER,
    "secrets": _FILE_ITEMS,
    "security_opt": _strings,
    "shm_size": _SIZE,
    "stdin_open": _BOOLEAN,
    "stop_grace_period": _DURATION,
    "sysctls": _LABELS,
    "tmpfs": _strings,
    "tty": _BOOLEAN,
    "ulimits": _ulimits,
    "volumes": _volumes,
    "volumes_from": _strings,
}
_SECTIONS: dict[str, dict[str, Form]] = {
    "services": _SERVICE,
    "networks": {
        "attachable": _BOOLEAN,
        "driver_opts": _LABELS,
        "enable_ipv4": _BOOLEAN,
        "enable_ipv6": _BOOLEAN,
        "external": _external,
        "internal": _BOOLEAN,
        "labels": _LABELS,
    },
    "volumes": {"driver_opts": _LABELS, "external": _external, "labels": _LABELS},
    "secrets": {"external": _external, "file": _path, "labels": _LABELS},
    "configs": {"external": _external, "file": _path, "labels": _LABELS},
}
