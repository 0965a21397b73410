"""`version`: ours, and of what we stand on."""

from __future__ import annotations

import os
import sys

from inception import __version__
from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def version(call: Call) -> int:
    facts = document()
    text = call.flags.text("format")
    if text:
        from inception.cli.template import Template
        from inception.cli.template_values import to_json

        write((to_json(facts) if text == "json" else Template(text).render(facts)) + "\n")
        return 0
    client = facts["Client"]
    rows = [("Version", client["Version"]), ("Python version", client["PythonVersion"])]
    rows += [("OS/Arch", f"{client['Os']}/{client['Arch']}"), ("Kernel version", facts["Server"]["KernelVersion"])]
    write("Inception (no daemon):\n" + "".join(f" {name + ':':<18}{value}\n" for name, value in rows))
    return 0


def document() -> dict[str, Any]:
    """What `--format` sees. There is no daemon, so the server is this program too."""
    system = os.uname()
    common = {
        "Version": __version__,
        "Os": "linux",
        "Arch": _ARCHITECTURES.get(system.machine, system.machine),
    }
    return {
        "Client": {**common, "PythonVersion": ".".join(map(str, sys.version_info[:3]))},
        "Server": {**common, "KernelVersion": system.release},
    }


VERSION = Command(
    version,
    "[OPTIONS]",
    "Show the version information",
    '  -f, --format string   Format output: "json", or a Go template\n',
    maximum=0,
)
