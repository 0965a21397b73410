"""The flags of `run` and `create` as a ContainerConfig: pure translation, with Docker's words for what can't be read.

What is checked here needs only the text of the flag; whether the whole makes sense is the engine's to judge, for every
caller alike. A bad value is a UsageError that names the flag.
"""

from __future__ import annotations

import os

from inception.cli.flags import UsageError, more, usage_page
from inception.cli.values import environment, parse_bytes, parse_int, parse_key_value_file, parse_uint
from inception.engine.config import (
    INTERFACE_NAME,
    ContainerConfig,
    DeviceConfig,
    DeviceLimit,
    DeviceRequest,
    EndpointConfig,
    LogConfig,
    MountConfig,
    PortBinding,
    ResourceConfig,
    RestartPolicy,
    Ulimit,
)
from inception.engine.limits import DEVICE_LIMITS, LIMITS, TEXTS, check_device_limit
from inception.errors import InvalidArgument
from inception.jsontext import loads
from inception.oci.health import Healthcheck

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from inception.cli.flags import Flags

    T = TypeVar("T")

_STREAMS = ("stdin", "stdout", "stderr")
_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
# Source: setrlimit(2).
_ULIMIT_WORDS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
_ULIMITS = frozenset(_ULIMIT_WORDS.split())


def config_of(flags: Flags, image: str, command: list[str], path: str) -> ContainerConfig:
    """The container that the command line of the verb *path* asks for."""
    try:
        return _config(flags, image, command)
    except _BadFlag as error:
        raise UsageError(str(error), usage_page(path, _USAGE)) from None
    except (ValueError, OSError, InvalidArgument) as error:
        raise UsageError(f"inception: {_words(error)}", more(path)) from None


class _BadFlag(ValueError):
    """A flag whose value can't be read, against what makes no sense beside others."""


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"open {error.filename}: {error.strerror.lower()}"
    return str(error)


def _config(flags: Flags, image: str, command: list[str]) -> ContainerConfig:
    network_mode, networks = _networks(flags)
    security, unmasked = _security(flags)
    interactive, attached = flags.on("interactive"), _attached(flags)
    return ContainerConfig(
        image=image,
        name=flags.text("name"),
        command=command or None,
        entrypoint=_entrypoint(flags),
        env=environment(flags.list("env-file"), flags.list("env")),
        user=flags.text("user"),
        working_dir=flags.text("workdir"),
        hostname=flags.text("hostname"),
        domainname=flags.text("domainname"),
        labels=_labels(flags),
        tty=flags.on("tty"),
        open_stdin=interactive,
        stdin_once=interactive and "stdin" in attached,
        attached=attached,
        stop_signal=flags.text("stop-signal"),
        stop_timeout_s=flags.number("stop-timeout") if flags.given("stop-timeout") else None,
        healthcheck=_healthcheck(flags),
        mounts=_mounts(flags),
        volumes_from=flags.list("volumes-from"),
        network_mode=network_mode,
        networks=networks,
        ports=_ports(flags),
        exposed_ports=_exposed(flags),
        publish_all=flags.on("publish-all"),
        restart=parse_restart(flags.text("restart")),
        resources=_resources(flags),
        cap_add=flags.list("cap-add"),
        cap_drop=flags.list("cap-drop"),
        security_opt=security,
        privileged=flags.on("privileged"),
        read_only=flags.on("read-only"),
        init=flags.on("init"),
        pid_mode=flags.text("pid"),
        ipc_mode=flags.text("ipc"),
        uts_mode=flags.text("uts"),
        cgroupns_mode=flags.text("cgroupns"),
        userns_mode=flags.text("userns"),
        cgroup_parent=flags.text("cgroup-parent"),
        extra_hosts=each(flags, "add-host", parse_host),
        links=each(flags, "link", parse_link) if network_mode == "bridge" else [],
        dns=each(flags, "dns", parse_dns),
        dns_search=each(flags, "dns-search", parse_domain),
        dns_options=flags.list("dns-option"),
        sysctls=flags.map("sysctl"),
        group_add=flags.list("group-add"),
        masked_paths=[] if unmasked else None,
        readonly_paths=[] if unmasked else None,
        auto_remove=flags.on("rm"),
        log=_log(flags),
        platform=flags.text("platform"),
        runtime=flags.text("runtime"),
        annotations=flags.map("annotation"),
    )


def each(flags: Flags, name: str, parse: Callable[[str], T]) -> list[T]:
    """Every value of a repeated flag through *parse*. Raises _BadFlag with the flag and the value in front."""
    found = []
    for text in flags.list(name):
        try:
            found.append(parse(text))
        except (ValueError, InvalidArgument) as error:
            raise _BadFlag(f'invalid argument "{text}" for "{flags.shown(name)}" flag: {error}') from None
    return found


def _entrypoint(flags: Flags) -> list[str] | None:
    if not flags.given("entrypoint"):
        return None
    text = flags.text("entrypoint")
    return [text]  # an empty one resets the image's, and its command


def _labels(flags: Flags) -> dict[str, str]:
    lines: list[str] = []
    for path in flags.list("label-file"):
        lines += parse_key_value_file(path, "label", inherit=None)
    return labels_of([*lines, *flags.list("label")])


def labels_of(items: list[str]) -> dict[str, str]:
    """`KEY=VALUE` or `KEY` items as labels. Raises ValueError for one without a key."""
    labels: dict[str, str] = {}
    for item in items:
        key, _, value = item.partition("=")
        if not key:
            raise ValueError(f"invalid label '{item}': empty name")
        labels[key] = value
    return labels


def _healthcheck(flags: Flags) -> Healthcheck | None:
    names = ("cmd", "interval", "retries", "start-interval", "start-period", "timeout")
    given = [name for name in names if flags.given(f"health-{name}")]
    if flags.on("no-healthcheck"):
        if given:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return Healthcheck(test=["NONE"])
    if not given:
        return None
    for name in given:
        if name != "cmd" and flags.number(f"health-{name}") < 0:
            raise ValueError(f"--health-{name} cannot be negative")
    command = flags.text("health-cmd")
    return Healthcheck(
        test=["CMD-SHELL", command] if command else [],
        interval=flags.number("health-interval"),
        timeout=flags.number("health-timeout"),
        start_period=flags.number("health-start-period"),
        start_interval=flags.number("health-start-interval"),
        retries=flags.number("health-retries"),
    )


def _mounts(flags: Flags) -> list[MountConfig]:
    if not any(flags.given(name) for name in ("volume", "mount", "tmpfs")):
        return []
    from inception.cli.mounts import parse_mount, parse_tmpfs, parse_volume

    driver = flags.text("volume-driver")
    return [
        *(parse_volume(text, driver) for text in dict.fromkeys(flags.list("volume"))),
        *each(flags, "mount", parse_mount),
        *map(parse_tmpfs, flags.list("tmpfs")),
    ]


# -- networks and ports


def _networks(flags: Flags) -> tuple[str, dict[str, EndpointConfig]]:
    aliases, address, mac = flags.list("network-alias"), flags.text("ip"), flags.text("mac-address")
    address6 = flags.text("ip6")
    named = each(flags, "network", parse_network) or [("bridge", EndpointConfig())]
    mode, first = named[0]
    if aliases and first.aliases:
        raise ValueError("conflicting options: cannot specify both --network-alias and per-network alias")
    if address and first.ipv4_address:
        raise ValueError("conflicting options: cannot specify both --ip and per-network IPv4 address")
    if address6 and first.ipv6_address:
        raise ValueError("conflicting options: cannot specify both --ip6 and per-network IPv6 address")
    if mac and first.mac_address:
        raise ValueError("conflicting options: cannot specify both --mac-address and per-network MAC address")
    named[0] = (
        mode,
        EndpointConfig(
            aliases=[*first.aliases, *aliases],
            ipv4_address=address or first.ipv4_address,
            ipv6_address=address6 or first.ipv6_address,
            mac_address=mac or first.mac_address,
            links=each(flags, "link", parse_link) if mode != "bridge" else [],
            gateway_priority=first.gateway_priority,
            driver_options=first.driver_options,
            interface_name=first.interface_name,
            link_local_addresses=[*first.link_local_addresses, *flags.list("link-local-ip")],
        ),
    )
    networks: dict[str, EndpointConfig] = {}
    for name, endpoint in named:
        if len(named) > 1 and (name in ("host", "none") or name.startswith("container:")):
            raise ValueError("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
        if name in networks:
            raise ValueError(f"network {name} is specified multiple times")
        networks[name] = endpoint
    if len(networks) == 1 and networks[mode] == EndpointConfig():
        return mode, {}
    return mode, networks


def parse_network(text: str) -> tuple[str, EndpointConfig]:
    """`NAME`, or `name=NAME,alias=…,ip=…,mac-address=…`."""
    if "=" not in text:
        return _network_name(text), EndpointConfig()
    name, aliases, address, address6, mac = "", [], "", "", ""
    priority, options, local = 0, {}, []
    for field in text.split(","):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            raise ValueError(f"invalid key/value pair format in network options: {field}")
        if key == "name":
            name = value
        elif key == "alias":
            aliases.append(value)
        elif key in ("ip", "ip6"):
            from inception.cli.values import parse_ip

            if key == "ip":
                address = parse_ip(value)
            else:
                address6 = parse_ip(value)
        elif key == "mac-address":
            mac = value
        elif key == "driver-opt":
            option, equals, value = value.partition("=")
            if not equals:
                raise ValueError(f"invalid key value pair format in driver options: {option}")
            options[option.strip().lower()] = value.strip()
        elif key == "gw-priority":
            if not value.removeprefix("-").isdecimal():
                raise ValueError(f"invalid gw-priority: {value}")
            priority = int(value)
        elif key == "link-local-ip":
            local.append(value)
        else:
            raise ValueError(f"invalid field key {key}")
    if not name:
        raise ValueError("network name/id is not specified")
    return _network_name(name), EndpointConfig(
        aliases=aliases,
        ipv4_address=address,
        ipv6_address=address6,
        mac_address=mac,
        gateway_priority=priority,
        driver_options=options,
        interface_name=interface_of(options),
        link_local_addresses=local,
    )


def interface_of(options: dict[str, str]) -> str:
    """The name of a link from an endpoint's options; those that do nothing here are refused by name."""
    for option in options:
        if option != INTERFACE_NAME:
            raise InvalidArgument(f"endpoints have no option {option}", f"they have {INTERFACE_NAME}")
    return options.get(INTERFACE_NAME, "")


def _network_name(name: str) -> str:
    return "bridge" if name in ("", "default") else name


def _ports(flags: Flags) -> list[PortBinding]:
    if not flags.given("publish"):
        return []
    from inception.network.ports import parse_publish

    return [port for text in flags.list("publish") for port in parse_publish(text)]


def _attached(flags: Flags) -> list[str]:
    """The streams that are joined: none with `-d`, else what `-a` says, else the outputs, and stdin with `-i`."""
    if flags.has("detach") and flags.on("detach"):
        return []
    if not flags.given("attach"):
        return [*(["stdin"] if flags.on("interactive") else []), "stdout", "stderr"]
    named = each(flags, "attach", _stream)
    return [stream for stream in _STREAMS if stream in named]


def _stream(text: str) -> str:
    if text.lower() not in _STREAMS:
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def _exposed(flags: Flags) -> list[str]:
    if not flags.given("expose"):
        return []
    from inception.network.ports import parse_expose

    found: list[str] = []
    for text in flags.list("expose"):
        try:
            found += parse_expose(text)
        except InvalidArgument as error:
            raise ValueError(f"invalid range format for --expose: {text}, error: {error}") from None
    return found


def parse_host(text: str) -> str:
    """`NAME:IP` (or `NAME=IP`); the address may be `host-gateway`. Answers it with a colon."""
    name, separator, address = text.partition("=") if "=" in text else text.partition(":")
    if not name or not separator or not address:
        raise ValueError(f'bad format for add-host: "{text}"')
    address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if address != "host-gateway":
        from inception.cli.values import parse_ip

        try:
            parse_ip(address)
        except ValueError:
            raise ValueError(f'invalid IP address in add-host: "{address}"') from None
    return f"{name}:{address}"


def parse_link(text: str) -> str:
    from inception.engine.links import parse_link as split

    split(text)
    return text


def parse_domain(text: str) -> str:
    """A search domain; a dot alone means none."""
    labels = text.strip().removesuffix(".").split(".")
    plain = all(label.isascii() and label.replace("-", "").isalnum() and label.strip("-") == label for label in labels)
    if text != "." and not (plain and any(sign.isalpha() for sign in text)):
        raise ValueError(f"{text} is not a valid domain")
    return text


def parse_dns(text: str) -> str:
    from inception.cli.values import parse_ip

    try:
        return parse_ip(text.strip())
    except ValueError:
        raise ValueError(f"IP address is not correctly formatted: {text.strip()}") from None


# -- limits, policies, security


def parse_restart(text: str) -> RestartPolicy:
    """`no`, `always`, `unless-stopped`, `on-failure[:N]`; which names exist is the engine's to say."""
    name, colon, count = text.partition(":")
    if not name:
        if colon:
            raise ValueError("invalid restart policy format: no policy provided before colon")
        return RestartPolicy()
    if not colon:
        return RestartPolicy(name=name)
    try:
        return RestartPolicy(name=name, maximum_retries=int(count))
    except ValueError:
        raise ValueError("invalid restart policy format: maximum retry count must be an integer") from None


def _resources(flags: Flags) -> ResourceConfig:
    if not flags.any_given:
        return ResourceConfig()
    for name in ("memory", "memory-reservation", "shm-size"):
        if flags.number(name) < 0:
            raise _BadFlag(f'invalid argument "-1" for "{flags.shown(name)}" flag: invalid size: \'-1\'')
    swappiness = flags.number("memory-swappiness")
    if not -1 <= swappiness <= 100:
        raise ValueError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    return ResourceConfig(
        **_limits(flags),
        memory_swappiness=None if swappiness == -1 else swappiness,
        oom_kill_disable=flags.on("oom-kill-disable"),
        oom_score_adj=flags.number("oom-score-adj"),
        shm_size_bytes=flags.number("shm-size") or 64 << 20,
        ulimits=each(flags, "ulimit", parse_ulimit),
        devices=[parse_device(text) for text in flags.list("device") if not _is_cdi(text)],
        cdi_devices=[text for text in flags.list("device") if _is_cdi(text)],
        device_cgroup_rules=each(flags, "device-cgroup-rule", parse_device_rule),
        device_requests=each(flags, "gpus", parse_gpus),
    )


def _limits(flags: Flags) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, name, _document in LIMITS:
        found[field] = flags.text(name) if field in TEXTS else flags.number(name)
    for field, name, _document, _value in DEVICE_LIMITS:
        found[field] = each(flags, name, lambda text, field=field: parse_device_limit(field, text))  # type: ignore[misc]
    return found


def parse_device_limit(field: str, text: str) -> DeviceLimit:
    """`/dev/PATH:VALUE`: a weight, bytes a second (`10mb`), operations a second."""
    path, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"bad format: {text}")
    what = "weight" if field == "blkio_weight_device" else "rate"
    try:
        number = parse_bytes(value) if field.endswith("bps") else parse_uint(value)
    except ValueError:
        shape = "<device-path>:<number>[<unit>]. Unit is optional and can be kb, mb, or gb" if field.endswith("bps") else ""
        shape = shape or "<device-path>:<number>"
        raise ValueError(
            f"invalid {what} for device: {text}" + (f". The correct format is {shape}" if what == "rate" else "")
        ) from None
    limit = DeviceLimit(path=path, value=number)
    check_device_limit(field, limit)
    return limit


def parse_ulimit(text: str) -> Ulimit:
    """`NAME=SOFT[:HARD]`; -1 is unlimited."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    parts = limits.split(":")
    if len(parts) > 2:
        raise ValueError(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    soft = parse_int(parts[0])
    hard = parse_int(parts[1]) if len(parts) == 2 else soft
    if hard != -1 and (soft > hard or soft == -1):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name=name, soft=soft, hard=hard)


def _is_cdi(text: str) -> bool:
    """`vendor.com/class=name`, and no path."""
    if text.startswith("/") or "=" not in text:
        return False
    from inception.engine.cdi import is_qualified

    return is_qualified(text)


def parse_device(text: str) -> DeviceConfig:
    """`HOST[:CONTAINER[:PERMISSIONS]]`, or `HOST:PERMISSIONS`."""
    parts = text.split(":")
    host, container, permissions = parts[0], parts[0], "rwm"
    if len(parts) > 3:
        raise ValueError(f"invalid device specification: {text}")
    if len(parts) == 3:
        permissions = parts[2]
        if not _are_permissions(permissions):
            raise ValueError(f"bad mode specified: {permissions}")
    if len(parts) > 1:
        if len(parts) == 2 and _are_permissions(parts[1]):
            permissions = parts[1]
        else:
            container = parts[1]
    if not os.path.isabs(container):
        raise ValueError(f"{container} is not an absolute path")
    return DeviceConfig(host_path=host, container_path=container, permissions=permissions)


def parse_gpus(text: str) -> DeviceRequest:
    """`all`, a count, or `device=0,driver=nvidia,capabilities=utility`, quoted as CSV where a value holds a comma."""
    import csv

    values: dict[str, str] = {}
    for field in next(csv.reader([text], strict=True), []):
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "count", field
        if key not in ("driver", "count", "device", "capabilities", "options"):
            raise ValueError(f"unexpected key '{key}' in '{field}'")
        if key in values:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        values[key] = value
    count = values.get("count", "")
    if count and count != "all" and not count.removeprefix("-").isdecimal():
        raise ValueError(f"invalid count ({count}): value must be either 'all' or an integer")
    if count and values.get("device"):
        raise ValueError("cannot set both Count and DeviceIDs on device request")
    groups = [word for word in values.get("capabilities", "").split(",") if word]
    return DeviceRequest(
        driver=values.get("driver", ""),
        count=0 if values.get("device") else -1 if count == "all" else int(count or 1),
        device_ids=[word for word in values.get("device", "").split(",") if word],
        capabilities=[list(dict.fromkeys(["gpu", *groups]))],
        options=dict(word.partition("=")[::2] for word in values.get("options", "").split(",") if word),
    )


def _are_permissions(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def parse_device_rule(text: str) -> str:
    """`TYPE MAJOR:MINOR PERMISSIONS`, e.g. `c 10:* rwm`."""
    words = text.split(" ")
    numbers = words[1].split(":") if len(words) == 3 else []
    good = (
        len(numbers) == 2
        and words[0] in ("a", "b", "c")
        and all(number == "*" or number.isdecimal() for number in numbers)
        and _are_permissions(words[2])
    )
    if not good:
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def _log(flags: Flags) -> LogConfig:
    driver = flags.text("log-driver") or "json-file"
    options = dict(item.partition("=")[::2] for item in flags.list("log-opt"))
    if driver == "none" and options:
        raise ValueError("invalid logging opts for driver none")
    return LogConfig(driver=driver, options=options)


def _security(flags: Flags) -> tuple[list[str], bool]:
    """The security options with a seccomp profile's file read in, and whether the system paths are left unmasked."""
    found: list[str] = []
    unmasked = False
    for option in flags.list("security-opt"):
        key, separator, value = option.partition("=" if "=" in option else ":")
        if (not separator and key != "no-new-privileges") or (key == "seccomp" and not value):
            raise ValueError(f'invalid --security-opt: "{option}"')
        if key == "seccomp" and value not in ("unconfined", "builtin"):
            try:
                with open(value) as file:
                    text = file.read()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"opening seccomp profile ({value}) failed: {_words(error)}") from None
            try:
                if not isinstance(loads(text), dict):
                    raise ValueError("it is no object")
            except ValueError as error:
                raise ValueError(f"compacting json for seccomp profile ({value}) failed: {error}") from None
            option = f"seccomp={text}"
        if (key, value) == ("systempaths", "unconfined"):
            unmasked = True
        else:
            found.append(option)
    return found, unmasked
