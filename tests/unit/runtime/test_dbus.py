"""D-Bus messages as bytes, and what systemd is told of limits."""

from __future__ import annotations

import pytest

from inception.errors import InvalidArgument
from inception.oci.runtime import Resources
from inception.record import decode
from inception.runtime.dbus import decode_message, encode_message, message_length, split
from inception.runtime.systemd import expand_slice, parse_annotations, parse_scope, plan_properties


def test_a_message_is_what_the_specification_says():
    data = encode_message(1, 7, [(1, ("o", "/a")), (3, ("s", "Do")), (8, ("g", "su"))], "su", ["x", 5])
    assert data[:16] == b"l\x01\x00\x01" + bytes([12, 0, 0, 0]) + bytes([7, 0, 0, 0]) + bytes([40, 0, 0, 0])
    assert data[16:27] == b"\x01\x01o\x00" + bytes([2, 0, 0, 0]) + b"/a\x00"
    assert data[56:] == bytes([1, 0, 0, 0]) + b"x\x00" + b"\0\0" + bytes([5, 0, 0, 0])
    assert message_length(data) == len(data) == message_length(data + b"more")


def test_values_of_every_type_come_back_as_they_went():
    signature = "ybnqiuxtdsogav(sv)aya(sa(sv))"
    body = [
        *(255, True, -2, 3, -4, 5, -6, 1 << 63, 1.5, "ü", "/o", "a(sv)", [("u", 1), ("as", ["x", "y"])]),
        *(("k", ("t", 9)), [1, 2], [("n", [("p", ("b", False))])]),
    ]
    assert split(signature)[-4:] == ["av", "(sv)", "ay", "a(sa(sv))"]
    data = encode_message(2, 1, [(8, ("g", signature))], signature, body)
    assert decode_message(data).body == body


def test_slices_and_units():
    assert (parse_scope("", "web").unit, parse_scope("machine.slice:libpod:abc", "x").path) == (
        "inception-runc-web.scope",
        "/machine.slice/libpod-abc.scope",
    )
    assert expand_slice("-.slice") == "" and expand_slice("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    for bad in ("/a/b", "a:b", "x.slice:p:a/b", "x:p:n", "x.slice:p:", "a--b.slice:p:n", "x.slice:p:../n"):
        with pytest.raises(InvalidArgument, match=r"linux\.cgroupsPath"):
            _ = parse_scope(bad, "id").path


def test_limits_are_properties_of_the_unit():
    limits = {
        "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 1024, "quota": 12345, "period": 100000, "cpus": "0-2,9", "mems": "0"},
        "pids": {"limit": 50},
        "blockIO": {"weight": 500},
    }
    found = dict(plan_properties(decode(Resources, limits), v2=True))
    assert found == {
        "MemoryMax": ("t", 64 << 20),
        "MemorySwapMax": ("t", 32 << 20),
        "MemoryLow": ("t", 32 << 20),
        "CPUWeight": ("t", 100),
        "CPUQuotaPeriodUSec": ("t", 100000),
        "CPUQuotaPerSecUSec": ("t", 130000),
        "AllowedCPUs": ("ay", [7, 2]),
        "AllowedMemoryNodes": ("ay", [1]),
        "TasksMax": ("t", 50),
        "IOWeight": ("t", 4950),
    }
    assert dict(plan_properties(decode(Resources, {"memory": {"limit": -1}}), v2=True)) == {"MemoryMax": ("t", (1 << 64) - 1)}


def test_annotations_are_properties_too():
    found = parse_annotations(
        {
            "org.systemd.property.TimeoutStopSec": "uint64 10",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.Foo": "true",
            "other": "x",
        }
    )
    assert found == [("TimeoutStopUSec", ("t", 10_000_000)), ("CollectMode", ("s", "inactive-or-failed")), ("Foo", ("b", True))]
    with pytest.raises(InvalidArgument, match=r"annotations\.org"):
        parse_annotations({"org.systemd.property.After": "['x.service']"})
