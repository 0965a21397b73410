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
    from inception.build.plan import BuildPlan, StagePlan
    from inception.engine import Engine
    from inception.store.images import Images

_EXPERIMENTAL = ("invaliddefinitiondescription", "copyignoredfile")


def check(engine: Engine, config: BuildConfig) -> list[Warning]:
    """The warnings of the Dockerfile that *config* names, in the order of its lines. Raises DockerfileError, which has those of
    what was read before it: `warnings_before`."""
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
    try:
        file = parse_dockerfile(context.dockerfile, context.name)
    except DockerfileError as error:
        if error.before is not None:
            _take_options(error.before, config)
        raise
    _take_options(file, config)
    return file


def _take_options(file: Dockerfile, config: BuildConfig) -> None:
    asked = config.build_args.get(CHECK_ARG, "")
    if asked:
        try:
            file.checks = parse_check_options(asked)
        except ValueError as error:
            raise InvalidArgument(f"build argument {CHECK_ARG}: {error}") from None


def warnings_before(error: DockerfileError) -> list[Warning]:
    """What could be said of the Dockerfile up to the line that it couldn't be read from."""
    return check_file(error.before) if error.before is not None else []


def check_for_build(plan: BuildPlan, context: Context, images: Images) -> list[str]:
    """The warnings of what the build makes, in a line each. Raises DockerfileError where they are errors."""
    file = plan.file
    stages = {stage.index for stage in plan.stages}
    found = check_file(file, context, lambda name: variables_of(images, name))
    found = [warning for warning in found if warning.stage < 0 or warning.stage in stages]
    found += [warning for stage in plan.stages for warning in _base_platform(file, stage) if _counts(file, warning)]
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
    found = [*_from_parser(file), *Checker(file, context, environment).run()]
    return sorted([warning for warning in found if _counts(file, warning)], key=lambda warning: warning.line)


def _counts(file: Dockerfile, warning: Warning) -> bool:
    rule, skipped, tried = warning.rule.lower(), file.checks.skipped, file.checks.experimental
    if rule in tried or (rule in _EXPERIMENTAL and ALL in tried):  # whatever else is skipped
        return True
    return rule not in _EXPERIMENTAL and ALL not in skipped and rule not in skipped


def _base_platform(file: Dockerfile, stage: StagePlan) -> Iterator[Warning]:
    """An image is what its name means here, whatever machine it is for."""
    if stage.image is None or not stage.image.document.architecture:
        return
    document = stage.image.document
    is_for = f"{document.os}/{document.architecture}"
    if stage.platform.split("/")[:2] != [document.os, document.architecture]:
        yield Warning(
            rule="InvalidBaseImagePlatform",
            message=f'Base image {stage.title.removeprefix("FROM ")} was pulled with platform "{is_for}", '
            f'expected "{stage.platform}" for current build',
            line=stage.first_line,
            excerpt=file.source.excerpt(stage.first_line, stage.last_line),
        )


def _from_parser(file: Dockerfile) -> Iterator[Warning]:
    for first, last in file.empty_continuations:
        yield Warning(
            rule="NoEmptyContinuation",
            message="Empty continuation line",
            line=last,
            excerpt=file.source.excerpt(first, last),
        )
