"""Containers as a Python library.

    import inception

    with inception.run("debian:bookworm", ["sleep", "60"]) as container:
        print(container.exec(["id"]).output.decode())

    with inception.Engine() as engine:
        for container in engine.containers.list(all=True):
            print(container.name, container.status_text)

No daemon: an `Engine` is a folder and the kernel. Names below are imported when first used (PEP 562).
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.api.host import docker_host
    from inception.engine import Engine
    from inception.engine.config import (
        CommitConfig,
        ContainerConfig,
        EndpointConfig,
        ExecConfig,
        LogConfig,
        MountConfig,
        NetworkConfig,
        PortBinding,
        ResourceConfig,
        RestartPolicy,
        UpdateConfig,
        VolumeConfig,
    )
    from inception.engine.container import Container
    from inception.engine.supervisor import run_here as run
    from inception.errors import (
        Conflict,
        Forbidden,
        InceptionError,
        InvalidArgument,
        NotFound,
        NotModified,
        StartFailed,
        Unavailable,
    )
    from inception.oci.health import Healthcheck

__all__ = [
    "CommitConfig",
    "Conflict",
    "Container",
    "ContainerConfig",
    "EndpointConfig",
    "Engine",
    "ExecConfig",
    "Forbidden",
    "Healthcheck",
    "InceptionError",
    "InvalidArgument",
    "LogConfig",
    "MountConfig",
    "NetworkConfig",
    "NotFound",
    "NotModified",
    "PortBinding",
    "ResourceConfig",
    "RestartPolicy",
    "StartFailed",
    "Unavailable",
    "UpdateConfig",
    "VolumeConfig",
    "__version__",
    "docker_host",
    "run",
]

_HOMES = {
    "Engine": "engine.engine",
    "Container": "engine.container",
    "Healthcheck": "oci.health",
    "docker_host": "api.host",
    "run": "engine.supervisor",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'inception' has no attribute {name!r}")
    from importlib import import_module

    home = _HOMES.get(name) or ("engine.config" if name.endswith(("Config", "Binding", "Policy")) else "errors")
    value = getattr(import_module(f"inception.{home}"), "run_here" if name == "run" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # what is still to be imported too: for completion and help()
