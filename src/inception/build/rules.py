"""Docker's rules for Dockerfiles, in its words: one pass over a parsed file.

Source: the build checks of the Dockerfile reference.
"""

from __future__ import annotations

import os
import re

from inception.build.expand import ExpansionError, expand
from inception.build.ignore import clean
from inception.build.values import PREDEFINED
from inception.errors import InceptionError
from inception.oci.reference import Reference
from inception.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build.context import Context
    from inception.build.instruction import Instruction
    from inception.build.parse import Dockerfile

_RESERVED = ("scratch", "context")
_SECRET_WORDS = frozenset("apikey auth credential credentials key password pword passwd secret token".split())  # noqa: SIM905
_PUBLIC = "public"
_PAGE = "https://docs.docker.com/go/dockerfile/rule/"
_ONCE = ("CMD", "ENTRYPOINT", "HEALTHCHECK")
_VARIABLE = re.compile(r"(?<!\\)\$(?:\{(\w+)(:?[-+?])?|(\w+))")
_ALWAYS_KNOWN = {
    *(f"{kind}{name}" for kind in ("TARGET", "BUILD") for name in ("PLATFORM", "OS", "ARCH", "VARIANT")),
    "TARGETSTAGE",
}


# What each rule is about, for clients that list them.
DESCRIPTIONS = {
    "ConsistentInstructionCasing": "All commands within the Dockerfile should use the same casing (either upper or lower)",
    "CopyIgnoredFile": "Attempting to Copy file that is excluded by .dockerignore",
    "DuplicateStageName": "Stage names should be unique",
    "ExposeInvalidFormat": "IP address and host-port mapping should not be used in EXPOSE instruction. "
    "This will become an error in a future release",
    "ExposeProtoCasing": "Protocol in EXPOSE instruction should be lowercase",
    "FromAsCasing": "The 'as' keyword should match the case of the 'from' keyword",
    "FromPlatformFlagConstDisallowed": "FROM --platform flag should not use a constant value",
    "InvalidBaseImagePlatform": "Base image platform does not match expected target platform",
    "InvalidDefaultArgInFrom": "Default value for global ARG results in an empty or invalid base image name",
    "InvalidDefinitionDescription": "Comment for build stage or argument should follow the format: "
    "`# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment "
    "between the instruction and the comment.",
    "JSONArgsRecommended": "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    "LegacyKeyValueFormat": "Legacy key/value format with whitespace separator should not be used",
    "MaintainerDeprecated": "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    "MultipleInstructionsDisallowed": "Multiple instructions of the same type should not be used in the same stage",
    "NoEmptyContinuation": "Empty continuation lines will become errors in a future release",
    "RedundantTargetPlatform": "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default "
    "behavior",
    "ReservedStageName": "Reserved words should not be used as stage names",
    "SecretsUsedInArgOrEnv": "Sensitive data should not be used in the ARG or ENV commands",
    "StageNameCasing": "Stage names should be lowercase",
    "UndefinedArgInFrom": "FROM command must use declared ARGs",
    "UndefinedVar": "Variables should be defined before their use",
    "WorkdirRelativePath": "Relative workdir without an absolute workdir declared within the build can have unexpected results "
    "if the base image changes",
}
# A build says these of the stages that it makes alone.
_OF_A_STAGE = {
    "CopyIgnoredFile",
    "ExposeInvalidFormat",
    "ExposeProtoCasing",
    "JSONArgsRecommended",
    "LegacyKeyValueFormat",
    "MultipleInstructionsDisallowed",
    "SecretsUsedInArgOrEnv",
    "UndefinedVar",
    "WorkdirRelativePath",
}


class Warning(Record):
    """`short` is all of it in a line, as a build says it. `stage` is the number of the one that it counts for alone, -1 when it
    is about the file."""

    rule: str
    message: str
    line: int
    excerpt: str
    stage: int = -1

    @property
    def url(self) -> str:
        words = re.findall("[A-Z]+(?![a-z])|[A-Z][a-z]+", self.rule)
        return f"{_PAGE}{'-'.join(words).lower()}/"

    @property
    def short(self) -> str:
        return f"{self.rule}: {self.message} (line {self.line})"

    def __str__(self) -> str:
        return f"WARNING: {self.rule} - {self.url}\n{self.message}\n\n{self.excerpt}"


class _Inherited(Record):
    """What a stage knows, and hands to those that start from it: its variables, whether its base may have others that are not
    known here, and what was set in this file."""

    known: set[str] = set()
    has_base: bool = False
    workdir_set: bool = False
    shell_set: bool = False


class Checker:
    def __init__(self, file: Dockerfile, context: Context | None, environment: Callable[[str], set[str] | None]) -> None:
        self.environment = environment
        self.defaults: dict[str, str] = {}
        self.stages: dict[str, _Inherited] = {}
        self.file = file
        self.context = context
        self.found: list[Warning] = []
        self.global_args: set[str] = set()
        self.stage = _Inherited()
        self.stage_names: set[str] = set()
        self.seen_once: dict[str, Instruction] = {}
        self.in_stage = False
        self.number = -1

    def run(self) -> list[Warning]:
        self._casing()
        for instruction in self.file.instructions:
            self._variables(instruction)
            _CHECKS.get(instruction.name, _nothing)(self, instruction)
        return self.found

    def warn(self, rule: str, message: str, at: Instruction) -> None:
        excerpt = self.file.source.excerpt(at.first_line, at.last_line)
        stage = self.number if rule in _OF_A_STAGE else -1
        self.found.append(Warning(rule=rule, message=message, line=at.first_line, excerpt=excerpt, stage=stage))

    def _casing(self) -> None:
        words = [(each.original.split(None, 1)[0], each) for each in self.file.instructions]
        upper = sum(word.islower() for word, _ in words) <= sum(word.isupper() for word, _ in words)
        for word, each in words:
            if not (word.isupper() if upper else word.islower()):
                wanted = "uppercase" if upper else "lowercase"
                self.warn(
                    "ConsistentInstructionCasing",
                    f"Command '{word}' should match the case of the command majority ({wanted})",
                    each,
                )

    def _variables(self, at: Instruction) -> None:
        if at.name in ("RUN", "CMD", "ENTRYPOINT", "ONBUILD", "ARG", "HEALTHCHECK", "SHELL", "FROM", "MAINTAINER"):
            return
        texts = [*at.arguments, *(value or "" for _, value in at.pairs)]
        for text in texts:
            for match in _VARIABLE.finditer(text):
                name, default = match[1] or match[3], match[2]
                if not default and name not in self.stage.known and not self.stage.has_base:
                    near = _nearest(name, self.stage.known)
                    hint = f" (did you mean ${near}?)" if near else ""
                    self.warn("UndefinedVar", f"Usage of undefined variable '${name}'{hint}", at)

    # --- one instruction each ---

    def from_(self, at: Instruction) -> None:
        words = at.original.split()
        name = at.arguments[2] if len(at.arguments) == 3 else ""
        base = at.arguments[0]
        platform = at.flag("platform")
        declared = self.global_args | _ALWAYS_KNOWN
        for match in _VARIABLE.finditer(f"{platform} {base}"):
            variable = match[1] or match[3]
            if variable not in declared and not match[2]:
                near = _nearest(variable, declared)
                hint = f" (did you mean {near}?)" if near else ""
                self.warn("UndefinedArgInFrom", f"FROM argument '{variable}' is not declared{hint}", at)
        if platform in ("$TARGETPLATFORM", "${TARGETPLATFORM}"):
            self.warn(
                "RedundantTargetPlatform",
                f"Setting platform to predefined {platform} in FROM is redundant as this is the default behavior",
                at,
            )
        elif platform and "$" not in platform and not any(part in name for part in platform.lower().split("/")):
            # A stage that is called after its platform means it.
            self.warn("FromPlatformFlagConstDisallowed", f'FROM --platform flag should not use constant value "{platform}"', at)
        if name:
            self._stage_name(name, words, at)
        self._default_base(base, at)
        if name:
            self._described("FROM", [name], at)
        self.in_stage = True
        self.number += 1
        self.stage = self._inherited(base)
        if name:
            self.stages[name] = self.stage
        self.seen_once.clear()

    def _inherited(self, base: str) -> _Inherited:
        """What a stage starts with."""
        before = self.stages.get(base.lower())
        if before is not None:
            return replace(before, known={*before.known})
        named = self._with_defaults(base)
        own = set[str]() if base == "scratch" else self.environment(named) if named else None
        return _Inherited(known={"PATH", *PREDEFINED, *(own or ())}, has_base=own is None)

    def _with_defaults(self, text: str) -> str:
        try:
            return expand(text, {**dict.fromkeys(_ALWAYS_KNOWN, "linux"), **self.defaults}, self.file.escape)
        except ExpansionError:
            return ""

    def _default_base(self, base: str, at: Instruction) -> None:
        """Whether a base whose name has variables is an image's name with nothing but their defaults."""
        names = {match[1] or match[3] for match in _VARIABLE.finditer(base)}
        if not names or not names <= self.global_args | _ALWAYS_KNOWN:
            return
        named = self._with_defaults(base)
        try:
            if named != "scratch":
                Reference.parse(named)
        except InceptionError:
            self.warn(
                "InvalidDefaultArgInFrom", f"Default value for ARG {base} results in empty or invalid base image name", at
            )

    def _described(self, keyword: str, names: list[str], at: Instruction) -> None:
        """Whether the comment right above says what is called so: `# NAME what it is`."""
        lines = self.file.source.lines
        above = lines[at.first_line - 2].strip() if at.first_line > 1 else ""
        if not above.startswith("#") or re.match(r"#\s*(syntax|escape|check)\s*=", above):
            return
        text = above[1:].strip()
        if text and not any(text.startswith(f"{name} ") for name in names):
            example = names[0] if len(names) == 1 else "<arg_key>"
            self.warn(
                "InvalidDefinitionDescription",
                f"Comment for {keyword} should follow the format: `# {example} <description>`",
                at,
            )

    def _stage_name(self, name: str, words: list[str], at: Instruction) -> None:
        written = words[-1]
        if written != written.lower():
            self.warn("StageNameCasing", f"Stage name '{written}' should be lowercase", at)
        if words[-2].isupper() != words[0].isupper():
            self.warn("FromAsCasing", f"'{words[-2]}' and '{words[0]}' keywords' casing do not match", at)
        if name in _RESERVED:
            self.warn("ReservedStageName", f'Stage name should not use the same name as reserved stage "{name}"', at)
        if name in self.stage_names:
            self.warn("DuplicateStageName", f'Duplicate stage name "{name}", stage names should be unique', at)
        self.stage_names.add(name)

    def arg(self, at: Instruction) -> None:
        self._described("ARG", [name for name, _ in at.pairs], at)
        for name, value in at.pairs:
            (self.stage.known if self.in_stage else self.global_args).add(name)
            if not self.in_stage and value is not None:
                self.defaults[name] = self._with_defaults(value)
            self._secret(name, "ARG", at)

    def env(self, at: Instruction) -> None:
        for name, _ in at.pairs:
            self.stage.known.add(name)
            self._secret(name, "ENV", at)
        self._legacy(at)

    def label(self, at: Instruction) -> None:
        self._legacy(at)

    def _legacy(self, at: Instruction) -> None:
        rest = at.original.split(None, 1)[1]
        if "=" not in rest.split(None, 1)[0]:
            self.warn(
                "LegacyKeyValueFormat",
                f'"{at.name} key=value" should be used instead of legacy "{at.name} key value" format',
                at,
            )

    def _secret(self, name: str, kind: str, at: Instruction) -> None:
        words = name.lower().split("_")
        if _SECRET_WORDS.intersection(words) and _PUBLIC not in words:
            self.warn(
                "SecretsUsedInArgOrEnv",
                f'Do not use ARG or ENV instructions for sensitive data ({kind} "{name}")',
                at,
            )

    def command(self, at: Instruction) -> None:
        self._once(at)
        if not at.json and at.arguments and not self.stage.shell_set:
            self.warn(
                "JSONArgsRecommended",
                f"JSON arguments recommended for {at.name} to prevent unintended behavior related to OS signals",
                at,
            )

    def healthcheck(self, at: Instruction) -> None:
        self._once(at)

    def _once(self, at: Instruction) -> None:
        if at.name in self.seen_once:
            self.warn(
                "MultipleInstructionsDisallowed",
                f"Multiple {at.name} instructions should not be used in the same stage because only the last one will be used",
                self.seen_once[at.name],
            )
        self.seen_once[at.name] = at

    def maintainer(self, at: Instruction) -> None:
        self.warn(
            "MaintainerDeprecated",
            "Maintainer instruction is deprecated in favor of using label",
            at,
        )

    def workdir(self, at: Instruction) -> None:
        path = at.arguments[0]
        if not path.startswith(("/", "$")) and not self.stage.workdir_set:
            self.warn(
                "WorkdirRelativePath",
                f'Relative workdir "{path}" can have unexpected results if the base image changes',
                at,
            )
        self.stage.workdir_set = True

    def shell(self, at: Instruction) -> None:
        self.stage.shell_set = True

    def expose(self, at: Instruction) -> None:
        for word in at.arguments:
            ports, slash, protocol = word.partition("/")
            if slash and protocol != protocol.lower():
                self.warn("ExposeProtoCasing", f"Defined protocol '{word}' in EXPOSE instruction should be lowercase", at)
            if ":" in ports and "$" not in ports:
                self.warn(
                    "ExposeInvalidFormat",
                    f"EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'",
                    at,
                )

    def copy(self, at: Instruction) -> None:
        if self.context is None or at.flag("from") or at.json:
            return
        for source in at.arguments[:-1]:
            if "$" in source or "://" in source or source.startswith("<<"):
                continue
            if self.context.rules.ignored(clean(source)) and clean(source) != ".":
                path, verb = os.path.normpath(source), at.name.capitalize()
                self.warn("CopyIgnoredFile", f'Attempting to {verb} file "{path}" that is excluded by .dockerignore', at)


def _nearest(name: str, known: set[str]) -> str:
    """The known name that *name* may be a slip of, or an empty text."""
    distance, found = min(((_distance(name, each), each) for each in sorted(known)), default=(9, ""))
    return found if distance < 3 else ""


def _distance(one: str, other: str) -> int:
    """Levenshtein's."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        before, row[0] = row[0], number
        for place, second in enumerate(other, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (letter != second))
    return row[-1]


def _nothing(_checker: Checker, _at: Instruction) -> None:
    """Instructions without a check of their own."""


_CHECKS = {
    "FROM": Checker.from_,
    "ARG": Checker.arg,
    "ENV": Checker.env,
    "LABEL": Checker.label,
    "CMD": Checker.command,
    "ENTRYPOINT": Checker.command,
    "HEALTHCHECK": Checker.healthcheck,
    "MAINTAINER": Checker.maintainer,
    "WORKDIR": Checker.workdir,
    "SHELL": Checker.shell,
    "EXPOSE": Checker.expose,
    "COPY": Checker.copy,
    "ADD": Checker.copy,
}
