"""`--change` of `commit` and `import`: the Dockerfile instructions that only change an image's configuration."""

from __future__ import annotations

import shlex

from inception.engine.merge import clean, merge_env
from inception.errors import InvalidArgument
from inception.jsontext import loads
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.oci.image import ImageConfig

_SHELL = ["/bin/sh", "-c"]
# Whose `$` is for a shell to come.
_LITERAL = ("CMD", "ENTRYPOINT", "HEALTHCHECK", "ONBUILD")


def apply_changes(config: ImageConfig, changes: list[str]) -> ImageConfig:
    """*config* after *changes*, in order. Raises InvalidArgument for an instruction that is none of these."""
    for text in changes:
        name, _, rest = text.strip().partition(" ")
        change = _CHANGES.get(name.upper())
        if change is None:
            raise InvalidArgument(f"{name} is not a valid change command", f"valid are {', '.join(sorted(_CHANGES))}")
        if not rest.strip():
            raise InvalidArgument(f"{name.upper()} requires at least one argument")
        rest = rest if name.upper() in _LITERAL else _expand(rest, config.env)
        try:
            config = change(config, rest.strip())
        except ValueError as error:
            raise InvalidArgument(f"{name.upper()} {rest.strip()}: {error}") from error
    return config


def _expand(text: str, env: list[str]) -> str:
    """*text* with `$NAME` and `${NAME}` from *env*; what single quotes hold or a backslash precedes stays."""
    import re

    values = dict(item.partition("=")[::2] for item in env)

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return values.get(name, "") if name else match[0]

    return re.sub(r"'[^']*'|\\.|\$(?:\{(\w+)\}|(\w+))", value, text)


def _command(text: str) -> list[str]:
    """The exec form is a JSON list of strings; everything else is the shell's."""
    if text.startswith("["):
        try:
            words = loads(text)
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return [*_SHELL, text]


def _pairs(text: str) -> list[str]:
    """`KEY=value ...` with quotes, or the old `KEY the rest`."""
    words = shlex.split(text)
    if words and "=" not in words[0]:
        key, _, value = text.partition(" ")
        return [f"{key}={value.strip()}"]
    for word in words:
        if "=" not in word:
            raise ValueError(f"can't find = in {word!r}")
    return words


def _paths(text: str) -> list[str]:
    if text.startswith("["):
        paths = loads(text)
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise ValueError("expected a list of paths")
        return paths
    return text.split()


def _workdir(config: ImageConfig, text: str) -> ImageConfig:
    path = text if text.startswith("/") else f"{config.working_dir or '/'}/{text}"
    return replace(config, working_dir=clean(path))


def _health(config: ImageConfig, text: str) -> ImageConfig:
    from inception.oci.health import Healthcheck

    if text.upper() == "NONE":
        return replace(config, healthcheck=Healthcheck(test=["NONE"]))
    kind, _, rest = text.partition(" ")
    if kind.upper() != "CMD":
        raise ValueError("expected NONE or CMD and a command")
    command = _command(rest.strip())
    test = ["CMD-SHELL", command[2]] if command[:2] == _SHELL else ["CMD", *command]
    return replace(config, healthcheck=Healthcheck(test=test))


def _stop_signal(config: ImageConfig, text: str) -> ImageConfig:
    from inception.engine.validate import parse_signal

    parse_signal(text)
    return replace(config, stop_signal=text)


def _expose(config: ImageConfig, text: str) -> ImageConfig:
    from inception.network.ports import parse_expose

    ports: dict[str, dict[str, object]] = {port: {} for word in text.split() for port in parse_expose(word)}
    return replace(config, exposed_ports={**config.exposed_ports, **ports})


_CHANGES: dict[str, Callable[[ImageConfig, str], ImageConfig]] = {
    "CMD": lambda config, text: replace(config, cmd=_command(text)),
    "ENTRYPOINT": lambda config, text: replace(config, entrypoint=_command(text)),
    "ENV": lambda config, text: replace(config, env=merge_env(config.env, _pairs(text))),
    "EXPOSE": _expose,
    "HEALTHCHECK": _health,
    "LABEL": lambda config, text: replace(
        config, labels={**config.labels, **dict(pair.partition("=")[::2] for pair in _pairs(text))}
    ),
    "ONBUILD": lambda config, text: replace(config, on_build=[*config.on_build, text]),
    "STOPSIGNAL": _stop_signal,
    "USER": lambda config, text: replace(config, user=text),
    "VOLUME": lambda config, text: replace(config, volumes={**config.volumes, **{path: {} for path in _paths(text)}}),
    "WORKDIR": _workdir,
}
