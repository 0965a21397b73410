"""Docker's build checks (`rules.py`): for `build --check`, and as warnings of a build.

Source: the build checks of the Dockerfile reference (`# check=skip=RULE,...;error=true`).
"""

from __future__ import annotations

from inception.build.directives import ALL, parse_check_options
from inception.build.parse import parse_dockerfile
from inception.build.plan import CHECK_ARG
from inception.build.rules import Checker, Warning
from inception.build.source import DockerfileError
from inception.errors import InceptionError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inception.build.config import BuildConfig
    from inception.build.context import Context
    from inception.build.parse import Dockerfile
    from inception.engine import Engine
    from inception.store.images import Images

_EXPERIMENTAL = ("invaliddefinitiondescription", "copyignoredfile")


def check(engine: Engine, config: BuildConfig) -> list[Warning]:
    """The warnings of the Dockerfile that *config* names, in the order of its lines. Raises DockerfileError."""
    from inception.build.context import open_context

    with engine.store.scratch() as scratch:
        context = open_context(engine.store, config, scratch)
        try:
            return check_context(engine.store.images, context, config)
        finally:
            context.close()


def check_context(images: Images, context: Context, config: BuildConfig) -> list[Warning]:
    return check_file(read_checked(context, config), context, lambda name: variables_of(images, name))


def read_checked(context: Context, config: BuildConfig) -> Dockerfile:
    """The Dockerfile, with the checks that the build's arguments ask for in place of its own. Raises DockerfileError."""
    file = parse_dockerfile(context.dockerfile, context.name)
    asked = config.build_args.get(CHECK_ARG, "")
    if asked:
        try:
            file.checks = parse_check_options(asked)
        except ValueError as error:
            raise InvalidArgument(f"build argument {CHECK_ARG}: {error}") from None
    return file


def check_for_build(file: Dockerfile, context: Context, images: Images) -> list[str]:
    """The warnings in a line each. Raises DockerfileError where they are errors."""
    found = check_file(file, context, lambda name: variables_of(images, name))
    if found and file.checks.error:
        rules = ", ".join(dict.fromkeys(warning.rule for warning in found))
        said = "\n".join(warning.short for warning in found)
        line = found[0].line
        raise DockerfileError(f"lint violation found for rules: {rules}", file.source, line, line, hint=said)
    return [warning.short for warning in found]


def variables_of(images: Images, name: str) -> set[str] | None:
    """The names of the variables that the image *name* sets; None when it isn't here."""
    try:
        found = images.resolve(name).document.config.env
    except InceptionError:
        return None
    return {text.partition("=")[0] for text in found}


def check_file(
    file: Dockerfile, context: Context | None = None, environment: Callable[[str], set[str] | None] = lambda _name: None
) -> list[Warning]:
    """The warnings of *file*; *context* is for what is copied although it is ignored. *environment* knows the variables that a
    base image sets; None when it isn't here."""
    skipped, tried = file.checks.skipped, file.checks.experimental

    def counts(rule: str) -> bool:
        if rule in tried or (rule in _EXPERIMENTAL and ALL in tried):  # whatever else is skipped
            return True
        return rule not in _EXPERIMENTAL and ALL not in skipped and rule not in skipped

    found = [*_from_parser(file), *Checker(file, context, environment).run()]
    return sorted([warning for warning in found if counts(warning.rule.lower())], key=lambda warning: warning.line)


def _from_parser(file: Dockerfile) -> Iterator[Warning]:
    for first, last in file.empty_continuations:
        yield Warning(
            rule="NoEmptyContinuation",
            message="Empty continuation line",
            line=last,
            excerpt=file.source.excerpt(first, last),
        )
