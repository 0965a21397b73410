"""Log-ins of clients, and what a registry says about an image without a pull.

A client brings its log-ins with each request, as Docker's do; those of the user whom the server runs as are not lent to it.
"""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from inception.api.call import Call, parse_json, reply
from inception.api.errors import Unauthorized
from inception.api.fields import Fields
from inception.errors import Forbidden, InvalidArgument
from inception.oci.digest import sha256
from inception.oci.image import Index, Manifest, Platform
from inception.oci.reference import Reference
from inception.record import decode, encode
from inception.store.credentials import Credentials


async def login(call: Call) -> web.Response:
    from inception.store.login import check, domain_of

    body = Fields(await call.json())
    try:
        await call.server.threads.long(check, domain_of(body.text("serveraddress")), _credentials(body))
    except Forbidden as error:
        raise Unauthorized(str(error), error.hint) from error
    return reply({"Status": "Login Succeeded", "IdentityToken": ""})


def credentials_of(header: str) -> Credentials:
    """X-Registry-Auth: base64url of JSON; nobody's when it is missing, `e30=`, or nothing that can be read: Docker takes such
    a header for none, and clients send `placeholder`."""
    try:
        text = base64.b64decode(header + "=" * (-len(header) % 4), b"-_", validate=True)
        return _credentials(Fields(parse_json(text or b"{}", "X-Registry-Auth header"), "X-Registry-Auth"))
    except (ValueError, InvalidArgument):
        return Credentials()


def log_ins_of(header: str) -> dict[str, Credentials]:
    """X-Registry-Config: base64url of JSON, log-ins by registry as clients spell it (`https://index.docker.io/v1/`)."""
    from inception.store.login import domain_of

    try:
        text = base64.b64decode(header + "=" * (-len(header) % 4), b"-_", validate=True)
        given = Fields(parse_json(text or b"{}", "X-Registry-Config header"), "X-Registry-Config")
        return {domain_of(address): _credentials(given.object(address)) for address in given.value}
    except (ValueError, InvalidArgument) as error:
        raise InvalidArgument(f"X-Registry-Config header: {error}") from None


def _credentials(fields: Fields) -> Credentials:
    username, password = fields.text("username"), fields.text("password")
    if not username and fields.text("auth"):
        try:
            username, _, password = base64.b64decode(fields.text("auth")).decode().partition(":")
        except ValueError:
            raise InvalidArgument(f"{fields.place('auth')}: not base64") from None
    return Credentials(
        username=username,
        password=password,
        identity_token=fields.text("identitytoken"),
        registry_token=fields.text("registrytoken"),
    )


async def distribution(call: Call) -> web.Response:
    """What a name means in its registry: the descriptor, and the platforms."""
    credentials = credentials_of(call.request.headers.get("X-Registry-Auth", ""))
    return reply(await call.server.threads.long(_ask, call.arguments["name"], credentials))


def _ask(name: str, credentials: Credentials) -> dict[str, Any]:
    from inception.store.hosts import endpoint, load_registries
    from inception.store.registry import Repository
    from inception.store.transport import Transport

    reference = Reference.parse(name)
    transport = Transport(endpoint(load_registries(), reference.domain), f"inspect {reference.familiar}", credentials)
    repository = Repository(transport, reference)
    try:
        data, media_type = repository.manifest(reference.digest or reference.tag)
        document = parse_json(data, f"manifest of {reference.familiar}")
        if "manifests" in document:
            platforms = [entry.platform for entry in decode(Index, document, "index").manifests if entry.platform]
        else:
            config = b"".join(repository.blob(decode(Manifest, document, "manifest").config))
            platforms = [decode(Platform, parse_json(config, "image configuration"), "image configuration")]
    finally:
        repository.close()
    descriptor = {"mediaType": media_type, "digest": str(sha256(data)), "size": len(data)}
    return {"Descriptor": descriptor, "Platforms": [encode(platform) for platform in platforms]}


ROUTES = [
    ("POST", "/auth", login),
    ("GET", "/distribution/{name:path}/json", distribution),
]
