"""`--cache-from` and `--cache-to`: places outside of the store where a build's cache is kept, in words.

registry   an artifact under a name (ref=), or an image that was built with an inline cache
local      an OCI layout in a folder (src=, dest=)
inline     in the configuration of the image itself: what its own layers came from
"""

from __future__ import annotations

from inception.build.config import CachePlace
from inception.errors import InvalidArgument

#: What a configuration of ours is called; its layers are image layers as in any image.
MEDIA_CACHE = "application/vnd.inception.buildcache.v1+json"
_ELSEWHERE = ("gha", "s3", "azblob")
_FROM = {"registry": ("ref",), "local": ("src", "tag", "digest")}
_TO = {
    "registry": ("ref", "mode", "compression", "ignore-error", "oci-mediatypes", "image-manifest"),
    "local": ("dest", "tag", "mode", "compression", "ignore-error", "oci-mediatypes", "image-manifest"),
    "inline": ("mode",),
}


def parse_source(text: str) -> CachePlace:
    """`--cache-from`: a reference, or `type=TYPE,key=value,...`. Raises InvalidArgument."""
    if "=" not in text:
        return CachePlace(type="registry", place=_reference(text))
    kind, given = _parse(text, _FROM)
    if kind == "local":
        place = _need(given, "src", kind)
        return CachePlace(type=kind, place=place, tag=given.get("tag", ""), digest=given.get("digest", ""))
    return CachePlace(type=kind, place=_reference(_need(given, "ref", kind)))


def parse_target(text: str) -> CachePlace:
    """`--cache-to`: a reference, or `type=TYPE,key=value,...`. Raises InvalidArgument."""
    if text == "inline":
        return CachePlace(type="inline")
    if "=" not in text:
        return CachePlace(type="registry", place=_reference(text))
    kind, given = _parse(text, _TO)
    mode, compression = given.get("mode", "min"), given.get("compression", "gzip")
    if mode not in ("min", "max"):
        raise InvalidArgument(f"invalid cache mode {mode!r}: expected min or max")
    if compression not in ("gzip", "zstd"):
        raise InvalidArgument(f"cache compression {compression!r} is not supported: expected gzip or zstd")
    for name in ("oci-mediatypes", "image-manifest"):
        if not _flag(given.get(name, "true"), name):
            raise InvalidArgument(f"cache option {name}=false is not supported: a cache is an OCI image manifest")
    if kind == "inline":
        if mode == "max":
            raise InvalidArgument("an inline cache holds what the image's own layers came from: mode=max needs another type")
        return CachePlace(type=kind)
    place = _reference(_need(given, "ref", kind)) if kind == "registry" else _need(given, "dest", kind)
    return CachePlace(
        type=kind,
        place=place,
        tag=given.get("tag", "latest"),
        whole=mode == "max",
        compression=compression,
        optional=_flag(given.get("ignore-error", "false"), "ignore-error"),
    )


def _parse(text: str, known: dict[str, tuple[str, ...]]) -> tuple[str, dict[str, str]]:
    from inception.build.output import split_words

    given: dict[str, str] = {}
    for word in split_words(text):
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f"invalid value {word!r}: expected key=value")
        given[key.lower()] = value
    kind = given.pop("type", "")
    if kind in _ELSEWHERE:
        raise InvalidArgument(f"cache type {kind} is not supported: use registry, local or inline")
    if kind not in known:
        raise InvalidArgument(
            f"unknown cache type {kind!r}: expected one of {', '.join(known)}" if kind else "type required form"
        )
    for key in given:
        if key not in known[kind]:
            raise InvalidArgument(f"cache option {key} is not supported for type {kind}")
    return kind, given


def _need(given: dict[str, str], name: str, kind: str) -> str:
    if not given.get(name):
        raise InvalidArgument(f"{name} is required for cache type {kind}")
    return given[name]


def _flag(text: str, name: str) -> bool:
    if text.lower() not in ("true", "1", "false", "0"):
        raise InvalidArgument(f"invalid value {text!r} for {name}: expected true or false")
    return text.lower() in ("true", "1")


def _reference(text: str) -> str:
    from inception.oci.reference import Reference

    return str(Reference.parse(text))
