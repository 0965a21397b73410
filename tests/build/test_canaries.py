"""A build that is given every kind of secret, and then a search for them in all that it left anywhere."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from inception.build.cacheplaces import parse_target
from inception.build.config import Attestations, SecretSource
from inception.build.output import parse_output

from .conftest import Builder

pytestmark = pytest.mark.needs("root", "busybox")

WORD = "CANARY-9d3f"
TEXT = """FROM busybox AS one
RUN --mount=type=secret,id=file,target=/run/s grep -q 9d3f-file /run/s
RUN --mount=type=secret,id=var,env=TOKEN test "$TOKEN" = CANARY-9d3f-var && sleep 0.3
RUN --mount=type=secret,id=file,mode=0444,uid=12 test "$(stat -c %u:%a /run/secrets/file)" = 12:444
RUN echo "$HTTP_PROXY" | grep -q 9d3f-proxy
FROM busybox
COPY --from=one /etc/passwd /p
RUN --mount=type=secret,id=file,target=/deep/down/here cat /deep/down/here >/dev/null
"""


def holders(folder: Path) -> list[str]:
    """Files below *folder* that hold the word, compressed ones by their content."""
    import gzip

    found = []
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data += gzip.decompress(data)
        if WORD.encode() in data:
            found.append(str(path))
    return found


def test_no_secret_is_in_anything_that_a_build_leaves(busybox: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    outside = tmp_path / "secrets"
    outside.mkdir()
    (outside / "file").write_text(f"{WORD}-file")
    monkeypatch.setenv("A_VARIABLE", f"{WORD}-var")
    monkeypatch.setenv("UNRELATED", f"{WORD}-environment")
    left = tmp_path / "left"
    left.mkdir()
    seen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        """Command lines of all processes, as anybody may read them."""
        while not over.is_set():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    line = Path("/proc", pid, "cmdline").read_bytes()
                except OSError:
                    continue
                if WORD.encode() in line and b"test " not in line:
                    seen.append(line.decode(errors="replace"))
            over.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = busybox.build(
            TEXT.replace("CANARY-9d3f-var", '"CANARY"-9d3f-var'),
            secrets={"file": SecretSource(path=str(outside / "file")), "var": SecretSource(env="A_VARIABLE")},
            build_args={"HTTP_PROXY": f"http://me:{WORD}-proxy@proxy:1"},
            outputs=[parse_output(f"type=oci,dest={left}/out.tar"), parse_output(f"{left}/files")],
            cache_to=[parse_target(f"type=local,dest={left}/cache,mode=max")],
            attestations=Attestations(provenance="max", sbom=True),
            metadata=True,
        )
    finally:
        over.set()
        watcher.join()
    assert seen == []
    (left / "metadata").write_text(json.dumps(result.metadata) + "".join(result.reasons))
    (left / "events").write_text(repr(busybox.events))
    (left / "saved").write_bytes(b"".join(busybox.engine.images.save(["result"])))
    assert holders(left) == []
    assert holders(Path(busybox.engine.root)) == []
    assert holders(Path(busybox.engine.run_root)) == []
    # Nor is there a trace of the places where they were.
    assert not any("run/s" in line or "deep" in line for line in busybox.tree())


def test_a_cache_mounts_folder_that_becomes_a_link_never_leads_out(busybox: Builder, tmp_path: Path):
    """CVE-2024-23651, CVE-2024-9675: `source=` is resolved while another build swaps it."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host/canary").write_text(WORD)
    swap = (
        "FROM busybox\nARG N\n"
        "RUN --mount=type=cache,id=c,target=/c for i in $(seq 300); do "
        f"rm -rf /c/d; mkdir /c/d; rm -rf /c/d; ln -s {tmp_path}/host /c/d; done\n"
    )
    look = (
        "FROM busybox\nARG N\nRUN --mount=type=cache,id=c,source=d,target=/mnt test ! -e /mnt/canary && test ! -e /mnt/proc/1\n"
    )
    busybox.write("swap", swap)
    busybox.write("look", look)
    from inception.build import BuildConfig, BuildFailed, build

    def swapping() -> None:
        config = BuildConfig(context=str(busybox.context), dockerfile=str(busybox.context / "swap"), tags=["s"])
        build(busybox.engine, config)

    thread = threading.Thread(target=swapping)
    thread.start()
    looked = 0
    try:
        for number in range(6):
            config = BuildConfig(
                context=str(busybox.context),
                dockerfile=str(busybox.context / "look"),
                build_args={"N": str(number)},
                tags=["l"],
            )
            try:
                build(busybox.engine, config)
            except BuildFailed as error:
                assert error.exit_code == 0, error.output  # it was not there: never that it was somewhere else
            looked += 1
    finally:
        thread.join()
    assert looked == 6
    assert (tmp_path / "host/canary").read_text() == WORD
