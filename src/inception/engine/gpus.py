"""`--gpus` and Compose's device reservations: which CDI devices a request means.

Docker has drivers that it finds by what is installed; here a vendor's CDI specification says what a GPU is
(`nvidia-ctk cdi generate` writes one). A request that no specification answers fails in Docker's words.
"""

from __future__ import annotations

from inception.engine.cdi import FOLDERS, Registry
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.engine.config import DeviceRequest

_GPU = "gpu"


def find_devices(requests: Sequence[DeviceRequest]) -> list[str]:
    """The names of the devices that *requests* ask for. Raises InvalidArgument."""
    registry = Registry()
    return [name for request in requests for name in _find(registry, request)]


def _find(registry: Registry, request: DeviceRequest) -> list[str]:
    if request.driver == "cdi":
        return [registry.find(name).name for name in request.device_ids]
    kinds = list(dict.fromkeys(each.kind for each in registry.devices.values()))
    wanted = [kind for kind in kinds if _serves(kind, request)]
    if not wanted:
        groups = " ".join(f"[{' '.join(group)}]" for group in request.capabilities)
        raise InvalidArgument(
            f'could not select device driver "{request.driver}" with capabilities: [{groups}]',
            f"a GPU is known by its CDI specification, in {' or '.join(FOLDERS)}",
        )
    names = {name.partition("=")[2]: name for name in registry.devices if name.startswith(f"{wanted[0]}=")}
    if request.device_ids:
        missing = [each for each in request.device_ids if each not in names]
        if missing:
            raise InvalidArgument(f"{wanted[0]} has no device {missing[0]}", f"it has {', '.join(names)}")
        return [names[each] for each in request.device_ids]
    if request.count < 0 and "all" in names:
        return [names["all"]]
    single = [name for key, name in names.items() if key.isdecimal()] or [name for key, name in names.items() if key != "all"]
    if request.count > len(single):
        raise InvalidArgument(f"{request.count} devices of {wanted[0]} are asked for, there are {len(single)}")
    return single if request.count < 0 else single[: request.count]


def _serves(kind: str, request: DeviceRequest) -> bool:
    vendor, _, device = kind.partition("/")
    asked = not request.capabilities or any(_GPU in group for group in request.capabilities)
    return asked and device == _GPU and (not request.driver or vendor == request.driver or vendor == f"{request.driver}.com")
