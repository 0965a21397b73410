"""`RUN --device` and `--allow`: which devices a step gets, and what a build may give to its steps at all."""

from __future__ import annotations

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.engine.cdi import CdiDevice

_ENTITLEMENTS = ("network.host", "security.insecure", "device")
_AUTO_ALLOW = "org.mobyproject.buildkit.device.autoallow"


def parse_allow(text: str) -> str:
    """A value of `--allow`. Raises InvalidArgument."""
    name, equals, rest = text.partition("=")
    if name not in _ENTITLEMENTS or (equals and (name != "device" or not rest)):
        raise InvalidArgument(f"invalid entitlement: {text}", f"--allow knows {', '.join(_ENTITLEMENTS)} and device=NAME")
    return text


def find_devices(texts: Sequence[str], allow: Sequence[str]) -> list[str]:
    """The full names that values of `--device` (`NAME[,required]`) mean. Raises ValueError for one that must be there and
    isn't, and for one that is there and not allowed."""
    from inception.engine.cdi import Registry

    registry = Registry()
    found: list[str] = []
    for text in texts:
        name, required = _parse(text)
        devices = registry.select(name)
        if not devices and required:
            raise ValueError(f"required device {name} is not registered: no specification in /etc/cdi or /var/run/cdi has it")
        for device in devices:
            if not _is_allowed(device, name, allow):
                raise ValueError(f"device {device.name} is requested by the build but not allowed: build with --allow device")
            found.append(device.name)
    return list(dict.fromkeys(found))


def _parse(text: str) -> tuple[str, bool]:
    name, required = "", False
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if key.lower() == "required":
            if value.lower() not in ("", "true", "false", "1", "0"):
                raise ValueError(f"invalid value for required: {value}")
            required = value.lower() in ("true", "1") or not equals
        elif key.lower() == "name" and equals:
            name = value
        elif not name:
            name = field
        else:
            raise ValueError(f"unexpected key {key!r} for --device")
    if not name:
        raise ValueError(f"--device={text}: no device is named")
    return name, required


def _is_allowed(device: CdiDevice, asked: str, allow: Sequence[str]) -> bool:
    given = [text.partition("=")[2].partition(",")[0] for text in allow if text.startswith("device=")]
    free = device.annotations.get(_AUTO_ALLOW) == "true"
    return free or "device" in allow or bool({asked, device.name, device.kind, f"{device.kind}=*"} & {*given})
