"""A bill of materials: the packages in a tree, as an SPDX 2.3 document.

What is read are the databases that package managers keep: dpkg's (also the split ones of distroless images), apk's, the
metadata of Python distributions and of node packages. Files of an image are hostile input: each is opened beneath the root,
read up to a bound, and a line that makes no sense is passed over.
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.errors import InceptionError
from inception.linux.path import RootDir
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_MAX_BYTES = 32 << 20
_MAX_PACKAGES = 50_000


class Package(Record):
    """`kind` is the type of its package URL: deb, apk, pypi, npm."""

    kind: str
    name: str
    version: str
    namespace: str = ""
    architecture: str = ""

    @property
    def purl(self) -> str:
        space = f"{self.namespace}/" if self.namespace else ""
        arch = f"?arch={self.architecture}" if self.architecture else ""
        return f"pkg:{self.kind}/{space}{_quote(self.name)}@{_quote(self.version)}{arch}"


def scan(root: RootDir, name: str, digest: str, created: str) -> dict[str, object]:
    """The document of the tree *root*; *digest* is that of the image that it describes, *created* its time."""
    distribution = _release(root).get("ID", "linux")
    found: dict[str, Package] = {}
    for package in _packages(root, distribution):
        if len(found) >= _MAX_PACKAGES:
            break
        found.setdefault(package.purl, package)
    # What the document describes is the image, also one without any package: SPDX wants something described.
    image = _entry("SPDXRef-Image", name, digest) | {"primaryPackagePurpose": "CONTAINER"}
    shown = []
    for number, purl in enumerate(sorted(found)):
        refers = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
        entry = _entry(f"SPDXRef-Package-{number}", found[purl].name, found[purl].version)
        shown.append(entry | {"externalRefs": [refers]})
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:inception:sbom:{digest}",
        "creationInfo": {"created": created.partition(".")[0].rstrip("Z") + "Z", "creators": ["Tool: inception"]},
        "packages": [image, *shown],
        "relationships": [
            _relationship("SPDXRef-DOCUMENT", "DESCRIBES", image),
            *(_relationship("SPDXRef-Image", "CONTAINS", package) for package in shown),
        ],
    }


def _entry(reference: str, name: str, version: str) -> dict[str, object]:
    return {
        "SPDXID": reference,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    }


def _relationship(one: str, kind: str, other: dict[str, object]) -> dict[str, object]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other["SPDXID"]}


def _packages(root: RootDir, distribution: str) -> Iterator[Package]:
    for path in ("var/lib/dpkg/status", *(f"var/lib/dpkg/status.d/{name}" for name in _names(root, "var/lib/dpkg/status.d"))):
        for fields in _paragraphs(_read(root, path)):
            if fields.get("Status", "install ok installed").endswith(" installed"):
                yield from _package("deb", fields, "Package", "Version", distribution, fields.get("Architecture", ""))
    for fields in _letters(_read(root, "lib/apk/db/installed")):
        yield from _package("apk", fields, "P", "V", distribution, fields.get("A", ""))
    for kind, path in _documents(root):
        text = _read(root, path)
        if kind == "pypi":
            for fields in _paragraphs(text.partition("\n\n")[0]):
                yield from _package(kind, fields, "Name", "Version")
            continue
        try:
            value = jsontext.loads(text)
        except (InceptionError, ValueError):
            continue
        if isinstance(value, dict):
            yield from _package(kind, value, "name", "version")


def _package(
    kind: str, fields: dict[str, Any], name: str, version: str, namespace: str = "", architecture: str = ""
) -> Iterator[Package]:
    found = fields.get(name), fields.get(version)
    if all(isinstance(text, str) and text for text in found):
        label = str(found[0]).lower().replace("_", "-") if kind == "pypi" else str(found[0])
        yield Package(kind=kind, name=label, version=str(found[1]), namespace=namespace, architecture=architecture)


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """`Name: value` blocks, as dpkg and Python write them."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            key, colon, value = line.partition(":")
            if colon and not line.startswith((" ", "\t")):
                fields.setdefault(key, value.strip())
        if fields:
            yield fields


def _letters(text: str) -> Iterator[dict[str, str]]:
    """apk's `P:name` blocks."""
    for block in text.split("\n\n"):
        yield dict(line.split(":", 1) for line in block.split("\n") if line[1:2] == ":")


def _release(root: RootDir) -> dict[str, str]:
    text = _read(root, "etc/os-release") or _read(root, "usr/lib/os-release")
    return {key: value.strip().strip('"') for key, _, value in (line.partition("=") for line in text.split("\n"))}


def _documents(root: RootDir) -> Iterator[tuple[str, str]]:
    """Where Python and node keep what they know of a package: (kind, path), in the order of their names."""
    top = root.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder, folders, files, _fd in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            folders.sort()
            path = folder.removeprefix("./")
            above = path.split("/")
            if above[-1].endswith(".dist-info") and "METADATA" in files:
                yield "pypi", f"{path}/METADATA"
            scoped = len(above) > 2 and above[-2].startswith("@")
            if "package.json" in files and len(above) > 1 and above[-3 if scoped else -2] in ("node_modules", "nodejs"):
                yield "npm", f"{path}/package.json"
    finally:
        os.close(top)


def _names(root: RootDir, path: str) -> list[str]:
    try:
        fd = root.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)


def _read(root: RootDir, path: str) -> str:
    try:
        return root.read_bytes(path, _MAX_BYTES).decode("utf-8", "replace")
    except (OSError, InceptionError):
        return ""


def _quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="+.-_~")
