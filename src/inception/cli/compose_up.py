"""`compose up`, `create`, `down`, `build`, `pull`, `scale`: verbs that make a plan and carry it out."""

from __future__ import annotations

import sys

from inception.cli.build import show_failure
from inception.cli.call import Call
from inception.cli.compose import colour, dry_run, load_project, parallel, progress_of, warn
from inception.cli.flags import Command, Flags, UsageError, more
from inception.compose.execute import Executor
from inception.compose.normalise import parse_scales, select
from inception.compose.observe import observe
from inception.compose.plan import BUILD_IMAGE, PULL_IMAGE, Operation, Plan
from inception.compose.reconcile import UpOptions, order_builds, plan_images, plan_up, with_build_bases
from inception.compose.teardown import DownOptions, plan_down
from inception.errors import InceptionError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.cli.compose_logs import Followed
    from inception.compose.model import Project
    from inception.compose.observe import Observed
    from inception.compose.progress import Progress
    from inception.compose.watch import Watched

_PULL_POLICIES = ("always", "missing", "never", "policy")


def up(call: Call) -> int:
    flags = call.flags
    _check_up(call)
    project = load_project(call, call.arguments)
    wait_timeout_s = float(flags.number("wait-timeout")) if flags.number("wait-timeout") else None
    options = _up_options(flags, project, call.arguments, start=not flags.on("no-start"), wait=flags.on("wait"))
    rules: list[Watched] = []
    if flags.on("watch"):
        from inception.compose.watch import watched_rules

        rules = watched_rules(project, select(project, call.arguments, with_dependencies=not options.no_deps))
    started = _make(call, project, options, wait_timeout_s)
    if dry_run(call) or flags.on("detach") or flags.on("wait") or flags.on("no-start"):
        return 0
    return _attach(call, project, options, started, rules)


def _check_up(call: Call) -> None:
    flags = call.flags
    page = more(call.path)
    attached = [name for name in ("abort-on-container-exit", "abort-on-container-failure") if flags.on(name)]
    if flags.text("exit-code-from"):
        attached.append("exit-code-from")
    if attached and flags.on("detach"):
        raise UsageError(f"--{attached[0]} and --detach are incompatible", page, exit_code=1)
    if flags.on("wait") and (attached or flags.list("attach")):
        raise UsageError(
            "--wait cannot be combined with --abort-on-container-exit, --attach or --attach-dependencies", page, exit_code=1
        )
    if flags.on("watch") and (flags.on("detach") or flags.on("wait") or flags.on("no-start")):
        raise UsageError("--watch needs the attached mode, so not --detach, --wait or --no-start", page, exit_code=1)
    if flags.on("build") and flags.on("no-build"):
        raise UsageError("--build and --no-build are incompatible", page, exit_code=1)
    if flags.on("force-recreate") and flags.on("no-recreate"):
        raise UsageError("--force-recreate and --no-recreate are incompatible", page, exit_code=1)
    if flags.on("always-recreate-deps") and flags.on("no-recreate"):
        raise UsageError("--always-recreate-deps and --no-recreate are incompatible", page, exit_code=1)


def _up_options(flags: Flags, project: Project, services: list[str], *, start: bool, wait: bool) -> UpOptions:
    return UpOptions(
        services=services,
        no_deps=flags.on("no-deps"),
        start=start,
        wait=wait,
        force_recreate=flags.on("force-recreate"),
        no_recreate=flags.on("no-recreate"),
        always_recreate_deps=flags.on("always-recreate-deps"),
        renew_anonymous_volumes=flags.on("renew-anon-volumes"),
        remove_orphans=flags.on("remove-orphans"),
        scale=parse_scales(flags.list("scale"), project),
    )


def _make(call: Call, project: Project, options: UpOptions, wait_timeout_s: float | None = None) -> list[str]:
    """Images, then everything else. Answers the names of the containers that were started."""
    flags = call.flags
    names = select(project, options.services, with_dependencies=not options.no_deps)
    observed = observe(call.engine, project)
    images = images_plan(project, observed, names, build=flags.on("build"), pull=flags.text("pull"))
    if flags.on("no-build"):
        images = _without_builds(images, observed)
    if dry_run(call):
        return _show(images, plan_up(project, observed, options))
    progress = progress_of(call)
    executor = Executor(
        call.engine,
        project,
        progress,
        parallel=parallel(call),
        stop_timeout_s=_timeout(flags),
        wait_timeout_s=wait_timeout_s,
        quiet_build=flags.on("quiet-build"),
    )
    try:
        if images:
            run_images(executor, images)
            observed = observe(call.engine, project)
        plan = plan_up(project, observed, options)
        for text in plan.warnings:
            warn(text)
        _say_running(progress, observed, plan, names)
        executor.run(plan)
    finally:
        progress.close()
    return executor.started


def _without_builds(images: Plan, observed: Observed) -> Plan:
    """*images* under `--no-build`: what is there is used as it is, what is not can't be had."""
    for operation in images:
        if operation.kind == BUILD_IMAGE and operation.key not in observed.images:
            raise InvalidArgument(f'service "{operation.key}" needs its image to be built, and --no-build forbids it')
    return Plan(operations=[operation for operation in images if operation.kind != BUILD_IMAGE])


def images_plan(project: Project, observed: Observed, names: list[str], *, build: bool, pull: str) -> Plan:
    if pull and pull not in _PULL_POLICIES:
        raise InvalidArgument(f'invalid --pull option "{pull}"')
    return plan_images(project, observed, names, build=build, pull="" if pull == "policy" else pull)


def _timeout(flags: Flags) -> float | None:
    return float(flags.number("timeout")) if flags.given("timeout") else None


def _show(*plans: Plan) -> list[str]:
    for plan in plans:
        for text in plan.warnings:
            warn(text)
        sys.stdout.write(str(plan))
    return []


def _say_running(progress: Progress, observed: Observed, plan: Plan, names: list[str]) -> None:
    """The containers that stay as they are belong to the picture too."""
    touched = {operation.target for operation in plan}
    for name in names:
        for container in observed.of(name):
            if container.running and container.name not in touched:
                progress.update(f"Container {container.name}", "Running", done=True)


def _attach(call: Call, project: Project, options: UpOptions, started: list[str], rules: list[Watched]) -> int:
    from inception.cli.compose_logs import Followed

    flags = call.flags
    services = _attached_services(flags, project, options)
    followed = Followed(
        call.engine,
        project,
        services,
        selected=select(project, options.services, with_dependencies=not options.no_deps),
        started=started,
        colour=colour(call) and not flags.on("no-color"),
        prefix=not flags.on("no-log-prefix"),
        stamps=flags.on("timestamps"),
        abort="exit"
        if flags.on("abort-on-container-exit") or flags.text("exit-code-from")
        else "failure"
        if flags.on("abort-on-container-failure")
        else "",
        exit_code_from=flags.text("exit-code-from"),
        stop_timeout_s=_timeout(flags),
    )
    if rules:
        followed.beside.append(lambda: _watch(call, project, rules, followed))
    return followed.run()


def _watch(call: Call, project: Project, rules: list[Watched], followed: Followed) -> None:
    """`watch` beside the output of what it changes."""
    from inception.cli.compose_watch import Session

    session = Session(call, project, followed.printer.say, quiet=call.flags.on("quiet-build"))
    try:
        for batch in session.batches(rules):
            with followed.held():
                session.follow(batch)
    except InceptionError as error:
        followed.printer.say(f"Watch disabled: {error}")


def _attached_services(flags: Flags, project: Project, options: UpOptions) -> list[str]:
    if flags.list("attach"):
        names = flags.list("attach")
    elif options.services and not flags.on("attach-dependencies"):
        names = options.services
    else:
        names = select(project, options.services, with_dependencies=not options.no_deps)
    for name in [*names, *flags.list("no-attach"), *filter(None, [flags.text("exit-code-from")])]:
        if name not in project.services:
            raise InvalidArgument(f"no such service: {name}")
    return [name for name in names if name not in flags.list("no-attach") and project.services[name].attach]


def create(call: Call) -> int:
    project = load_project(call, call.arguments)
    _make(call, project, _up_options(call.flags, project, call.arguments, start=False, wait=False))
    return 0


def scale(call: Call) -> int:
    pairs = call.arguments
    names = [pair.partition("=")[0] for pair in pairs]
    project = load_project(call, names)
    options = UpOptions(services=names, no_deps=call.flags.on("no-deps"), scale=parse_scales(pairs, project), no_recreate=True)
    _make(call, project, options)
    return 0


def down(call: Call) -> int:
    flags = call.flags
    rmi = flags.text("rmi")
    if rmi not in ("", "local", "all"):
        raise InvalidArgument(f'invalid value for --rmi: "{rmi}"')
    project = load_project(call, call.arguments, without_file=True)
    observed = observe(call.engine, project)
    options = DownOptions(
        services=call.arguments, volumes=flags.on("volumes"), rmi=rmi, remove_orphans=flags.on("remove-orphans")
    )
    plan = plan_down(project, observed, options)
    if dry_run(call):
        _show(plan)
        return 0
    for text in plan.warnings:
        warn(text)
    if not plan:
        warn(f"No resource found to remove for project {project.name!r}.")
    progress = progress_of(call)
    try:
        Executor(call.engine, project, progress, parallel=parallel(call), stop_timeout_s=_timeout(flags)).run(plan)
    finally:
        progress.close()
    return 0


def build(call: Call) -> int:
    flags = call.flags
    project = load_project(call, call.arguments)
    names = with_build_bases(project, select(project, call.arguments, with_dependencies=flags.on("with-dependencies")))
    arguments = {}
    for text in flags.list("build-arg"):
        key, equals, value = text.partition("=")
        if equals or key in project.environment:
            arguments[key] = value if equals else project.environment[key]
    operations: dict[str, Operation] = {}
    for name in names:
        service = project.services[name]
        if service.build is not None:
            from inception.compose.container import image_name

            image = image_name(project, service)
            operations.setdefault(image, Operation(kind=BUILD_IMAGE, target=image, key=name, reason="asked for"))
    plan = Plan(operations=order_builds(project, list(operations.values())))
    return _images(call, project, plan, build_arguments=arguments)


def _images(call: Call, project: Project, plan: Plan, *, build_arguments: dict[str, str] | None = None) -> int:
    flags = call.flags
    if dry_run(call):
        _show(plan)
        return 0
    progress = progress_of(call, quiet=flags.on("quiet"))
    executor = Executor(
        call.engine,
        project,
        progress,
        parallel=parallel(call),
        quiet_build=flags.on("quiet"),
        build_arguments=build_arguments,
        no_cache=build_arguments is not None and flags.on("no-cache"),
        pull=build_arguments is not None and flags.on("pull"),
    )
    try:
        run_images(executor, plan)
    finally:
        progress.close()
    return 0


def run_images(executor: Executor, plan: Plan) -> None:
    """Builds and pulls; of a build that fails it shows where."""
    try:
        executor.run(plan)
    except InceptionError as error:
        executor.progress.close()
        show_failure(error)
        raise


def pull(call: Call) -> int:
    flags = call.flags
    policy = flags.text("policy")
    if policy not in ("", "missing", "always"):
        raise InvalidArgument(f'invalid --policy option "{policy}"')
    project = load_project(call, call.arguments)
    observed = observe(call.engine, project)
    operations: dict[str, Operation] = {}
    for name in select(project, call.arguments, with_dependencies=flags.on("include-deps")):
        service = project.services[name]
        if not service.image or service.build is not None:
            continue  # what is built here is in no registry
        if policy == "missing" and name in observed.images:
            continue
        operations.setdefault(service.image, Operation(kind=PULL_IMAGE, target=service.image, key=name, reason="asked for"))
    return _images(call, project, Plan(operations=list(operations.values())))


def push(call: Call) -> int:
    """Upload what was built here; what only came from a registry stays as it is there."""
    flags = call.flags
    project = load_project(call, call.arguments)
    progress = progress_of(call, quiet=flags.on("quiet"))
    try:
        for name in select(project, call.arguments, with_dependencies=flags.on("include-deps")):
            service = project.services[name]
            if service.build is None or not service.image:
                progress.update(name, "Skipped", done=True)
                continue
            for image in dict.fromkeys([service.image, *service.build.tags]):
                if dry_run(call):
                    print(f"push {image}")
                    continue
                progress.update(image, "Pushing")
                try:
                    call.engine.images.push(image)
                except InceptionError as error:
                    progress.update(image, "Error", failed=True)
                    if not flags.on("ignore-push-failures"):
                        raise
                    warn(str(error))
                else:
                    progress.update(image, "Pushed", done=True)
    finally:
        progress.close()
    return 0


_MAKING = """\
      --dry-run                      Show what would be done, and do nothing
      --force-recreate               Recreate containers even if their configuration and image haven't changed
      --no-build                     Don't build an image, even if it's policy
      --no-recreate                  If containers already exist, don't recreate them
      --pull string                  Pull image before running ("always"|"missing"|"never") (default "policy")
      --quiet-pull                   Pull without printing progress information
      --remove-orphans               Remove containers for services not defined in the Compose file
      --scale list                   Scale SERVICE to NUM instances
  -y, --yes                          Assume "yes" as answer to all prompts and run non-interactively
"""
_NOT_ON_PAGE = """\
      --always-recreate-deps
      --no-deps
      --quiet-build
  -V, --renew-anon-volumes
  -t, --timeout int
"""

UP = Command(
    up,
    "[OPTIONS] [SERVICE...]",
    "Create and start containers",
    """\
      --abort-on-container-exit      Stops all containers if any container was stopped
      --abort-on-container-failure   Stops all containers if any container exited with failure
      --always-recreate-deps         Recreate dependent containers
      --attach list                  Restrict attaching to the specified services
      --attach-dependencies          Automatically attach to log output of dependent services
      --build                        Build images before starting containers
  -d, --detach                       Detached mode: Run containers in the background
      --exit-code-from string        Return the exit code of the selected service container
      --no-attach list               Do not attach (stream logs) to the specified services
      --no-color                     Produce monochrome output
      --no-deps                      Don't start linked services
      --no-log-prefix                Don't print prefix in logs
      --no-start                     Don't start the services after creating them
      --quiet-build                  Suppress the build output
  -V, --renew-anon-volumes           Recreate anonymous volumes instead of retrieving data from the previous containers
  -t, --timeout int                  Use this timeout in seconds for container shutdown
      --timestamps                   Show timestamps
      --wait                         Wait for services to be running|healthy. Implies detached mode.
      --wait-timeout int             Maximum duration in seconds to wait for the project to be running|healthy
  -w, --watch                        Watch source code and rebuild/refresh containers when files are updated
"""
    + _MAKING,
    refused={"menu": "there are no keys to press in attached mode"},
    start_exit_codes=True,
)
CREATE = Command(
    create,
    "[OPTIONS] [SERVICE...]",
    "Creates containers for a service",
    "      --build                        Build images before starting containers\n" + _MAKING,
    hidden=_NOT_ON_PAGE,
)
SCALE = Command(
    scale,
    "[SERVICE=REPLICAS...]",
    "Scale services",
    """\
      --dry-run   Show what would be done, and do nothing
      --no-deps   Don't start linked services
""",
    minimum=1,
    hidden="""\
      --build
      --no-build
      --pull string
      --quiet-build
  -t, --timeout int
""",
)
DOWN = Command(
    down,
    "[OPTIONS] [SERVICES]",
    "Stop and remove containers, networks",
    """\
      --dry-run          Show what would be done, and do nothing
      --remove-orphans   Remove containers for services not defined in the Compose file
      --rmi string       Remove images used by services. "local" remove only images that don't have a custom tag
                         ("local"|"all")
  -t, --timeout int      Specify a shutdown timeout in seconds
  -v, --volumes          Remove named volumes declared in the "volumes" section of the Compose file and anonymous
                         volumes attached to containers
""",
)
BUILD = Command(
    build,
    "[OPTIONS] [SERVICE...]",
    "Build or rebuild services",
    """\
      --build-arg list      Set build-time variables for services
      --dry-run             Show what would be done, and do nothing
      --no-cache            Do not use cache when building the image
      --pull                Always attempt to pull a newer version of the image
  -q, --quiet               Suppress the build output
      --with-dependencies   Also build dependencies (transitively)
""",
    refused={
        "builder": "there is one builder",
        "memory": "set limits in the Compose file",
        "provenance": "images carry no attestations",
        "push": "images are not pushed to registries",
        "sbom": "images carry no attestations",
        "ssh": "builds get no SSH agent",
    },
)
PUSH = Command(
    push,
    "[OPTIONS] [SERVICE...]",
    "Push service images",
    """\
      --dry-run                Show what would be done, and do nothing
      --ignore-push-failures   Push what it can and ignores images with push failures
      --include-deps           Also push images of services declared as dependencies
  -q, --quiet                  Push without printing progress information
""",
)
PULL = Command(
    pull,
    "[OPTIONS] [SERVICE...]",
    "Pull service images",
    """\
      --dry-run            Show what would be done, and do nothing
      --ignore-buildable   Ignore images that can be built
      --include-deps       Also pull services declared as dependencies
      --policy string      Apply pull policy ("missing"|"always")
  -q, --quiet              Pull without printing progress information
""",
)
