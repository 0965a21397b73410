"""Help pages of the program and its groups, and what is said to a command that is not there."""

from __future__ import annotations

import sys

from inception.cli.commands import ABSENT, ALIASES, COMMANDS, COMMON, GROUPS, SHORTCUTS, names_of, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.cli.flags import Command

PROGRAM = "inception"

_GLOBAL = """\
Global Options:
  -c, --context string    Work on the engine of this context of docker's (env DOCKER_CONTEXT)
      --config string     Folder of log-ins and contexts (default "~/.docker")
  -D, --debug             Show the chain of causes below an error
  -H, --host string       Work on the engine at this address (env DOCKER_HOST): unix:///PATH, tcp://HOST:PORT, ssh://HOST
  -l, --log-level string  Docker's levels; debug is --debug
      --root string       Where images, volumes and containers are kept (env INCEPTION_ROOT)
                          (default "/var/lib/inception")
      --run-root string   Where the state of what runs is kept (env INCEPTION_RUN_ROOT)
                          (default "/run/inception")
      --tls, --tlsverify, --tlscacert, --tlscert, --tlskey
                          Certificates for a tcp address, as docker takes them
  -v, --version           Print version information and quit
"""


def command(of: Command, path: str, name: str) -> str:
    """The page of one verb; *name* is its place in the table, empty for verbs of a group with a parser of its own."""
    names = names_of(name) if name else []
    aliases = ", ".join(f"{PROGRAM} {each}" for each in names) if len(names) > 1 else ""
    return of.help(path, aliases)


def _summary(name: str) -> str:
    return COMMANDS[SHORTCUTS.get(name, name)][1]


def _section(title: str, rows: list[tuple[str, str]], width: int = 12) -> str:
    return f"{title}:\n" + "".join(f"  {name.ljust(width)}{summary}\n" for name, summary in rows)


def top() -> str:
    single = [name for name in COMMANDS if " " not in name]
    managing = sorted([*GROUPS.items(), ("compose", _summary("compose"))])
    rest = sorted(name for name in [*SHORTCUTS, *single] if name not in COMMON and name != "compose")
    return "\n".join(
        [
            f"Usage:  {PROGRAM} [OPTIONS] COMMAND\n",
            "Containers without a daemon\n",
            _section("Common Commands", [(name, _summary(name)) for name in COMMON]),
            _section("Management Commands", managing),
            _section("Commands", [(name, _summary(name)) for name in rest]),
            _GLOBAL,
            f"Run '{PROGRAM} COMMAND --help' for more information on a command.\n",
        ]
    )


def group(name: str) -> str:
    rows = sorted((full.partition(" ")[2], text) for full, (_, text) in COMMANDS.items() if full.startswith(name + " "))
    return "\n".join(
        [
            f"Usage:  {PROGRAM} {name} COMMAND\n",
            f"{GROUPS[name]}\n",
            _section("Commands", rows),
            f"Run '{PROGRAM} {name} COMMAND --help' for more information on a command.\n",
        ]
    )


def of(words: list[str]) -> str:
    """The page that `inception help WORDS` asks for; empty for none."""
    from inception.cli.main import load

    name, count = resolve(words)
    if name:
        return command(load(name), " ".join([PROGRAM, *words[:count]]), name)
    return group(words[0]) if words[0] in GROUPS else top() if words[0].startswith("-") else ""


def without_command(words: list[str]) -> int:
    """What is said when *words* name no verb: a page, or a complaint that knows what was probably meant."""
    words = [word for word in words if word not in ("--help", "-h")] if words[1:] else words
    if not words:
        print(top(), end="")
        return 0
    if words[0] in GROUPS and len(words) == 1:
        print(group(words[0]), end="")
        return 0
    if words[0] in ABSENT:
        print(f"{PROGRAM}: '{words[0]}' is not supported: {ABSENT[words[0]]}", file=sys.stderr)
        return 1
    if words[0] in GROUPS:
        known = [n.partition(" ")[2] for n in (*COMMANDS, *ALIASES) if n.startswith(words[0] + " ")]
        wrong, path = words[1], f"{PROGRAM} {words[0]}"
        message = f"unknown command: {path} {wrong}"
    else:
        known = [*SHORTCUTS, *GROUPS, *(n for n in COMMANDS if " " not in n)]
        wrong, path = words[0], PROGRAM
        message = f"unknown command: {PROGRAM} {wrong}"
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    from difflib import get_close_matches

    from inception.cli.flags import more

    close = get_close_matches(wrong, known, n=1)
    if close:
        print(f"hint: did you mean '{path} {close[0]}'?", file=sys.stderr)
    if path != PROGRAM:
        print(f"\nUsage:  {path} COMMAND", file=sys.stderr)
    print(more(path), file=sys.stderr)
    return 1
