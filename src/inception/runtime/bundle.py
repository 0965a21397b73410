"""A bundle: `config.json` and what it names. Source: runtime-spec bundle.md, config.md."""

from __future__ import annotations

import os

from inception.errors import InvalidArgument, NotFound
from inception.jsontext import loads
from inception.oci.runtime import Mount, Process, Spec
from inception.record import decode, replace
from inception.runtime.validate import check_process, check_spec

_MAX_BYTES = 16 << 20


def load_bundle(bundle: str, config: str = "config.json") -> Spec:
    """The checked spec of the bundle at the absolute path *bundle*; relative paths in it become absolute. *config* is another
    name of its file, from the bundle on.

    Raises NotFound, or InvalidArgument naming the place in config.json.
    """
    path = os.path.join(bundle, config)
    try:
        return parse_bundle(_read(path), bundle)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: {error}") from error
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from error


def parse_bundle(data: bytes | str, bundle: str) -> Spec:
    """The same where *data* is what the file holds. Raises InvalidArgument, ValueError, RecursionError."""
    spec = decode(Spec, loads(data), unknown="fold")
    check_spec(spec)
    assert spec.root is not None
    root = replace(spec.root, path=os.path.normpath(os.path.join(bundle, spec.root.path)))
    mounts = [_absolute(mount, bundle, root.path) for mount in spec.mounts]
    return replace(spec, root=root, mounts=mounts)


def _absolute(mount: Mount, bundle: str, root: str) -> Mount:
    if {"bind", "rbind"} & {mount.type, *mount.options} and mount.source:
        mount = replace(mount, source=os.path.join(bundle, mount.source))
    if not mount.destination.startswith("/"):  # deprecated, and from / on
        mount = replace(mount, destination=f"/{mount.destination}")
    if mount.destination.startswith(f"{root}/"):  # the place as the host has it, which runc takes too
        mount = replace(mount, destination=mount.destination[len(root) :])
    return mount


def load_process(path: str) -> Process:
    """The process of `exec --process FILE`. Raises NotFound, InvalidArgument."""
    try:
        return parse_process(_read(path))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: {error}") from error
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from error


def parse_process(data: bytes | str) -> Process:
    """The same where *data* is what the file holds. Raises InvalidArgument, ValueError, RecursionError."""
    process = decode(Process, loads(data), unknown="fold")
    check_process(process)
    return process


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise NotFound(f"{path}: {(error.strerror or '').lower()}") from error
    if len(data) > _MAX_BYTES:
        raise InvalidArgument(f"{path}: larger than {_MAX_BYTES} bytes")
    return data
