"""Requests for GPUs against the CDI specifications of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inception.engine import cdi
from inception.engine.config import DeviceRequest
from inception.engine.gpus import find_devices
from inception.errors import InceptionError

GPU = [["gpu"]]


@pytest.fixture(autouse=True)
def specifications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edits = {"containerEdits": {"env": ["A=B"]}}
    for kind, names in (
        ("nvidia.com/gpu", ["0", "1", "GPU-7f", "all"]),
        ("other.org/gpu", ["x", "y"]),
        ("nvidia.com/net", ["0"]),
    ):
        document = {"cdiVersion": "0.6.0", "kind": kind, "devices": [{"name": name, **edits} for name in names]}
        (tmp_path / f"{kind.replace('/', '-')}.json").write_text(json.dumps(document))
    monkeypatch.setattr(cdi, "FOLDERS", (str(tmp_path),))


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (DeviceRequest(count=-1, capabilities=GPU), ["nvidia.com/gpu=all"]),
        (DeviceRequest(count=2, capabilities=GPU), ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (DeviceRequest(device_ids=["GPU-7f"], capabilities=[["gpu", "utility"]]), ["nvidia.com/gpu=GPU-7f"]),
        (DeviceRequest(driver="other.org", count=-1, capabilities=GPU), ["other.org/gpu=x", "other.org/gpu=y"]),
        (DeviceRequest(driver="nvidia", count=1, capabilities=GPU), ["nvidia.com/gpu=0"]),
        (DeviceRequest(driver="cdi", device_ids=["nvidia.com/net=0"]), ["nvidia.com/net=0"]),
    ],
)
def test_a_request_means_devices_of_a_specification(request_: DeviceRequest, names: list[str]) -> None:
    assert find_devices([request_]) == names


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (DeviceRequest(count=-1, capabilities=[["tpu"]]), 'could not select device driver "" with capabilities: [[tpu]]'),
        (
            DeviceRequest(driver="amd", count=1, capabilities=GPU),
            'could not select device driver "amd" with capabilities: [[gpu]]',
        ),
        (DeviceRequest(device_ids=["9"], capabilities=GPU), "nvidia.com/gpu has no device 9"),
        (DeviceRequest(count=3, capabilities=GPU), "3 devices of nvidia.com/gpu are asked for, there are 2"),
    ],
)
def test_what_nobody_has_is_said_in_dockers_words(request_: DeviceRequest, words: str) -> None:
    with pytest.raises(InceptionError) as caught:
        find_devices([request_])
    assert words in str(caught.value)
