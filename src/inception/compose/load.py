"""From files to one canonical tree, then to a `Project`.

    files ──▶ YAML ──▶ interpolate ──▶ schema ──▶ canonical ──▶ include, extends ──▶ merge ──▶ normalise, check ──▶ Project
              each file by itself, so that errors name it                            over one another

The documents of one file (between lines of `---`) are merged as if each were a file.

Nothing here writes, or asks the engine: `inception compose config` needs neither root nor a store.
"""

from __future__ import annotations

import os
import re
import sys

from inception.compose.canonical import Context, canonicalise
from inception.compose.dotenv import load_dotenv
from inception.compose.errors import ComposeFileError
from inception.compose.interpolate import interpolate, untouched
from inception.compose.merge import merge, merge_service
from inception.compose.model import Project
from inception.compose.normalise import normalise
from inception.compose.support import check_support
from inception.compose.validate import check_document
from inception.compose.yaml import MAX_BYTES, Map, check_keys, parse
from inception.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from inception.compose.yaml import Place

DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_FILES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
_SECTIONS = ("services", "networks", "volumes", "secrets", "configs", "models")
_MAX_INCLUDES = 100
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def warn_on_stderr(text: str) -> None:
    print(f"WARN: {text}", file=sys.stderr)


class FileMissing(NotFound):
    """No file was named, and none is here."""


def load(
    files: Sequence[str] = (),
    *,
    env: dict[str, str] | None = None,
    env_files: Sequence[str] | None = None,
    project_name: str = "",
    project_directory: str = "",
    profiles: Sequence[str] = (),
    services: Sequence[str] = (),
    interpolated: bool = True,
    all_resources: bool = False,
    warn: Callable[[str], None] = warn_on_stderr,
) -> Project:
    """The project that *files* describe, as `docker compose -f ... -p ... --profile ...` would read it.

    Without files `COMPOSE_FILE`, then the default names in the working directory and its parents are looked at. *env* is the
    process's environment by default; it wins over `.env` and *env_files*. *services* are names that a command was given:
    their profiles become active.

    Raises ComposeFileError with file and line, NotFound when there is no file, InvalidArgument for names.
    """
    try:
        return _load(
            files, env, env_files, project_name, project_directory, profiles, services, interpolated, all_resources, warn
        )
    except RecursionError:
        # `extends` and `depends_on` chains as long as a file may hold; what a person writes is a dozen.
        raise ComposeFileError("services refer to one another more deeply than can be followed") from None


def _load(
    files: Sequence[str],
    env: dict[str, str] | None,
    env_files: Sequence[str] | None,
    project_name: str,
    project_directory: str,
    profiles: Sequence[str],
    services: Sequence[str],
    interpolated: bool,
    all_resources: bool,
    warn: Callable[[str], None],
) -> Project:
    outside = dict(os.environ) if env is None else dict(env)
    paths, directory = find_files(files, project_directory, outside, warn)
    variables = project_environment(directory, outside, env_files, warn)
    if not files and "COMPOSE_FILE" in variables and "COMPOSE_FILE" not in outside:
        paths, directory = find_files(files, project_directory, variables, warn)
    loader = _Loader(variables, warn, interpolated)
    name = _project_name(project_name, variables, paths, directory, loader)
    variables["COMPOSE_PROJECT_NAME"] = name
    tree = loader.unit(paths, directory, variables)
    check_support(tree)
    active = [*profiles, *filter(None, variables.get("COMPOSE_PROFILES", "").split(","))]
    return normalise(
        tree,
        name=name,
        directory=directory,
        files=paths,
        environment=variables,
        profiles=active,
        services=list(services),
        all_resources=all_resources,
        warn=warn,
    )


# ---- finding files and variables ----------------------------------------------------------------------------------------


def find_files(
    files: Sequence[str], project_directory: str, env: dict[str, str], warn: Callable[[str], None]
) -> tuple[list[str], str]:
    """The absolute paths of the Compose files, and the project directory. `-` is standard input."""
    here = os.getcwd()
    if not files and env.get("COMPOSE_FILE"):
        files = env["COMPOSE_FILE"].split(env.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)
    if files:
        paths = [path if path == "-" else os.path.abspath(path) for path in files]
    else:
        paths = _default_files(os.path.abspath(project_directory) if project_directory else here, warn)
    if project_directory:
        return paths, os.path.abspath(project_directory)
    return paths, here if paths[0] == "-" else os.path.dirname(paths[0])


def _default_files(start: str, warn: Callable[[str], None]) -> list[str]:
    directory = start
    while True:
        found = [name for name in DEFAULT_FILES if os.path.isfile(os.path.join(directory, name))]
        if found:
            break
        parent = os.path.dirname(directory)
        if parent == directory:
            raise FileMissing(
                "no configuration file provided: not found",
                "name one with -f, or go to the folder of a compose.yaml",
            )
        directory = parent
    if len(found) > 1:
        warn(f"Found multiple config files with supported names: {', '.join(found)}; using {found[0]}")
    overrides = [name for name in OVERRIDE_FILES if os.path.isfile(os.path.join(directory, name))]
    return [os.path.join(directory, name) for name in (*found[:1], *overrides[:1])]


def project_environment(
    directory: str, outside: dict[str, str], env_files: Sequence[str] | None, warn: Callable[[str], None]
) -> dict[str, str]:
    """The variables of the files, and over them those of the process."""
    if not env_files and outside.get("COMPOSE_ENV_FILES"):
        env_files = outside["COMPOSE_ENV_FILES"].split(",")
    variables: dict[str, str] = {}
    if env_files:
        for path in env_files:
            try:
                variables.update(load_dotenv(os.path.abspath(path), {**variables, **outside}, warn))
            except OSError as error:
                raise NotFound(f"couldn't find env file: {os.path.abspath(path)}: {error.strerror}") from None
    else:
        default = os.path.join(directory, ".env")
        if os.path.isfile(default):
            variables = load_dotenv(default, outside, warn)
    return {**variables, **outside}


def _project_name(given: str, env: dict[str, str], paths: list[str], directory: str, loader: _Loader) -> str:
    """`-p`, COMPOSE_PROJECT_NAME, the last `name:` in the files, or the project directory's name made fit."""
    name = given or env.get("COMPOSE_PROJECT_NAME", "")
    if not name:
        for path in paths:
            written = loader.top_level_name(path)
            name = _plain_name(written) or name
    if name:
        if not _PROJECT_NAME.fullmatch(name):
            raise InvalidArgument(
                f'invalid project name "{name}": must consist only of lowercase alphanumeric characters, hyphens, and '
                "underscores as well as start with a letter or number"
            )
        return name
    name = _plain_name(os.path.basename(os.path.abspath(directory)))
    if not name:
        raise InvalidArgument("project name must not be empty", "give one with -p, or with name: in the Compose file")
    return name


# ---- reading files ------------------------------------------------------------------------------------------------------


def _plain_name(text: str) -> str:
    """*text* as a project's name: what a name can't hold is left out."""
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")


class _Loader:
    def __init__(self, env: dict[str, str], warn: Callable[[str], None], interpolated: bool) -> None:
        self.env, self.interpolated = env, interpolated
        self.texts: dict[str, list[Map]] = {}
        self.warned: set[str] = set()
        self.tell = warn
        self.including: list[str] = []
        self.included = 0

    def warn(self, text: str) -> None:
        if text not in self.warned:
            self.warned.add(text)
            self.tell(text)

    def unit(self, paths: list[str], directory: str, env: dict[str, str]) -> Map:
        """Files that are merged over one another, in canonical form, with what they include and extend."""
        merged = Map()
        for path in paths:
            for document in self.documents(path):
                merged = merge(merged, self.complete(document, path, directory, env, over=bool(merged)))
        return merged

    def documents(self, path: str) -> list[Map]:
        """The file as it is written; parsed once, the result is not to be changed."""
        if path not in self.texts:
            trees = parse(_read(path), path)
            if trees in ([], [None]):
                raise ComposeFileError(f"{path}: empty compose file")
            for tree in trees:
                if not isinstance(tree, Map):
                    raise ComposeFileError(f"{path}: top-level object must be a mapping")
                check_keys(tree)
            self.texts[path] = trees
        return self.texts[path]

    def top_level_name(self, path: str) -> str:
        """The last `name` in the file."""
        for document in reversed(self.documents(path)):
            name = document.get("name")
            if isinstance(name, str):
                only = Map(document.place)
                only.put("name", name, document.place_of("name"))
                return str(interpolate(only, self.env, self.warn)["name"])
        return ""

    def complete(self, document: Map, path: str, directory: str, env: dict[str, str], *, over: bool) -> Map:
        """A document in canonical form, with what it includes and extends."""
        tree = self.plain(document, path, directory, env, over=over)
        tree = self.include(tree, path, directory, env)
        services = tree.get("services")
        if services:
            resolved = Map(services.place)
            resolved.reset, resolved.override = services.reset, services.override
            for name in services:
                resolved.put(name, self.extended(tree, name, path, env, []), services.place_of(name))
            tree["services"] = resolved
        return tree

    def extended_file(self, path: str, env: dict[str, str]) -> Map:
        """A file that `extends` names, its documents merged: what they extend themselves is still to be looked up."""
        merged = Map()
        for document in self.documents(path):
            merged = merge(merged, self.plain(document, path, os.path.dirname(path), env, over=bool(merged)))
        return merged

    def plain(self, document: Map, path: str, directory: str, env: dict[str, str], *, over: bool) -> Map:
        """A document in canonical form; `include` and `extends` are still in it. Nothing, in one that lies *over* another,
        leaves what that one says."""
        if "version" in document:
            self.warn(
                f"{path}: the attribute `version` is obsolete, it will be ignored, "
                "please remove it to avoid potential confusion"
            )
        tree = interpolate(document, env, self.warn) if self.interpolated else untouched(document)
        tree.pop("version", None)
        if over:
            _drop_nothings(tree)
        check_document(tree, path)
        return canonicalise(tree, Context(directory, env))

    def extended(self, tree: Map, name: str, path: str, env: dict[str, str], chain: list[tuple[str, str]]) -> Map:
        """Service *name* of the file's *tree* over what it extends."""
        service: Map = tree["services"][name]
        if "extends" not in service:
            return service
        place = service.place_of("extends")
        if (path, name) in chain:
            steps = [*chain[chain.index((path, name)) :], (path, name)]
            lines = [f"  {'extends ' if i else ''}{step_name} in {step_path}" for i, (step_path, step_name) in enumerate(steps)]
            raise ComposeFileError("Circular reference:\n" + "\n".join(lines), place)
        extends = service["extends"]
        other, other_path = (extends, "") if isinstance(extends, str) else (extends["service"], extends.get("file", ""))
        other_tree, file = tree, path
        if other_path:
            _refuse_remote(other_path, "extends", place)
            file = os.path.normpath(os.path.join(os.path.dirname(path), other_path))
            other_tree = self.opened(file, place, lambda: self.extended_file(file, env))
        if other not in other_tree.get("services", {}):
            raise ComposeFileError(f'cannot extend service "{name}" in {path}: service "{other}" not found', place)
        base = self.extended(other_tree, other, file, env, [*chain, (path, name)])
        inherited = Map(base.place)
        for key, value in base.items():
            inherited.put(key, value, base.place_of(key))
        own = Map(service.place)
        own.reset, own.override = service.reset, service.override
        for key, value in service.items():
            if key != "extends":
                own.put(key, value, service.place_of(key))
        inherited.pop("extends", None)
        return merge_service(inherited, own)

    def include(self, tree: Map, path: str, directory: str, env: dict[str, str]) -> Map:
        """What `include` names, copied in; a name that is there already, and different, is a conflict."""
        entries = tree.pop("include", None)
        for entry, place in entries.items() if entries else ():
            self.included += 1
            if path in self.including:
                raise ComposeFileError("include cycle detected:\n  " + "\n  includes ".join([*self.including, path]), place)
            if self.included > _MAX_INCLUDES:
                raise ComposeFileError(f"more than {_MAX_INCLUDES} includes", place)
            self.including.append(path)
            other = self.included_unit(entry, directory, env, place)
            self.including.pop()
            for section in _SECTIONS:
                for name, value in other.get(section, {}).items():
                    mine = tree.setdefault(section, Map(place))
                    if name in mine and mine[name] != value:
                        raise ComposeFileError(f"{section}.{name} conflicts with imported resource", place)
                    mine.put(name, value, other[section].place_of(name))
        return tree

    def included_unit(self, entry: Any, directory: str, env: dict[str, str], place: Place | None) -> Map:
        paths, base, env_files = entry, "", None
        if isinstance(entry, Map):
            paths, base, env_files = entry.get("path"), entry.get("project_directory", ""), entry.get("env_file")
        listed = [paths] if isinstance(paths, str) else list(paths or ())
        if not listed:
            raise ComposeFileError("include: path is missing", place)
        for each in listed:
            _refuse_remote(each, "include", place)
        files = [os.path.normpath(os.path.join(directory, each)) for each in listed]
        base = os.path.normpath(os.path.join(directory, base)) if base else os.path.dirname(files[0])
        names = [env_files] if isinstance(env_files, str) else list(env_files or ())
        given = [os.path.normpath(os.path.join(directory, each)) for each in names]
        variables = project_environment(base, {k: v for k, v in env.items() if k != "COMPOSE_ENV_FILES"}, given, self.warn)
        return self.opened(files[0], place, lambda: self.unit(files, base, variables))

    def opened(self, path: str, place: Place | None, read: Callable[[], Map]) -> Map:
        try:
            return read()
        except NotFound as error:
            raise ComposeFileError(str(error), place) from None


def _drop_nothings(tree: Map) -> None:
    services = tree.get("services")
    for service in services.values() if isinstance(services, Map) else ():
        if isinstance(service, Map):
            for key in [key for key, value in service.items() if value is None and key not in ("command", "entrypoint")]:
                if key not in service.reset:
                    del service[key]


def _refuse_remote(path: str, what: str, place: Place | None) -> None:
    # A remote file could name local ones (CVE-2025-62725 and its kin); none is fetched at all.
    if "://" in path or path.startswith("git@") or "\0" in path:
        raise ComposeFileError(f"{what}: remote resource {path!r} is not supported", place)


def read_trees(path: str) -> list[Any]:
    """The documents of a file as they are written, without a look at what they say."""
    return parse(_read(path), path)


def _read(path: str) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NotFound(f"open {path}: {(error.strerror or 'error').lower()}") from None
