"""Files to a project: short forms, merging, extends, include, profiles, names; and the exact words of every refusal."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from inception.compose.load import find_files, load
from inception.compose.model import BindOptions, Dependency, Mount, Port, Project, VolumeOptions
from inception.errors import InceptionError, InvalidArgument, NotFound

Loaded = Callable[..., Project]
Write = Callable[[str, str], str]


def refusal(loaded: Loaded, *texts: str, **options: object) -> str:
    with pytest.raises(InceptionError) as caught:
        loaded(*texts, **options)
    return str(caught.value)


def of_service(body: str, more: str = "") -> str:
    return f"services:\n  web:\n    image: x\n    {body}\n{more}"


# ---- short forms become long ones ---------------------------------------------------------------------------------------


def test_ports_in_every_form(loaded: Loaded) -> None:
    body = (
        'ports: [80, "8080:80/udp", "127.0.0.1:1000-1001:2000-2001", "3000-3001:90", '
        '{target: 99, published: "98", host_ip: "::1"}]'
    )
    assert loaded(of_service(body)).services["web"].ports == [
        Port(target=80),
        Port(target=80, published="8080", protocol="udp"),
        Port(target=2000, published="1000", host_ip="127.0.0.1"),
        Port(target=2001, published="1001", host_ip="127.0.0.1"),
        Port(target=90, published="3000-3001"),
        Port(target=99, published="98", host_ip="::1"),
    ]


def test_mounts_in_every_form(loaded: Loaded, tmp_path: object) -> None:
    body = (
        'volumes: [".:/a:ro", "~/b:/b", "data:/c:nocopy", /d, {type: tmpfs, target: /e, tmpfs: {size: 10m, mode: 0700}}, '
        "{type: bind, source: sub, target: /f, bind: {propagation: rslave}}]"
    )
    mounts = loaded(of_service(body, "volumes: {data: }")).services["web"].volumes
    assert [mount.target for mount in mounts] == ["/a", "/b", "/c", "/d", "/e", "/f"]
    assert mounts[0] == Mount(
        type="bind", source=str(tmp_path), target="/a", read_only=True, bind=BindOptions(create_host_path=True)
    )
    assert mounts[1].source == "/home/me/b"
    assert mounts[2] == Mount(type="volume", source="data", target="/c", volume=VolumeOptions(nocopy=True))
    assert (mounts[4].tmpfs.size, mounts[4].tmpfs.mode) == (10 << 20, 0o700)
    assert mounts[5].source == f"{tmp_path}/sub"


def test_scalars_become_what_they_mean(loaded: Loaded) -> None:
    service = loaded(
        of_service(
            "init: 'yes'\n    mem_limit: 1.5g\n    stop_grace_period: 1m30s\n    cpus: '0.5'\n    shm_size: 64\n    "
            "command: echo 'a b' $$HOME\n    ulimits: {nofile: 10, nproc: {soft: 1, hard: 2}}\n    "
            "healthcheck: {test: curl x, interval: 1500ms, retries: '3'}"
        )
    ).services["web"]
    assert (service.init, service.mem_limit, service.stop_grace_period_ns) == (True, 3 << 29, 90 * 10**9)
    assert (service.cpus, service.shm_size, service.command) == (0.5, 64, ["echo", "a b", "$HOME"])
    assert (service.ulimits["nofile"].hard, service.ulimits["nproc"].soft) == (10, 1)
    assert service.healthcheck is not None
    assert (service.healthcheck.test, service.healthcheck.interval_ns, service.healthcheck.retries) == (
        ["CMD-SHELL", "curl x"],
        1_500_000_000,
        3,
    )


def test_environment_takes_bare_names_from_outside_and_numbers_as_compose_prints_them(loaded: Loaded) -> None:
    body = "environment: {A: 010, B: 1.10, C: yes, D: true, E: 22:22, OUT: , NOPE: }"
    assert loaded(of_service(body), env={"OUT": "side"}).services["web"].environment == {
        "A": "8",
        "B": "1.1",
        "C": "yes",
        "D": "true",
        "E": "22:22",
        "OUT": "side",
    }


def test_env_files_come_before_environment_and_may_be_optional(loaded: Loaded, write: Write) -> None:
    write("a.env", "A=1\nB=$A$OUT\nC=c\n")
    project = loaded(of_service("env_file: [a.env, {path: nope, required: false}]\n    environment: [C=own]"), env={"OUT": "o"})
    assert project.services["web"].environment == {"A": "1", "B": "1o", "C": "own"}


def test_what_a_service_uses_it_starts_after(loaded: Loaded) -> None:
    project = loaded(
        "services:\n  a: {image: x, network_mode: 'service:b', volumes_from: [c], pid: 'service:d'}\n"
        "  b: {image: x}\n  c: {image: x}\n  d: {image: x}\n"
    )
    assert project.services["a"].depends_on == {
        "b": Dependency(restart=True),
        "c": Dependency(),
        "d": Dependency(restart=True),
    }


def test_resources_are_named_after_the_project_unless_external(loaded: Loaded) -> None:
    project = loaded(
        "services: {a: {image: x, networks: [n, e], volumes: ['v:/v', 'w:/w']}}\n"
        "networks: {n: , e: {external: true}}\nvolumes: {v: {name: own}, w: {external: {name: theirs}}}\n"
    )
    assert {key: (each.name, each.external) for key, each in project.networks.items()} == {
        "n": ("demo_n", False),
        "e": ("e", True),
    }
    assert {key: (each.name, each.external) for key, each in project.volumes.items()} == {
        "v": ("own", False),
        "w": ("theirs", True),
    }


def test_relative_devices_of_bind_volumes_start_at_the_file(loaded: Loaded, tmp_path: object) -> None:
    project = loaded(
        of_service("volumes: ['v:/v']", "volumes: {v: {driver_opts: {type: none, o: bind, device: ./data}}}"),
    )
    assert project.volumes["v"].driver_opts["device"] == f"{tmp_path}/data"


# ---- several files ------------------------------------------------------------------------------------------------------


def test_a_second_file_merges_appends_and_replaces(loaded: Loaded) -> None:
    service = loaded(
        of_service(
            "command: a\n    ports: ['80:80']\n    environment: [A=1, B=2]\n    "
            "volumes: ['one:/v', '/w']\n    dns: 1.1.1.1\n    depends_on: [db]\n    networks: [n1]\n  db: {image: y}",
            "volumes: {one: , two: }\nnetworks: {n1: , n2: }\n",
        ),
        of_service(
            "command: [b]\n    ports: ['80:80', '81:81']\n    environment: {A: 2}\n    "
            "volumes: ['two:/v']\n    dns: [1.1.1.1, 2.2.2.2]\n    "
            "depends_on: {db: {condition: service_healthy}}\n    networks: {n2: {aliases: [z]}}"
        ),
    ).services["web"]
    assert service.command == ["b"]
    assert [port.target for port in service.ports] == [80, 81]
    assert service.environment == {"A": "2", "B": "2"}
    assert [(mount.source, mount.target) for mount in service.volumes] == [("two", "/v"), ("", "/w")]
    assert service.dns == ["1.1.1.1", "2.2.2.2"]
    assert service.depends_on == {"db": Dependency(condition="service_healthy")}
    assert list(service.networks) == ["n1", "n2"]


def test_documents_of_one_file_are_merged_as_files_are(loaded: Loaded, write: Write) -> None:
    first = "name: one\nx-all: &all {image: x}\nservices: {web: {<<: *all, command: a, ports: [80:80]}}\n"
    second = "name: two\nservices: {web: {image: , command: !reset null, ports: ['81:81']}, db: *all}\n"
    project = loaded(f"{first}---\n{second}", project_name="")
    web = project.services["web"]
    assert (project.name, list(project.services), web.image, web.command) == ("two", ["db", "web"], "x", None)
    assert [port.target for port in web.ports] == [80, 81]
    write("base.yaml", "services: {web: {image: b, user: me}}\n---\nservices: {web: {image: c}}\n")
    for text in ("include: [base.yaml]\n", "services: {web: {extends: {file: base.yaml, service: web}}}\n"):
        web = loaded(text).services["web"]
        assert (web.image, web.user) == ("c", "me")
    assert refusal(loaded, "services: {}\n---\n---\nservices: {}\n").endswith("top-level object must be a mapping")
    assert refusal(loaded, "services: {web: {image: x}}\n---\nservices: {a: {extends: web}}\n").endswith(
        'service "web" not found'
    )


def test_reset_takes_away_and_override_replaces(loaded: Loaded) -> None:
    service = loaded(
        of_service("ports: ['80:80']\n    environment: {A: 1, B: 2}\n    labels: {a: b}\n    user: me"),
        of_service(
            "ports: !override ['443:443']\n    environment: {A: !reset null}\n    labels: !reset {}\n    user: !reset ''"
        ),
    ).services["web"]
    assert [port.target for port in service.ports] == [443]
    assert (service.environment, service.labels, service.user) == ({"B": "2"}, {}, "")


def test_extends_lays_a_service_over_another_files(loaded: Loaded, write: Write, tmp_path: object) -> None:
    write(
        "sub/base.yaml",
        "services:\n  base: {image: b, environment: {A: 1, B: 1}, volumes: ['./v:/v'], extends: root}\n  root: {user: me}\n",
    )
    service = loaded("services: {web: {extends: {file: sub/base.yaml, service: base}, environment: {A: 2}}}").services["web"]
    assert (service.image, service.user, service.environment) == ("b", "me", {"A": "2", "B": "1"})
    assert service.volumes[0].source == f"{tmp_path}/sub/v"


def test_include_brings_another_project_with_its_own_folder_and_variables(
    loaded: Loaded, write: Write, tmp_path: object
) -> None:
    write("other/compose.yaml", "services: {b: {image: 'y:$TAG', volumes: ['./q:/q']}}\n")
    write("other/.env", "TAG=inner\n")
    text = "include: [other/compose.yaml]\nservices: {a: {image: x, depends_on: [b]}}\n"
    project = loaded(text)
    assert project.services["b"].image == "y:inner"
    assert project.services["b"].volumes[0].source == f"{tmp_path}/other/q"
    assert loaded(text, env={"TAG": "outer"}).services["b"].image == "y:outer"


def test_an_override_file_beside_the_default_one_is_found(write: Write, tmp_path: object) -> None:
    base, override = write("compose.yml", "{}"), write("docker-compose.override.yml", "{}")
    here = os.getcwd()
    try:
        os.makedirs(f"{tmp_path}/deep/er")
        os.chdir(f"{tmp_path}/deep/er")
        assert find_files([], "", {}, print) == ([base, override], str(tmp_path))
    finally:
        os.chdir(here)


# ---- profiles, names, variables -----------------------------------------------------------------------------------------

PROFILES = "services: {a: {image: x}, b: {image: x, profiles: [p]}, c: {image: x, profiles: [q], depends_on: [b]}}"


def test_profiles_choose_services_and_naming_one_activates_its_own(loaded: Loaded) -> None:
    assert (list(loaded(PROFILES).services), loaded(PROFILES).disabled) == (["a"], ["b", "c"])
    assert list(loaded(PROFILES, profiles=["p"]).services) == ["a", "b"]
    assert list(loaded(PROFILES, env={"COMPOSE_PROFILES": "p,q"}).services) == ["a", "b", "c"]
    assert list(loaded(PROFILES, services=["b"]).services) == ["a", "b"]
    assert refusal(loaded, PROFILES, services=["c"]).endswith(
        'service "c" depends on undefined service "b": invalid compose project'
    )


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"project_name": "flag", "env": {"COMPOSE_PROJECT_NAME": "env"}}, "flag"),
        ({"project_name": "", "env": {"COMPOSE_PROJECT_NAME": "env"}}, "env"),
        ({"project_name": "", "env": {"N": "infile"}}, "infile"),
    ],
)
def test_the_project_name_comes_from_the_flag_the_variable_or_the_file(
    loaded: Loaded, options: dict[str, object], name: str
) -> None:
    project = loaded("name: $N\nservices: {a: {image: '$COMPOSE_PROJECT_NAME'}}", **options)
    assert (project.name, project.services["a"].image) == (name, name)


def test_without_a_name_the_folder_gives_it(write: Write) -> None:
    path = write("My.App_1/compose.yaml", "services: {a: {image: x}}")
    assert load([path], env={}).name == "myapp_1"


def test_dot_env_is_read_and_the_process_wins(loaded: Loaded, write: Write) -> None:
    write(".env", "A=file\nB=file\n")
    assert loaded("services: {a: {image: '$A-$B'}}", env={"B": "process"}).services["a"].image == "file-process"
    other = write("other.env", "A=other\n")
    assert loaded("services: {a: {image: '$A'}}", env_files=[other]).services["a"].image == "other"


def test_secrets_are_not_in_the_repr_of_a_project(loaded: Loaded) -> None:
    project = loaded(of_service("secrets: [s]", "secrets: {s: {environment: TOKEN}}"), env={"TOKEN": "canary-7f3a"})
    assert "canary" not in repr(project)


# ---- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (of_service("foo: 1"), "validating {}:4: services.web additional properties 'foo' not allowed"),
        ("services: {}\nfoo: 1\n", "validating {}:2: additional properties 'foo' not allowed"),
        (of_service("build: {foo: 1}"), "validating {}:4: services.web.build additional properties 'foo' not allowed"),
        ("services:\n  we b: {image: x}\n", "validating {}:2: services additional properties 'we b' not allowed"),
        ("services:\n  web: {image: [a]}\n", "validating {}:2: services.web.image must be a string"),
        ("services:\n  web:\n", "validating {}:2: services.web must be a mapping"),
        ("services:\n", "validating {}:1: services must be a mapping"),
        (of_service("ports: 80"), "validating {}:4: services.web.ports must be a array"),
        (
            of_service("labels: {a.b: [x]}"),
            "validating {}:4: services.web.labels.a.b must be a boolean, null, number or string",
        ),
        (
            of_service("depends_on: {b: {condition: up}}"),
            "validating {}:4: services.web.depends_on.b.condition value must be one of "
            "'service_started', 'service_healthy', 'service_completed_successfully'",
        ),
        (
            of_service("volumes:\n    - /ok\n    - type: floppy"),
            "validating {}:6: services.web.volumes.1.type value must be one of "
            "'bind', 'volume', 'tmpfs', 'cluster', 'npipe', 'image'",
        ),
        (of_service("volumes: [{target: /x}]"), "validating {}:4: services.web.volumes.0 missing properties 'type'"),
        (of_service("oom_score_adj: 2000"), "validating {}:4: services.web.oom_score_adj must be <= 1000, got 2000"),
        (
            of_service("container_name: '-'"),
            "validating {}:4: services.web.container_name '-' does not match pattern '[a-zA-Z0-9][a-zA-Z0-9_.-]+'",
        ),
        ("a: 1\na: 2\n", 'failed to parse {}: line 2: mapping key "a" already defined at line 1'),
        ("", "{}: empty compose file"),
        ("[]", "{}: top-level object must be a mapping"),
        (of_service("ports: [abc]"), "{}:4: services.web.ports[0]: invalid containerPort: abc"),
        (
            of_service("ports: ['8000-8001:80-85']"),
            "{}:4: services.web.ports[0]: invalid ranges specified for container and host Ports: 80-85 and 8000-8001",
        ),
        (of_service("volumes: [':/x']"), "{}:4: services.web.volumes[0]: invalid spec: :/x: empty section between colons"),
        (of_service("init: maybe"), "{}:4: services.web.init: invalid boolean: maybe"),
        (of_service("mem_limit: 5x"), "{}:4: services.web.mem_limit: invalid size: '5x'"),
        (of_service("stop_grace_period: 5x"), '{}:4: services.web.stop_grace_period: time: unknown unit "x" in duration "5x"'),
        (of_service("command: 'a \"b'"), "{}:4: services.web.command: invalid command line string"),
        (of_service("extra_hosts: [foo]"), "{}:4: services.web.extra_hosts: invalid additional host, missing IP: foo"),
        (
            of_service("healthcheck: {test: [curl]}"),
            '{}:4: services.web.healthcheck.test: healthcheck.test must start either by "CMD", "CMD-SHELL" or "NONE"',
        ),
        (
            of_service("secrets: [{source: s, mode: '9'}]", "secrets: {s: {file: x}}"),
            "{}:4: services.web.secrets[0].mode: invalid file mode: 9",
        ),
        (of_service("depends_on: [db]"), '{}:4: service "web" depends on undefined service "db": invalid compose project'),
        (
            of_service("network_mode: 'service:db'"),
            '{}:4: service "web" depends on undefined service "db": invalid compose project',
        ),
        (of_service("networks: [n]"), '{}:4: service "web" refers to undefined network n: invalid compose project'),
        (of_service("volumes: ['data:/x']"), '{}:4: service "web" refers to undefined volume data: invalid compose project'),
        (of_service("secrets: [s]"), '{}:4: service "web" refers to undefined secret s: invalid compose project'),
        (of_service("configs: [c]"), '{}:4: service "web" refers to undefined config c: invalid compose project'),
        (
            "services:\n  web: {}\n",
            '{}:2: service "web" has neither an image nor a build context specified: invalid compose project',
        ),
        (
            of_service("network_mode: host\n    networks: [n]", "networks: {n: }"),
            "{}:4: service web declares mutually exclusive `network_mode` and `networks`: invalid compose project",
        ),
        (
            of_service("mem_limit: 1g\n    deploy: {resources: {limits: {memory: 2g}}}"),
            "{}:4: services.web: can't set distinct values on 'mem_limit' and "
            "'deploy.resources.limits.memory': invalid compose project",
        ),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n",
            "{}:2: dependency cycle detected: a -> b -> a",
        ),
        (
            "services:\n  a: {image: x, container_name: nn}\n  b: {image: x, container_name: nn}\n",
            '{}:3: services.b: container name "nn" is already in use by service a: invalid compose project',
        ),
        (
            of_service("container_name: nn\n    scale: 2"),
            "{}:4: services.web: can't set container_name and scale to 2: "
            "container names must be unique: invalid compose project",
        ),
        (
            of_service("secrets: [s]", "secrets:\n  s: {file: a, environment: B}\n"),
            "{}:6: secrets.s: file|environment attributes are mutually exclusive",
        ),
        (of_service("secrets: [s]", "secrets:\n  s: {}\n"), "{}:6: secrets.s: one of file|environment must be set"),
        (of_service("secrets: [s]", "secrets:\n  s: {external: true}\n"), "{}:6: unsupported external secret s"),
        (
            of_service("volumes: ['v:/v']", "volumes:\n  v: {external: true, driver: local}\n"),
            '{}:6: volumes.v: conflicting parameters "external" and "driver" specified',
        ),
        (
            of_service("env_file: nope.env"),
            "{}:4: env file {dir}/nope.env not found: stat {dir}/nope.env: no such file or directory",
        ),
        (of_service("extends: v"), '{}:4: cannot extend service "web" in {}: service "v" not found'),
        (
            "services:\n  v: {extends: w}\n  w: {extends: v}\n",
            "{}:2: Circular reference:\n  v in {}\n  extends w in {}\n  extends v in {}",
        ),
        (of_service("extends: {file: no.yaml, service: v}"), "{}:4: open {dir}/no.yaml: no such file or directory"),
        ("include: [no.yaml]\nservices: {}\n", "{}:1: open {dir}/no.yaml: no such file or directory"),
        ("include: [compose.yaml]\nservices: {}\n", "{}:1: include cycle detected:\n  {}\n  includes {}"),
        (
            of_service("labels: {com.docker.compose.project: x}"),
            "{}:4: services.web.labels: com.docker.compose.project: the com.docker.compose label prefix is reserved",
        ),
        # What is not supported is refused by name.
        (of_service("provider: {type: x}"), "{}:4: services.web.provider is not supported"),
        (of_service("use_api_socket: true"), "{}:4: services.web.use_api_socket is not supported"),
        (of_service("deploy: {mode: global}"), "{}:4: services.web.deploy.mode: 'global' is not supported"),
        (of_service("deploy: {placement: {constraints: [a]}}"), "{}:4: services.web.deploy.placement is not supported"),
        (of_service("pull_policy: refresh"), "{}:4: services.web.pull_policy: 'refresh' is not supported"),
        (of_service("pull_policy: every_1h-5m"), "{}:4: services.web.pull_policy: 'every_1h-5m' is not supported"),
        (of_service("volumes: ['v:/v']", "volumes:\n  v: {driver: nfs}\n"), "{}:6: volumes.v.driver: 'nfs' is not supported"),
        (
            "include: ['oci://registry/project']\nservices: {}\n",
            "{}:1: include: remote resource 'oci://registry/project' is not supported",
        ),
        (
            of_service("extends: {file: 'https://x/y.yaml', service: a}"),
            "{}:4: extends: remote resource 'https://x/y.yaml' is not supported",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_line(loaded: Loaded, tmp_path: object, text: str, message: str) -> None:
    expected = message.replace("{dir}", str(tmp_path)).replace("{}", f"{tmp_path}/compose.yaml")
    assert refusal(loaded, text) == expected


def test_a_name_that_includes_disagree_about_is_a_conflict(loaded: Loaded, write: Write, tmp_path: object) -> None:
    write("other.yaml", "services: {a: {image: y}}\n")
    text = "include: [other.yaml]\nservices: {a: {image: x}}\n"
    assert refusal(loaded, text) == f"{tmp_path}/compose.yaml:1: services.a conflicts with imported resource"


def test_a_missing_file_and_a_bad_name_are_refused(loaded: Loaded, tmp_path: object) -> None:
    with pytest.raises(NotFound, match=r"^open /no/such.yaml: no such file or directory$"):
        load(["/no/such.yaml"], env={})
    here = os.getcwd()
    try:
        os.chdir(str(tmp_path))
        with pytest.raises(NotFound, match=r"^no configuration file provided: not found$"):
            load(env={})
    finally:
        os.chdir(here)
    with pytest.raises(InvalidArgument, match=r'^invalid project name "A B": must consist only of lowercase'):
        loaded("services: {a: {image: x}}", project_name="A B")


def test_chains_of_references_longer_than_the_stack_are_refused(loaded: Loaded) -> None:
    lines = [f"  s{i}: {{image: x, depends_on: [s{i + 1}]}}" for i in range(5000)]
    text = "services:\n" + "\n".join(lines) + "\n  s5000: {image: x}\n"
    assert refusal(loaded, text) == "services refer to one another more deeply than can be followed"


def test_the_obsolete_version_is_mentioned(loaded: Loaded, warnings: list[str], tmp_path: object) -> None:
    loaded("version: '3'\nservices: {a: {image: x}}")
    assert warnings == [
        f"{tmp_path}/compose.yaml: the attribute `version` is obsolete, it will be ignored, "
        "please remove it to avoid potential confusion"
    ]
