"""The system call filter of a container, compiled once and kept: building it takes 20 ms, reading it back a tenth of one.

The cache is `root/cache/seccomp/NAME`; the name says all that the filter depends on: the profile, the capabilities, the
kernel (whose version decides what may be filtered) and this package's version.
"""

from __future__ import annotations

import os

import inception
from inception.engine.engine import make_private
from inception.engine.spec import security_options
from inception.errors import InvalidArgument
from inception.linux.capabilities import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerConfig
    from inception.engine.engine import Engine
    from inception.oci.runtime import Seccomp

_MAX_PROFILE_BYTES = 1 << 20


def filter_of(engine: Engine, config: ContainerConfig, capabilities: list[str]) -> bytes | None:
    """The compiled filter for a process with *capabilities*; None where there is none. Raises InvalidArgument."""
    option = security_options(config).get("seccomp", "")
    if option == "unconfined" or (config.privileged and not option):
        return None
    profile = b"" if option in ("", "builtin", "default") else _read_profile(option)
    key = f"{inception.__version__}-{os.uname().release}-{mask(capabilities):x}-{_digest(profile)}"
    known = engine.filters.get(key)
    if known is None:
        known = engine.filters[key] = _load(engine, key) or _compile(engine, key, profile, capabilities)
    return known


def _digest(profile: bytes) -> str:
    if not profile:
        return "default"
    from hashlib import sha256  # only for those who bring a profile; two must never share a filter

    return sha256(profile).hexdigest()


def _load(engine: Engine, key: str) -> bytes:
    try:
        with open(f"{engine.root}/cache/seccomp/{key}", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _compile(engine: Engine, key: str, profile: bytes, capabilities: list[str]) -> bytes:
    from inception.linux.seccomp import compile_filter

    compiled = compile_filter(_profile(profile, capabilities))
    folder = f"{engine.root}/cache/seccomp"
    make_private(f"{engine.root}/cache")
    make_private(folder)
    scratch = f"{folder}/.{os.getpid()}-{os.urandom(4).hex()}"
    with open(scratch, "wb") as file:
        file.write(compiled)
    os.rename(scratch, f"{folder}/{key}")
    return compiled


def _profile(profile: bytes, capabilities: list[str]) -> Seccomp:
    from inception.runtime import defaults

    if not profile:
        return defaults.default_seccomp(capabilities)
    from inception.jsontext import loads

    try:
        return defaults.load_seccomp(loads(profile), capabilities)
    except ValueError as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from error


def _read_profile(path: str) -> bytes:
    """The profile itself, as Docker's clients send it, or the file that the library's caller names."""
    if path.lstrip().startswith("{"):
        return path.encode()
    try:
        with open(path, "rb") as file:
            profile = file.read(_MAX_PROFILE_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"opening seccomp profile ({path}) failed: {error.strerror}") from error
    if len(profile) > _MAX_PROFILE_BYTES:
        raise InvalidArgument(f"opening seccomp profile ({path}) failed: larger than {_MAX_PROFILE_BYTES} bytes")
    return profile
