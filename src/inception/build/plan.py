"""A Dockerfile becomes a plan: the stages that the target needs, in order, each with its steps and its final configuration.

    Dockerfile ──▶ stages ──▶ for the target, and what it copies from or starts from:
                              base's configuration, triggers, then each instruction expanded in the stage's variables

Pure but for `resolve`, which finds base images; so a plan can be compared as text:

    stage 0 build: FROM image debian:bookworm  # Dockerfile:1
      run '/bin/sh' '-c' 'make' cwd=/src env=PATH=...  # Dockerfile:3
    stage 1: FROM scratch  # Dockerfile:5
      copy from=stage:0 '/src/app' -> /app  # Dockerfile:6

Variables, from strongest to weakest: ENV of the stage and its base, then ARG: what the command line gave, the instruction's
own default, the ARG before the first FROM. Source: Dockerfile reference, "ARG", "Environment replacement".
"""

from __future__ import annotations

from inception.build import stage
from inception.build.expand import ExpansionError, expand
from inception.build.operations import Copy, Operation, Run, holds_layers
from inception.build.source import DockerfileError, Place
from inception.build.values import PREDEFINED
from inception.errors import InceptionError, InvalidArgument
from inception.oci.image import ImageConfig, ImageDocument, Platform, host_platform, parse_platform
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build.config import BuildConfig
    from inception.build.instruction import Instruction
    from inception.build.parse import Dockerfile


# A named context that is an image begins so.
IMAGE_CONTEXT = "docker-image://"
LAYOUT_CONTEXT = "oci-layout://"

# Stands in for the Dockerfile's `# check=`.
CHECK_ARG = "BUILDKIT_DOCKERFILE_CHECK"
# Arguments that steer the builder; giving one that no ARG declares is not a mistake.
BUILDER_ARGS = ("SOURCE_DATE_EPOCH", "BUILDKIT_INLINE_CACHE", "BUILDKIT_SYNTAX", "BUILDKIT_CONTEXT_KEEP_GIT_DIR", CHECK_ARG)


class BaseImage(Record):
    """An image that a stage starts or copies from. `reference` is its full name, and its platform when that is not the
    machine's."""

    reference: str
    id: str
    document: ImageDocument
    digest: str = ""


class StagePlan(Record):
    """`base` is `scratch`, `stage:N`, `image:REFERENCE` or `context:NAME`; `image` is set for the last.

    `variables` are its ARGs with their values, which stages that start from this one inherit.
    """

    index: int
    name: str = ""
    platform: str = ""
    base: str
    image: BaseImage | None = None
    title: str
    first_line: int
    last_line: int
    operations: list[Operation] = []
    config: ImageConfig = ImageConfig()
    author: str = ""
    variables: list[tuple[str, str | None]] = []

    def __str__(self) -> str:
        name = f" {self.name}" if self.name else ""
        head = f"stage {self.index}{name}: FROM {self.base.replace(':', ' ', 1)}  # line {self.first_line}"
        return "\n".join([head, *(f"  {step.describe()}  # line {step.first_line}" for step in self.operations)])


class BuildPlan(Record):
    """`stages` come before those that need them; the last is the target. It is built on `machine` for `platform`."""

    file: Dockerfile
    machine: str = ""
    platform: str = ""
    stages: list[StagePlan]
    warnings: list[str] = []

    def lineage(self) -> list[int]:
        """The target, the stage that it starts from, and so on down."""
        by_index = {stage.index: stage for stage in self.stages}
        found = [self.stages[-1].index]
        while (base := by_index[found[-1]].base).startswith("stage:"):
            found.append(int(base.partition(":")[2]))
        return found

    def __str__(self) -> str:
        return "\n".join(map(str, self.stages))


class StageSource(Record):
    """One FROM and what follows it."""

    index: int
    name: str
    head: Instruction
    body: list[Instruction]


def context_paths(plan: BuildPlan) -> dict[str, list[str]]:
    """What *plan* takes from contexts: the sources as they are written, by the context's name (empty: the build's own)."""
    found: dict[str, list[str]] = {}
    for each in plan.stages:
        if each.base.startswith("context:"):
            found.setdefault(each.base.removeprefix("context:"), []).append(".")
        for step in each.operations:
            takes: list[tuple[str, str]] = []
            if isinstance(step, Copy):
                takes = [(step.origin, source) for source in step.sources]
            elif isinstance(step, Run):
                takes = [(mount.origin, mount.source or ".") for mount in step.mounts if mount.type == "bind"]
            for origin, source in takes:
                if not holds_layers(origin):
                    found.setdefault(origin.removeprefix("context:"), []).append(source)
    return found


def plan_build(file: Dockerfile, config: BuildConfig, resolve: Callable[..., BaseImage], platform: str = "") -> BuildPlan:
    """*resolve* finds an image by the name that FROM gives, and by a platform when that isn't the machine's; *platform* is the
    machine's, `linux/amd64`.

    Raises DockerfileError; what *resolve* raises passes through.
    """
    return Planner(file, config, resolve, platform or platform_name()).plan()


def platform_name() -> str:
    """The machine's platform as FROM --platform has it: `linux/amd64`, `linux/arm/v7`."""
    return spell_platform(host_platform())


def spell_platform(found: Platform) -> str:
    # arm64 has one variant, and nobody writes it.
    variant = f"/{found.variant}" if found.variant and found.architecture != "arm64" else ""
    return f"{found.os}/{found.architecture}{variant}"


class Planner:
    def __init__(self, file: Dockerfile, config: BuildConfig, resolve: Callable[..., BaseImage], platform: str) -> None:
        self.file = file
        self.config = config
        self.resolve = resolve
        self.machine = platform
        self.platform = platform
        self.globals: dict[str, str] = {}
        self.used_args: set[str] = set()
        self.stages: list[StageSource] = []
        self.planned: dict[int, StagePlan] = {}
        self.under_way: list[int] = []
        self.images: dict[str, BaseImage] = {}

    def fail(self, cause: str, at: Instruction, hint: str = "") -> DockerfileError:
        return DockerfileError(cause, self.file.source, at.first_line, at.last_line, at.name, hint)

    def plan(self) -> BuildPlan:
        self.platform = self._platform(self.config.platform, self.machine, None)
        self._split()
        target = self._target()
        self.plan_stage(target).config.labels |= self.config.labels
        warnings = []
        known = {*self.used_args, *PREDEFINED, *BUILDER_ARGS}
        unused = [name for name in self.config.build_args if name not in known]
        if unused:
            warnings.append(f"One or more build-args [{' '.join(unused)}] were not consumed")
        return BuildPlan(
            file=self.file, machine=self.machine, platform=self.platform, stages=list(self.planned.values()), warnings=warnings
        )

    def _split(self) -> None:
        """Stages, and the variables before the first of them."""
        target = self.config.target or "default"
        self.globals = {**_platform_variables(self.machine, self.platform), "TARGETSTAGE": target}
        for name in self.globals:
            if name in self.config.build_args:
                self.globals[name] = self.config.build_args[name]
                self.used_args.add(name)
        for instruction in self.file.instructions:
            if instruction.name == "FROM":
                name = instruction.arguments[2] if len(instruction.arguments) == 3 else ""
                self.stages.append(StageSource(index=len(self.stages), name=name, head=instruction, body=[]))
            elif self.stages:
                self.stages[-1].body.append(instruction)
            elif instruction.name == "ARG":
                self._global_arg(instruction)
            else:
                raise self.fail("no build stage in current context: a Dockerfile begins with FROM", instruction)
        if not self.stages:
            last = self.file.instructions[-1]
            raise self.fail("no build stage in current context: there is no FROM", last)

    def _global_arg(self, instruction: Instruction) -> None:
        for name, default in instruction.pairs:
            if name in self.config.build_args:
                self.used_args.add(name)
                self.globals[name] = self.config.build_args[name]
            elif default is not None:
                self.globals[name] = self._expand(default, instruction)

    def _expand(self, text: str, at: Instruction) -> str:
        try:
            return expand(text, self.globals, self.file.escape)
        except ExpansionError as error:
            raise self.fail(f'failed to process "{text}": {error}', at) from None

    def _target(self) -> int:
        wanted = self.config.target
        if not wanted:
            return len(self.stages) - 1
        for known in reversed(self.stages):  # of two with one name the later one is meant; a build check warns of it
            if known.name == wanted.lower():
                return known.index
        if wanted.isdecimal() and int(wanted) < len(self.stages):
            return int(wanted)
        names = ", ".join(known.name for known in self.stages if known.name)
        raise self.fail(
            f'target stage "{wanted}" could not be found', self.stages[-1].head, f"stages: {names}" if names else ""
        )

    def find_stage(self, name: str, before: int) -> int | None:
        """The stage that FROM or --from means by *name*, None for an image."""
        for known in reversed(self.stages[:before]):
            if known.name and known.name == name.lower():
                return known.index
        return None

    def find_context(self, name: str, at: Instruction, platform: str = "") -> str | None:
        """The origin that `--build-context` gives for *name*; it goes before stages and images of that name."""
        value = self.config.contexts.get(name.lower())
        if value is None:
            return None
        if value.startswith((IMAGE_CONTEXT, LAYOUT_CONTEXT)):
            return f"image:{self.find_image(value.removeprefix(IMAGE_CONTEXT), at, platform).reference}"
        return f"context:{name.lower()}"

    def find_image(self, name: str, at: Instruction, platform: str = "") -> BaseImage:
        """An image for *platform*, the target's when it is empty. What finding it raises gets *at* as its place."""
        platform = platform or self.platform
        key = name if platform == self.machine else f"{name} for {platform}"
        if key not in self.images:
            try:
                self.images[key] = self.resolve(name) if platform == self.machine else self.resolve(name, platform)
            except InceptionError as error:
                setattr(error, "place", Place(self.file.source, at.first_line, at.last_line))  # noqa: B010 - any error may
                raise
        return self.images[key]

    def plan_stage(self, index: int) -> StagePlan:
        """The plan of a stage, after those of all that it needs."""
        if index in self.planned:
            return self.planned[index]
        source = self.stages[index]
        if index in self.under_way:
            raise self.fail(f"circular dependency detected on stage: {source.name or index}", source.head)
        self.under_way.append(index)
        plan = self._begin(source)
        stage.fill(self, source, plan)
        self.under_way.pop()
        self.planned[index] = plan
        return plan

    def _begin(self, source: StageSource) -> StagePlan:
        head = source.head
        asked = self._expand(head.flag("platform"), head)
        if head.flag("platform") and not asked:
            raise self.fail(f"empty platform value from expression {head.flag('platform')}", head)
        platform = self._platform(asked, self.platform, head)
        name = self._expand(head.arguments[0], head)
        if not name:
            raise self.fail(f"base name ({head.arguments[0]}) should not be blank", head)
        plan = StagePlan(
            index=source.index,
            name=source.name,
            platform=platform,
            base="scratch",
            title=f"FROM {name}",
            first_line=head.first_line,
            last_line=head.last_line,
            config=stage.empty_config(),
        )
        origin = self.find_context(name, head, platform)
        parent = self.find_stage(name, source.index) if origin is None else None
        if origin is not None and origin.startswith("context:"):
            plan.base = origin
        elif parent is not None:
            before = self.plan_stage(parent)
            plan.base, plan.author, plan.platform = f"stage:{parent}", before.author, before.platform
            plan.config = stage.copy_config(before.config)
            plan.variables = list(before.variables)
        elif name != "scratch":
            named = self.config.contexts[name.lower()].removeprefix(IMAGE_CONTEXT) if origin is not None else name
            image = self.find_image(named, head, platform)
            plan.base, plan.image = f"image:{image.reference}", image
            plan.config, plan.author = stage.copy_config(image.document.config), image.document.author
        return plan

    def _platform(self, text: str, otherwise: str, at: Instruction | None) -> str:
        if not text:
            return otherwise
        try:
            return spell_platform(parse_platform(text))
        except InvalidArgument as error:
            if at is None:
                raise
            raise self.fail(str(error), at) from None


def _platform_variables(machine: str, target: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, platform in (("BUILD", machine), ("TARGET", target)):
        system, architecture, variant = [*platform.split("/"), ""][:3]
        values = {"PLATFORM": platform, "OS": system, "ARCH": architecture, "VARIANT": variant}
        found |= {f"{kind}{name}": value for name, value in values.items()}
    return found
