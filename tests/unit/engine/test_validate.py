"""What a container's configuration must be, and how a person who writes Python is told."""

from __future__ import annotations

from typing import Any

import pytest

from inception.engine.config import ContainerConfig
from inception.engine.validate import check_config
from inception.errors import InvalidArgument


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("command", "sleep 60", "command: expected a list of strings, not 'sleep 60'"),
        ("env", {"A": "1"}, "env: expected a list of strings, not {'A': '1'}"),
        ("ports", ["80:80"], "ports: expected a list of PortBinding, not ['80:80']"),
        ("mounts", ["/srv:/data"], "mounts: expected a list of MountConfig, not ['/srv:/data']"),
    ],
)
def test_what_dockers_command_line_would_take_is_answered_with_what_python_is_to_say(
    field: str, value: Any, message: str
) -> None:
    with pytest.raises(InvalidArgument) as error:
        check_config(ContainerConfig(image="busybox", **{field: value}))
    assert str(error.value) == message
    assert error.value.hint.startswith(f"for example {field}=[")
