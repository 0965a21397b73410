"""Image references: `[host[:port]/]path[:tag][@digest]`, normalised as Docker does.

Source: distribution/reference grammar; docker-cli image_tag.md. `nginx` means `docker.io/library/nginx:latest`.
"""

from __future__ import annotations

from inception.errors import InvalidArgument
from inception.oci.digest import Digest
from inception.record import Record

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

# Sets instead of regular expressions: `re` would be 4 ms of the start of every container.
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_TAG = _ALPHANUMERIC | frozenset("_.-")
_HEX = frozenset("0123456789abcdef")
_DIGITS = frozenset("0123456789")
_ADDRESS = frozenset("0123456789abcdefABCDEF:")


class Reference(Record):
    """A normalised reference. `tag` is empty only when a digest stands alone."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @staticmethod
    def parse(text: str) -> Reference:
        """Raises InvalidArgument in Docker's words: `invalid reference format`."""
        if len(text) == 64 and _HEX.issuperset(text):
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
        sound = _is_domain(domain) and len(name) <= 255 and all(_is_component(part) for part in name.split("/"))
        if not sound or (colon and not _is_tag(tag)):
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
        name = self.path.removeprefix("library/")
        return self.path if "/" in name else name  # `library/a/b` without its first word would be another repository

    def __str__(self) -> str:
        """The full name: `docker.io/library/nginx:latest`."""
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        """The short name: `nginx:latest`."""
        return self.familiar_repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _is_component(text: str) -> bool:
    """Lower-case letters and digits, joined by one dot, one or two underscores, or any number of dashes."""
    if not text or text[0] not in _LOWER or text[-1] not in _LOWER:
        return False
    separator = ""
    for character in text:
        if character in _LOWER:
            if separator not in ("", ".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
        else:
            separator += character
    return True


def _is_domain(text: str) -> bool:
    """A host name or a bracketed IPv6 address, with or without a port."""
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]")
        if not bracket or not address or not _ADDRESS.issuperset(address):
            return False
        colon, port = port[:1], port[1:]
        if colon not in ("", ":"):
            return False
    else:
        host, colon, port = text.partition(":")
        for label in host.split("."):
            if not label or label[0] == "-" or label[-1] == "-" or not _ALPHANUMERIC.issuperset(label.replace("-", "")):
                return False
    return not colon or (port != "" and _DIGITS.issuperset(port))


def _is_tag(text: str) -> bool:
    return 0 < len(text) <= 128 and text[0] not in ".-" and _TAG.issuperset(text)
