"""What the log options `labels`, `labels-regex`, `env`, `env-regex` and `tag` add to each line of a container's log.

Docker's json-file driver writes it into every record as `attrs`; `logs --details` shows it before the line.
"""

from __future__ import annotations

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerConfig
    from inception.engine.records import ContainerRecord

#: The options that say what is added.
OPTIONS = ("labels", "labels-regex", "env", "env-regex", "tag")


def check_tags(config: ContainerConfig) -> None:
    """Raises InvalidArgument for an expression or a template that can't be read."""
    options = config.log.options
    for name in ("labels-regex", "env-regex"):
        if name in options:
            import re

            try:
                re.compile(options[name])
            except re.error as error:
                raise InvalidArgument(f"log opt {name}: {options[name]!r}: {error}") from None
    _expand(options.get("tag", ""), dict.fromkeys(_FIELDS, ""))


def log_attributes(record: ContainerRecord) -> dict[str, str]:
    """By name, in the order of the alphabet; nothing for most containers."""
    config = record.config
    options = config.log.options
    found: dict[str, str] = {}
    if not any(name in options for name in OPTIONS):
        return found
    env = dict(item.partition("=")[::2] for item in config.env if "=" in item)
    for values, name in ((config.labels, "labels"), (env, "env")):
        wanted = [word.strip() for word in options.get(name, "").split(",")]
        found.update((key, value) for key, value in values.items() if key in wanted)
        if options.get(f"{name}-regex"):
            import re

            pattern = re.compile(options[f"{name}-regex"])
            found.update((key, value) for key, value in values.items() if pattern.search(key))
    if "tag" in options:
        found["tag"] = _expand(options["tag"], _fields(record))
    return dict(sorted(found.items()))


_FIELDS = ("ID", "FullID", "Name", "Command", "ImageID", "ImageFullID", "ImageName", "DaemonName")


def _fields(record: ContainerRecord) -> dict[str, str]:
    from inception.engine.merge import arguments

    return {
        "ID": record.id[:12],
        "FullID": record.id,
        "Name": record.name,
        "Command": " ".join(arguments(record.config)),
        "ImageID": record.image_id.removeprefix("sha256:")[:12],
        "ImageFullID": record.image_id,
        "ImageName": record.config.image,
        "DaemonName": "inception",
    }


def _expand(text: str, fields: dict[str, str]) -> str:
    """*text* with `{{.Name}}` and its like replaced."""
    if "{{" not in text:
        return text
    import re

    def value(match: re.Match[str]) -> str:
        if match[1] not in fields:
            raise InvalidArgument(f"log opt tag: {{{{.{match[1]}}}}} is not known", f"known are {', '.join(_FIELDS)}")
        return fields[match[1]]

    expanded = re.sub(r"\{\{\s*\.(\w+)\s*\}\}", value, text)
    if "{{" in expanded and "{{" not in "".join(fields.values()):
        raise InvalidArgument(f"log opt tag: {text!r}: only fields like {{{{.Name}}}} are supported")
    return expanded
