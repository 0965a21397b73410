"""A bundle: `config.json` and what it names. Source: runtime-spec bundle.md, config.md."""

from __future__ import annotations

from inception.errors import InvalidArgument, NotFound
from inception.jsontext import loads
from inception.oci.runtime import Process, Spec
from inception.record import decode, replace
from inception.runtime.validate import check_process, check_spec

_MAX_BYTES = 16 << 20


def load_bundle(bundle: str) -> Spec:
    """The checked spec of the bundle at the absolute path *bundle*; relative paths in it become absolute.

    Raises NotFound, or InvalidArgument naming the place in config.json.
    """
    path = f"{bundle}/config.json"
    try:
        spec = decode(Spec, loads(_read(path)))
        check_spec(spec)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: {error}") from error
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from error
    assert spec.root is not None
    mounts = [
        replace(mount, source=f"{bundle}/{mount.source}")
        if mount.source and ({"bind", "rbind"} & {mount.type, *mount.options}) and not mount.source.startswith("/")
        else mount
        for mount in spec.mounts
    ]
    root = spec.root if spec.root.path.startswith("/") else replace(spec.root, path=f"{bundle}/{spec.root.path}")
    return replace(spec, root=root, mounts=mounts)


def load_process(path: str) -> Process:
    """The process of `exec --process FILE`. Raises NotFound, InvalidArgument."""
    try:
        process = decode(Process, loads(_read(path)))
        check_process(process)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: {error}") from error
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from error
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
