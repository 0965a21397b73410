"""Image references: `[host[:port]/]path[:tag][@digest]`, normalised as Docker does.

Source: distribution/reference grammar; docker-cli image_tag.md. `nginx` means `docker.io/library/nginx:latest`.
"""

from __future__ import annotations

import re

from inception.errors import InvalidArgument
from inception.oci.digest import Digest
from inception.record import Record

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Reference(Record):
    """A normalised reference. `tag` is empty only when a digest stands alone."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @staticmethod
    def parse(text: str) -> Reference:
        """Raises InvalidArgument in Docker's words: `invalid reference format`."""
        if re.fullmatch(r"[0-9a-f]{64}", text):
            raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
        rest, at, digest = text.partition("@")
        domain, slash, path = rest.partition("/")
        if not slash or not ("." in domain or ":" in domain or domain == "localhost" or domain != domain.lower()):
            domain, path = DEFAULT_DOMAIN, rest
        name, colon, tag = path.rpartition(":")
        if not colon:
            name, tag = path, ""
        if domain in ("index.docker.io", DEFAULT_DOMAIN):
            domain = DEFAULT_DOMAIN
            if "/" not in name:
                name = f"library/{name}"
        if name != name.lower():
            raise InvalidArgument(f"invalid reference format: repository name ({name}) must be lowercase")
        if (
            not _DOMAIN.fullmatch(domain)
            or not _PATH.fullmatch(name)
            or len(name) > 255
            or (colon and not _TAG.fullmatch(tag))
        ):
            raise InvalidArgument(f"invalid reference format: {text!r}")
        if at:
            Digest(digest)
        elif not tag:
            tag = DEFAULT_TAG
        return Reference(domain=domain, path=name, tag=tag, digest=digest)

    @property
    def repository(self) -> str:
        """Domain and path, as registries and the store know it: `docker.io/library/nginx`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """What `docker images` shows: `nginx`, `user/app`, `localhost:5000/app`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        return self.path.removeprefix("library/")

    def __str__(self) -> str:
        """The full name: `docker.io/library/nginx:latest`."""
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        """The short name: `nginx:latest`."""
        return (
            self.familiar_repository
            + (f":{self.tag}" if self.tag else "")
            + (f"@{self.digest}" if self.digest else "")
        )
