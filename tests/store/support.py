"""Archives from a few lines, images from archives."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from inception.oci.image import ImageConfig, ImageDocument, RootFs
from inception.store import Store
from inception.store.images import Image


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o755 if fields.get("type") == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def folder(name: str, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, **fields)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def archive(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as out:
        for info, data in members:
            out.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_image(store: Store, *layers: bytes, name: str = "", **config: object) -> Image:
    """An image of the given layer archives."""
    with store.lease(), store.scratch() as scratch:
        staged = [store.layers.stage([layer], scratch) for layer in layers]
        document = ImageDocument(
            architecture="amd64",
            os="linux",
            config=ImageConfig(**config),
            rootfs=RootFs(diff_ids=[item.diff_id for item in staged]),
        )
        for layer in layers:
            store.content.put([layer])  # as a pull would have left it
        return store.images.create(document, staged, names=[name] if name else [])


def tree(path: str) -> dict[str, tuple[int, int, int, str]]:
    """Path -> (mode, uid, gid, what it holds)."""
    found = {}
    for base, folders, files in os.walk(path):
        for name in [*folders, *files]:
            full = f"{base}/{name}"
            try:
                status = os.lstat(full)
            except FileNotFoundError:
                continue  # overlayfs lists a whiteout of what no layer beneath has, and then says that it isn't there
            if os.path.islink(full):
                content = f"-> {os.readlink(full)}"
            elif os.path.isfile(full):
                content = Path(full).read_text(errors="replace")
            else:
                content = f"dev {status.st_rdev}"
            found[full[len(path) + 1 :]] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found
