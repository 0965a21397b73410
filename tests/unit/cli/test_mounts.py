from __future__ import annotations

import os

import pytest

from inception.cli.mounts import parse_mount, parse_tmpfs, parse_volume
from inception.engine.config import MountConfig
from inception.record import replace


def bind(source: str, target: str, **fields: object) -> MountConfig:
    return MountConfig(type="bind", source=source, target=target, create_host_path=True, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data", MountConfig(type="volume", target="/data")),
        ("vol:/data", MountConfig(type="volume", source="vol", target="/data")),
        ("vol:/data:nocopy,ro", MountConfig(type="volume", source="vol", target="/data", read_only=True, no_copy=True)),
        ("/a:/b", bind("/a", "/b")),
        ("/a:/b/../c:ro", bind("/a", "/c", read_only=True)),
        ("/a:/b:rshared,rw", bind("/a", "/b", propagation="rshared")),
        ("/a:/b:cached", bind("/a", "/b")),
        ("./x:/b", bind(os.path.abspath("x"), "/b")),
        (".:/b", bind(os.getcwd(), "/b")),
    ],
)
def test_short_form(text, mount):
    assert parse_volume(text) == replace(mount, short=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty section between colons"),
        (":/x", "empty section between colons"),
        ("a:b:c:d", "invalid volume specification: 'a:b:c:d'"),
        ("vol:data", "mount path must be absolute"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/x/..", "destination can't be '/'"),
        ("/a:/b:foo", "invalid mode: foo"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("vol:/b:shared", "invalid mode: shared"),
        ("/a:/b:nocopy", "invalid mode: nocopy"),
    ],
)
def test_bad_short_forms(text, message):
    with pytest.raises(ValueError) as caught:
        parse_volume(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/d", MountConfig(type="volume", target="/d")),
        ("type=bind,src=/a,dst=/b,ro", MountConfig(type="bind", source="/a", target="/b", read_only=True)),
        ("type=BIND,source=/a,destination=/b,readonly=false,bind-propagation=rslave",
         MountConfig(type="bind", source="/a", target="/b", propagation="rslave")),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=writable",
         MountConfig(type="bind", source="/a", target="/b", read_only=True, recursive_read_only=False)),
        ("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=0700",
         MountConfig(type="tmpfs", target="/t", tmpfs_size_bytes=1 << 20, tmpfs_mode=0o700)),
        ('src=v,dst=/d,volume-driver=local,volume-label=a=b,volume-nocopy,volume-subpath=s,"volume-opt=o=addr=1,rw"',
         MountConfig(type="volume", source="v", target="/d", driver="local", labels={"a": "b"}, no_copy=True, subpath="s",
                     driver_options={"o": "addr=1,rw"})),
    ],
)  # fmt: skip
def test_long_form(text, mount):
    assert parse_mount(text) == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=volume", "target is required"),
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("type=bind,foo=bar,target=/x", "unexpected key 'foo' in 'foo=bar'"),
        ("type=nope,target=/x", "mount type unknown: 'nope'"),
        ("type=image,target=/x", 'invalid mount config for type "image": field Source must not be empty'),
        ("type=cluster,target=/x", "mount type cluster is not supported"),
        ("type=bind,source=/a,target=/x,image-subpath=y", "cannot mix 'image-*' options with mount type 'bind'"),
        ("type=bind,target=/x", "field Source must not be empty"),
        ("type=bind,source=a,target=/x", "mount path must be absolute"),
        ("type=bind,source=/a,target=x", "must be an absolute path"),
        ("type=bind,source=/a,target=/", "destination can't be '/'"),
        ("type=bind,source=/a,target=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        ("type=volume,target=/x,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'volume'"),
        ("type=tmpfs,source=/a,target=/x", "field Source must not be specified"),
        ("type=tmpfs,target=/x,tmpfs-size=x", "invalid value for tmpfs-size: x"),
        ("type=tmpfs,target=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("target=/x,readonly=maybe", "invalid value for readonly: maybe"),
        ("type=bind,source=/a,target=/x,bind-recursive=writable", "option 'bind-recursive=writable' requires 'readonly'"),
        ("type=bind,source=/a,target=/x,bind-recursive=readonly", "option 'bind-recursive=readonly' requires 'readonly'"),
        ("type=bind,source=/a,target=/x,bind-recursive=readonly,ro", "requires 'bind-propagation=rprivate' to be specified"),
        ("type=bind,source=/a,target=/x,bind-propagation=x", "invalid propagation mode: x"),
        (" target=/x", "option should not have whitespace"),
    ],
)
def test_bad_long_forms(text, message):
    with pytest.raises(ValueError) as caught:
        parse_mount(text)
    assert message in str(caught.value)


def test_tmpfs():
    assert parse_tmpfs("/run:rw,noexec,size=64k,mode=755") == MountConfig(
        type="tmpfs", target="/run", tmpfs_size_bytes=64 << 10, tmpfs_mode=0o755, tmpfs_options=["rw", "noexec"], short=True
    )
    with pytest.raises(ValueError, match="must be absolute"):
        parse_tmpfs("run")
