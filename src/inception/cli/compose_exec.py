"""`compose exec`, `run` and `cp`: into one container of a service."""

from __future__ import annotations

import os

from inception.cli.call import Call
from inception.cli.compose import dry_run, load_project, progress_of, warn
from inception.cli.flags import Command, UsageError, more
from inception.compose import labels
from inception.compose.execute import Executor
from inception.compose.normalise import select
from inception.compose.observe import Observed, containers_of, observe
from inception.compose.plan import Plan
from inception.compose.reconcile import UpOptions, plan_images, plan_up
from inception.engine.config import ContainerConfig, ExecConfig, MountConfig
from inception.errors import InvalidArgument, NotFound
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import Project, Service
    from inception.engine.container import Container


def container_of(call: Call, project: Project, service: str, index: int = 0) -> Container:
    """The container of *service* with this number, or its first. Raises NotFound in Compose's words."""
    found = [
        each
        for each in containers_of(call.engine, project.name)
        if each.labels.get(labels.SERVICE) == service and each.labels.get(labels.ONEOFF) != "True"
    ]
    found.sort(key=lambda each: int(each.labels.get(labels.NUMBER, "0")))
    for each in found:
        if not index or each.labels.get(labels.NUMBER) == str(index):
            return each
    if index:
        raise NotFound(f'service "{service}" is not running container #{index}')
    raise NotFound(f'service "{service}" is not running')


def exec(call: Call) -> int:
    flags = call.flags
    service, *command = call.arguments
    project = load_project(call, [service], without_file=True)
    container = container_of(call, project, service, flags.number("index"))
    if container.record.state.status != "running":
        raise NotFound(f'service "{service}" is not running')
    detach = flags.on("detach")
    tty = not flags.on("no-tty") and not detach and os.isatty(0) and os.isatty(1)
    interactive = flags.on("interactive") and not detach
    config = ExecConfig(
        command=command,
        env=_environment(flags.list("env"), project),
        user=flags.text("user"),
        working_dir=flags.text("workdir"),
        tty=tty,
        open_stdin=interactive,
        privileged=flags.on("privileged"),
    )
    if dry_run(call):
        print(f"exec {container.name} {' '.join(command)}")
        return 0
    if detach:
        container.exec_detached(config)
        return 0
    from inception.cli.streams import Session

    session = Session(tty=tty, interactive=interactive)
    try:
        with container.exec_start(config) as process:
            session.run(process)
            return process.wait()
    finally:
        session.close()


def _environment(texts: list[str], project: Project) -> list[str]:
    """`KEY=VALUE` as it is; a bare KEY with the value that it has here, or left out."""
    found = []
    for text in texts:
        if "=" in text:
            found.append(text)
        elif text in project.environment:
            found.append(f"{text}={project.environment[text]}")
    return found


# ---- run ----------------------------------------------------------------------------------------------------------------


def run(call: Call) -> int:
    from inception.cli.compose_up import run_images

    flags = call.flags
    name, *command = call.arguments
    project = load_project(call, [name])
    if name not in project.services:
        raise NotFound(f"no such service: {name}")
    service = _overridden(call, project, project.services[name], command)
    dependencies = [] if flags.on("no-deps") else [each for each in select(project, [name]) if each != name]
    observed = observe(call.engine, project)
    images = plan_images(
        project,
        observed,
        [*dependencies, name],
        build=flags.on("build"),
        pull="" if flags.text("pull") == "policy" else flags.text("pull"),
    )
    progress = progress_of(call, quiet=flags.on("quiet"))
    executor = Executor(call.engine, project, progress, quiet_build=flags.on("quiet-build"))
    try:
        if not dry_run(call):
            run_images(executor, images)
        plan = _dependencies_plan(
            project, observed if dry_run(call) else observe(call.engine, project), name, flags.on("no-deps")
        )
        for text in plan.warnings:
            warn(text)
        if dry_run(call):
            print(images, plan, sep="", end="")
            return 0
        executor.run(plan)
    finally:
        progress.close()
    return _one_off(call, project, service)


def _dependencies_plan(project: Project, observed: Observed, name: str, no_deps: bool) -> Plan:
    """Everything that *name* needs, as if it was about to start, but not its own containers."""
    options = UpOptions(services=[name], no_deps=no_deps, scale={name: len(observed.of(name))}, no_recreate=True)
    plan = plan_up(project, observed, options)
    return Plan(operations=[each for each in plan if each.key != name or "container" not in each.kind], warnings=plan.warnings)


def _overridden(call: Call, project: Project, service: Service, command: list[str]) -> Service:
    flags = call.flags
    env = dict(service.environment)
    for path in flags.list("env-from-file"):
        from inception.compose.dotenv import load_dotenv

        try:
            env.update(load_dotenv(path, project.environment, warn))
        except OSError as error:
            raise NotFound(f"env file {path} not found: {(error.strerror or 'error').lower()}") from None
    env.update({key: value for key, _, value in (text.partition("=") for text in _environment(flags.list("env"), project))})
    changes: dict[str, object] = {
        "environment": env,
        "container_name": "",
        "restart": "",
        "scale": None,
        "healthcheck": service.healthcheck,
    }
    if command:
        changes["command"] = command
    if flags.given("entrypoint"):
        from inception.compose.values import shell_words

        changes["entrypoint"] = shell_words(flags.text("entrypoint"))
        changes["command"] = command
    for key, field in (("user", "user"), ("workdir", "working_dir")):
        if flags.given(key):
            changes[field] = flags.text(key)
    changes["cap_add"] = [*service.cap_add, *flags.list("cap-add")]
    changes["cap_drop"] = [*service.cap_drop, *flags.list("cap-drop")]
    if not flags.on("service-ports"):
        changes["ports"] = []
    return replace(service, **changes)


def _one_off(call: Call, project: Project, service: Service) -> int:
    from inception.cli.run import finish
    from inception.cli.streams import Session
    from inception.compose.container import container_config
    from inception.compose.files import service_files

    flags = call.flags
    slug = os.urandom(32).hex()
    name = flags.text("name") or f"{project.name}-{service.name}-run-{slug[:12]}"
    detach = flags.on("detach")
    tty = not flags.on("no-tty") and not detach and os.isatty(0) and os.isatty(1)
    interactive = flags.on("interactive") and not detach
    config = container_config(
        project,
        service,
        1,
        name=name,
        container_of=lambda other: container_of(call, project, other).id,
    )
    config = _one_off_config(call, config, service, slug, tty=tty, interactive=interactive)
    container = call.engine.containers.create(config, pull="never", files=service_files(project, service))
    if detach:
        container.start()
        print(container.id)
        return 0
    session = Session(tty=tty, interactive=interactive, forward=None if tty else lambda number: container.kill(str(number)))
    try:
        with container.start_attached() as stream:
            return finish(session, container, stream)
    finally:
        session.close()
        if flags.on("rm"):
            try:
                container.remove(force=True, volumes=True)
            except NotFound:
                pass


def _one_off_config(
    call: Call, config: ContainerConfig, service: Service, slug: str, *, tty: bool, interactive: bool
) -> ContainerConfig:
    from inception.cli.mounts import parse_volume
    from inception.network.ports import parse_publish

    flags = call.flags
    extra: list[MountConfig] = []
    try:
        extra = [parse_volume(text) for text in flags.list("volume")]
    except ValueError as error:
        raise UsageError(str(error), more(call.path), exit_code=1) from None
    own = {key: value for key, value in config.labels.items() if key != labels.NUMBER}
    for text in flags.list("label"):
        key, _, value = text.partition("=")
        own[key] = value
    networks = config.networks
    if not flags.on("use-aliases"):
        networks = {
            key: replace(each, aliases=[alias for alias in each.aliases if alias == config.name])
            for key, each in networks.items()
        }
    return replace(
        config,
        labels={**own, labels.ONEOFF: "True", labels.SLUG: slug},
        mounts=[*(mount for mount in config.mounts if mount.target not in {each.target for each in extra}), *extra],
        ports=[*config.ports, *(each for text in flags.list("publish") for each in parse_publish(text))],
        networks=networks,
        tty=tty,
        open_stdin=interactive,
        stdin_once=interactive,
        attached=["stdin", *config.attached] if interactive else config.attached,
        auto_remove=flags.on("rm") and flags.on("detach"),
    )


# ---- cp -----------------------------------------------------------------------------------------------------------------


def cp(call: Call) -> int:
    """Names the container for `inception cp`, which does the copying."""
    from inception.cli.copy import CP as CONTAINER_CP
    from inception.cli.main import run_command

    source, target = call.arguments
    service, colon, path = source.partition(":")
    to_container = not colon or "/" in service
    if to_container:
        service, colon, path = target.partition(":")
    if not colon or "/" in service:
        raise InvalidArgument("unknown copy direction: name a service before a colon, as in SERVICE:SRC_PATH")
    project = load_project(call, [service], without_file=True)
    container = container_of(call, project, service, call.flags.number("index"))
    words = [source, f"{container.id}:{path}"] if to_container else [f"{container.id}:{path}", target]
    options = [word for word, name in (("-a", "archive"), ("-L", "follow-link")) if call.flags.on(name)]
    if dry_run(call):
        print(f"copy {' '.join(words)}")
        return 0
    return run_command(CONTAINER_CP, call.path, "", call.settings, [*options, *words])


EXEC = Command(
    exec,
    "[OPTIONS] SERVICE COMMAND [ARGS...]",
    "Execute a command in a running container",
    """\
  -d, --detach           Detached mode: Run command in the background
      --dry-run          Show what would be done, and do nothing
  -e, --env list         Set environment variables
      --index int        Index of the container if service has multiple replicas
      --interactive      Keep STDIN open even if not attached (default true)
  -T, --no-tty           Disable pseudo-TTY allocation. By default one is allocated on a terminal.
      --privileged       Give extended privileges to the process
  -u, --user string      Run the command as this user
  -w, --workdir string   Path to workdir directory for this command
""",
    minimum=2,
    interspersed=False,
    renamed={"no-TTY": "no-tty"},
    start_exit_codes=True,
)
RUN = Command(
    run,
    "[OPTIONS] SERVICE [COMMAND] [ARGS...]",
    "Run a one-off command on a service",
    """\
      --build                Build image before starting container
      --cap-add list         Add Linux capabilities
      --cap-drop list        Drop Linux capabilities
  -d, --detach               Run container in background and print container ID
      --dry-run              Show what would be done, and do nothing
      --entrypoint string    Override the entrypoint of the image
  -e, --env list             Set environment variables
      --env-from-file list   Set environment variables from file
  -i, --interactive          Keep STDIN open even if not attached (default true)
  -l, --label list           Add or override a label
      --name string          Assign a name to the container
      --no-deps              Don't start linked services
  -T, --no-tty               Disable pseudo-TTY allocation
  -p, --publish list         Publish a container's port(s) to the host
      --pull string          Pull image before running ("always"|"missing"|"never") (default "policy")
  -q, --quiet                Don't print anything to STDOUT
      --quiet-build          Suppress progress output from the build process
      --quiet-pull           Pull without printing progress information
      --rm                   Automatically remove the container when it exits
  -P, --service-ports        Run command with all service's ports enabled and mapped to the host
      --use-aliases          Use the service's network useAliases in the network(s) the container connects to
  -u, --user string          Run as specified username or uid
  -v, --volume list          Bind mount a volume
  -w, --workdir string       Working directory inside the container
""",
    minimum=1,
    interspersed=False,
    renamed={"no-TTY": "no-tty"},
    refused={"remove-orphans": "use 'up --remove-orphans'"},
    start_exit_codes=True,
)
CP = Command(
    cp,
    "[OPTIONS] SERVICE:SRC_PATH DEST_PATH|-\n        SRC_PATH|- SERVICE:DEST_PATH",
    "Copy files/folders between a service container and the local filesystem",
    """\
  -a, --archive       Archive mode (copy all uid/gid information)
      --dry-run       Show what would be done, and do nothing
  -L, --follow-link   Always follow symbol link in SRC_PATH
      --index int     Index of the container if service has multiple replicas
""",
    minimum=2,
    maximum=2,
    refused={"all": "name one container with --index"},
)
