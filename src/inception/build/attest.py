"""Attestations: what a build says of its result, as in-toto statements beside the image in an index.

    index ── image manifest  (linux/amd64)
          └─ attestation manifest (unknown/unknown; annotated with the digest of the one that it speaks of)
               layers: one statement each, application/vnd.in-toto+json

The layout is the one that BuildKit writes and registries know. Statements hold no secret: of secrets, ssh agents and proxies
there is nothing, URLs are without passwords, and build arguments are told by mode=max alone, since whoever asks for it knows.

Source: in-toto attestation framework; slsa.dev/provenance v0.2 and v1; BuildKit's attestation storage.
"""

from __future__ import annotations

from inception import jsontext
from inception.build.config import Attestations
from inception.build.output import split_words
from inception.errors import InvalidArgument
from inception.oci.digest import sha256
from inception.oci.image import MEDIA_CONFIG, MEDIA_MANIFEST, Descriptor, Manifest, Platform, platform_text
from inception.record import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.build.session import Session
    from inception.store.push import Attached

MEDIA_STATEMENT = "application/vnd.in-toto+json"
_PREDICATE = "in-toto.io/predicate-type"
_STATEMENT = "https://in-toto.io/Statement/v0.1"
_BUILD_TYPE = "urn:inception:dockerfile:v1"
SPDX = "https://spdx.dev/Document"
_SLSA = {"v0.2": "https://slsa.dev/provenance/v0.2", "v1": "https://slsa.dev/provenance/v1"}
_VOID = Platform(architecture="unknown", os="unknown")


def parse_attestations(attest: Sequence[str], provenance: Sequence[str], sbom: Sequence[str]) -> Attestations:
    """`--attest type=TYPE,...`, `--provenance [true|false|mode=...]`, `--sbom [true|false]`. Raises InvalidArgument."""
    found = Attestations()
    texts = [("", text) for text in attest]
    texts += [("provenance", text) for text in provenance] + [("sbom", text) for text in sbom]
    for kind, text in texts:
        given = _options(kind, text)
        kind = given.pop("type", "")
        wanted = not _truth(given.pop("disabled", "false"), "disabled")
        if kind == "provenance":
            _take_provenance(found, given, wanted)
        elif kind == "sbom":
            if given.pop("generator", ""):
                raise InvalidArgument(
                    "attestation option generator is not supported: packages are listed by this engine itself"
                )
            found.sbom = wanted
        else:
            raise InvalidArgument(f"unknown attestation type {kind!r}: expected provenance or sbom")
        if given:
            raise InvalidArgument(f"attestation option {next(iter(given))} is not supported for type {kind}")
    return found


def _options(kind: str, text: str) -> dict[str, str]:
    if kind and text.lower() in ("true", "1", "false", "0", ""):
        return {"type": kind, "disabled": str(text.lower() in ("false", "0"))}
    found = {"type": kind} if kind else {}
    for word in split_words(text):
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f"invalid value {word!r}: expected key=value")
        found[key.lower()] = value
    return found


def _take_provenance(found: Attestations, given: dict[str, str], wanted: bool) -> None:
    mode = given.pop("mode", "min")
    if mode not in ("min", "max"):
        raise InvalidArgument(f"invalid provenance mode {mode!r}: expected min or max")
    found.provenance = mode if wanted else ""
    found.version = given.pop("version", found.version)
    if found.version not in _SLSA:
        raise InvalidArgument(f"invalid provenance version {found.version!r}: expected {' or '.join(_SLSA)}")
    found.builder_id = given.pop("builder-id", "")
    found.reproducible = _truth(given.pop("reproducible", "false"), "reproducible")
    _truth(given.pop("inline-only", "false"), "inline-only")  # it goes where an index goes, always


def _truth(text: str, name: str) -> bool:
    if text.lower() not in ("true", "1", "false", "0"):
        raise InvalidArgument(f"invalid value {text!r} for {name}: expected true or false")
    return text.lower() in ("true", "1")


# --- statements ---


def statements(
    session: Session, names: Sequence[str], platform: Platform, digest: str, created: str
) -> list[tuple[str, bytes]]:
    """The (predicate type, statement) of everything that was asked for about the manifest *digest*."""
    asked = session.config.attestations
    subject = [
        {"name": f"pkg:docker/{_purl_name(name)}?platform={_escaped(platform_text(platform))}", "digest": _digest(digest)}
        for name in names or [""]
    ]
    found = []
    if asked.sbom:
        from inception.build.sbom import scan

        stack = session.stacks[session.plan.stages[-1].index]
        with session.store.snapshots.open_layers(stack.layer_ids) as root:
            found.append((SPDX, scan(root, (names or ["image"])[0], digest, created)))
    if asked.provenance:
        found.append((_SLSA[asked.version], provenance(session, asked)))
    return [(kind, _statement(kind, subject, predicate)) for kind, predicate in found]


def _statement(kind: str, subject: object, predicate: object) -> bytes:
    value = {"_type": _STATEMENT, "predicateType": kind, "subject": subject, "predicate": predicate}
    return jsontext.dumps(value).encode()


def provenance(session: Session, asked: Attestations) -> dict[str, object]:
    """The predicate: what was built from what, when, and (mode=max) how."""
    plan, config = session.plan, session.config
    materials = _materials(session)
    arguments: dict[str, object] = {"target": config.target} if config.target else {}
    source = session.context.source
    if asked.provenance == "max":
        from inception.build.values import PREDEFINED

        arguments |= {f"build-arg:{name}": value for name, value in config.build_args.items() if name not in PREDEFINED}
        arguments |= {f"label:{name}": value for name, value in config.labels.items()}
    parameters: dict[str, object] = {"frontend": "dockerfile.v0", "args": arguments}
    if not source:
        parameters["locals"] = [{"name": "context"}, {"name": "dockerfile"}]
    environment = {"platform": plan.machine}
    started, finished = session.started, session.finished
    if asked.version == "v1":
        internal: dict[str, object] = {"builderPlatform": plan.machine}
        if asked.provenance == "max":
            internal["buildConfig"] = _steps(session)
        return {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "configSource": {"path": session.context.name, **({"uri": source} if source else {})},
                    "request": parameters,
                },
                "internalParameters": internal,
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {"id": asked.builder_id},
                "metadata": {"invocationId": session.build_id, "startedOn": started, "finishedOn": finished},
            },
        }
    metadata: dict[str, object] = {
        "buildInvocationID": session.build_id,
        "buildStartedOn": started,
        "buildFinishedOn": finished,
        "completeness": {"parameters": asked.provenance == "max", "environment": True, "materials": bool(source)},
        "reproducible": asked.reproducible,
    }
    if asked.provenance == "max":
        from base64 import b64encode

        document = {"filename": session.context.name, "data": b64encode(session.context.dockerfile).decode()}
        metadata["urn:inception:dockerfile:v1#metadata"] = {"source": {"infos": [document]}}
    found: dict[str, object] = {
        "builder": {"id": asked.builder_id},
        "buildType": _BUILD_TYPE,
        "materials": materials,
        "invocation": {
            "configSource": {"entryPoint": session.context.name, **({"uri": source} if source else {})},
            "parameters": parameters,
            "environment": environment,
        },
        "metadata": metadata,
    }
    if asked.provenance == "max":
        found["buildConfig"] = _steps(session)
    return found


def _materials(session: Session) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for base in session.bases.found.values():
        document = base.document
        platform = _escaped(
            platform_text(Platform(architecture=document.architecture, os=document.os, variant=document.variant))
        )
        name = base.reference.partition(" for ")[0]
        found.append({"uri": f"pkg:docker/{_purl_name(name)}?platform={platform}", "digest": _digest(base.digest)})
    found += [{"uri": uri, "digest": digest} for uri, digest in sorted(session.downloads.items())]
    return found


def _steps(session: Session) -> dict[str, object]:
    """The operations of each stage, in the order they were planned."""
    from inception.build.operations import Configure

    return {
        "stages": [
            {
                "name": stage.name or str(stage.index),
                "from": stage.base,
                "steps": [
                    {"line": step.first_line, "instruction": step.created_by}
                    for step in stage.operations
                    if not isinstance(step, Configure)
                ],
            }
            for stage in session.plan.stages
        ]
    }


def _digest(text: str) -> dict[str, str]:
    algorithm, _, digits = text.partition(":")
    return {algorithm: digits}


def _purl_name(name: str) -> str:
    """`host/app:1` as package URLs have it: `host/app@1`. Source: the purl specification, type docker."""
    from inception.oci.reference import Reference

    if not name:
        return ""
    reference = Reference.parse(name)
    return f"{reference.familiar_repository}@{_escaped(reference.digest or reference.tag or 'latest')}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")


# --- how they are stored ---


def attach(found: Sequence[tuple[str, bytes]], image: Descriptor) -> Attached:
    """The manifest that holds statements about *image*."""
    from inception.store.push import Attached

    layers = [
        Descriptor(media_type=MEDIA_STATEMENT, digest=sha256(data), size=len(data), annotations={_PREDICATE: kind})
        for kind, data in found
    ]
    config = jsontext.dumps(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    ).encode()
    head = Descriptor(media_type=MEDIA_CONFIG, digest=sha256(config), size=len(config))
    manifest = jsontext.dumps(
        {"schemaVersion": 2, **encode(Manifest(media_type=MEDIA_MANIFEST, config=head, layers=layers))}
    ).encode()
    described = Descriptor(
        media_type=MEDIA_MANIFEST,
        digest=sha256(manifest),
        size=len(manifest),
        annotations={
            "vnd.docker.reference.digest": image.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
        platform=_VOID,
    )
    return Attached(descriptor=described, manifest=manifest, blobs=[config, *(data for _, data in found)])
