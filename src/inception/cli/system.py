"""`info`, `resume`."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def info(call: Call) -> int:
    facts = call.engine.system.info()
    text = call.flags.text("format")
    if text:
        from inception.cli.template import Template
        from inception.cli.template_values import to_json

        write((to_json(facts) if text == "json" else Template(text).render(facts)) + "\n")
        return 0
    write("".join(line + "\n" for line in _lines(facts)))
    return 0


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """A nested document as indented `key: value` lines."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(value, indent + " ")]
        elif isinstance(value, list) and value and isinstance(value[0], (dict, list)):
            lines += [f"{indent}{key}:", *(f"{indent} {' '.join(map(str, item))}" for item in value)]
        elif isinstance(value, list):
            lines.append(f"{indent}{key}: {' '.join(map(str, value))}".rstrip())
        else:
            lines.append(f"{indent}{key}: {str(value).lower() if isinstance(value, bool) else value}")
    return lines


def resume(call: Call) -> int:
    for name in call.engine.system.resume():
        print(name)
    return 0


INFO = Command(
    info,
    "[OPTIONS]",
    "Display system-wide information",
    '  -f, --format string   Format output: "json", or a Go template\n',
    maximum=0,
)
RESUME = Command(resume, "", "Start again what should run, after a reboot or a crash", maximum=0)
