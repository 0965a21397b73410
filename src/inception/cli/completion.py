"""`completion`: scripts for bash, zsh and fish, made from the table of verbs and their options pages.

The script holds the verbs and flags; names of containers, images, networks and volumes are asked for when they are needed.
"""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.commands import COMMANDS, GROUPS, SHORTCUTS
from inception.cli.flags import Command
from inception.errors import InvalidArgument

_NAMES = {"CONTAINER": "ps -a --format {{.Names}}", "IMAGE": "images --format {{.Repository}}:{{.Tag}}"}
_NAMES |= {"NETWORK": "network ls --format {{.Name}}", "VOLUME": "volume ls -q"}


def completion(call: Call) -> int:
    shell = call.arguments[0]
    if shell not in _SCRIPTS:
        raise InvalidArgument(f"no completion for {shell}", "it is there for bash, zsh and fish")
    print(_SCRIPTS[shell](), end="")
    return 0


def _verbs() -> dict[str, list[str]]:
    """What may follow a word: the empty word is the program itself, the others are groups."""
    found = {"": sorted({*SHORTCUTS, *GROUPS, *(name for name in COMMANDS if " " not in name)})}
    for group in GROUPS:
        found[group] = sorted(name.partition(" ")[2] for name in COMMANDS if name.startswith(group + " "))
    return found


def _options() -> dict[str, tuple[list[str], str]]:
    """For each way to call a verb, its flags and the command that lists what its first argument may be."""
    from inception.cli.main import load

    found = {}
    for path in sorted({*COMMANDS, *SHORTCUTS}):
        try:
            command = load(SHORTCUTS.get(path, path))
        except ImportError:
            continue
        flags = [f"--{name}" for name in command.table()] + [
            f"-{flag.short}" for flag in command.table().values() if flag.short
        ]
        lister = next((lister for word, lister in _NAMES.items() if word in command.usage.replace("[OPTIONS]", "")), "")
        found[path] = (flags, lister)
    return found


def _bash() -> str:
    cases = "".join(f"    {name or 'inception'}) verbs='{' '.join(verbs)}' ;;\n" for name, verbs in _verbs().items())
    options = "".join(
        f"    '{path}') flags='{' '.join(flags)}'; lister='{lister}' ;;\n" for path, (flags, lister) in _options().items()
    )
    return f"""\
# bash completion of inception: eval "$(inception completion bash)"
_inception() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} word path='' verbs='' flags='' lister='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${{COMP_WORDS[i]}}
    [[ $word == -* ]] && continue
    if [[ -z $path ]]; then path=$word
    elif [[ " {" ".join(GROUPS)} " == *" $path "* ]]; then path="$path $word"
    fi
  done
  case ${{path:-inception}} in
{cases}  esac
  case $path in
{options}  esac
  if [[ -n $verbs ]]; then COMPREPLY=($(compgen -W "$verbs" -- "$cur"))
  elif [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$cur"))
  elif [[ -n $lister ]]; then COMPREPLY=($(compgen -W "$(inception $lister 2>/dev/null)" -- "$cur"))
  fi
}}
complete -o default -F _inception inception
"""


def _zsh() -> str:
    return (
        "# zsh completion of inception: source <(inception completion zsh)\nautoload -U +X bashcompinit && bashcompinit\n"
        + _bash()
    )


def _fish() -> str:
    lines = ["# fish completion of inception: inception completion fish | source", "complete -c inception -f"]
    for group, verbs in _verbs().items():
        condition = f"__fish_seen_subcommand_from {group}" if group else "__fish_use_subcommand"
        for verb in verbs:
            full = f"{group} {verb}".strip()
            summary = GROUPS.get(full) or COMMANDS[SHORTCUTS.get(full, full)][1]
            lines.append(f"complete -c inception -n '{condition}' -a {verb} -d {_fish_quoted(summary)}")
    for path, (flags, lister) in _options().items():
        condition = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in path.split())
        for flag in flags:
            kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            lines.append(f"complete -c inception -n '{condition}' {kind}")
        if lister:
            lines.append(f"complete -c inception -n '{condition}' -a '(inception {lister} 2>/dev/null)'")
    return "\n".join(lines) + "\n"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}

COMPLETION = Command(
    completion,
    "bash|zsh|fish",
    "Print a completion script for bash, zsh or fish",
    minimum=1,
    maximum=1,
)
