"""A service as the engine is asked for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inception.compose.building import build_config
from inception.compose.container import container_config
from inception.compose.files import service_files
from inception.compose.model import Project
from inception.compose.observe import Observed
from inception.compose.reconcile import plan_images
from inception.engine.config import (
    ContainerConfig,
    DeviceConfig,
    EndpointConfig,
    MountConfig,
    PortBinding,
    RestartPolicy,
    Ulimit,
)
from inception.errors import InceptionError

Loaded = Callable[..., Project]


def config_of(loaded: Loaded, body: str, more: str = "", **options: object) -> ContainerConfig:
    project = loaded(f"services:\n  web: {{image: x, {body}}}\n  other: {{image: y}}\n{more}")
    return container_config(project, project.services["web"], 1, name="demo-web-1", **options)  # type: ignore[arg-type]


def test_labels_are_those_of_docker_compose(loaded: Loaded, tmp_path: object) -> None:
    config = config_of(loaded, "labels: {own: label}, depends_on: [other]", image_id="sha256:1")
    found = {key.removeprefix("com.docker.compose."): value for key, value in config.labels.items()}
    assert len(found.pop("config-hash")) == 64
    assert found.pop("version")
    assert found == {
        "own": "label",
        "project": "demo",
        "service": "web",
        "container-number": "1",
        "oneoff": "False",
        "image": "sha256:1",
        "depends_on": "other:service_started:false",
        "project.working_dir": str(tmp_path),
        "project.config_files": f"{tmp_path}/compose.yaml",
    }


def test_networks_carry_service_and_container_names_as_aliases(loaded: Loaded) -> None:
    config = config_of(
        loaded,
        "networks: {a: {aliases: [z], ipv4_address: 10.0.0.2}, b: {priority: 5}}",
        "networks: {a: {ipam: {config: [{subnet: 10.0.0.0/24}]}}, b: {name: named}}",
    )
    assert config.network_mode == "named"
    assert config.networks == {
        "named": EndpointConfig(aliases=["demo-web-1", "web"]),
        "demo_a": EndpointConfig(aliases=["demo-web-1", "web", "z"], ipv4_address="10.0.0.2"),
    }


def test_namespaces_of_services_become_those_of_containers(loaded: Loaded) -> None:
    config = config_of(
        loaded,
        "network_mode: 'service:other', pid: 'service:other', ipc: host, volumes_from: ['other:ro', 'container:c']",
        container_of=lambda name: f"id-of-{name}",
    )
    assert (config.network_mode, config.pid_mode, config.ipc_mode) == ("container:id-of-other", "container:id-of-other", "host")
    assert config.volumes_from == ["id-of-other:ro", "c"]


def test_volumes_are_named_and_anonymous_ones_inherited(loaded: Loaded) -> None:
    config = config_of(
        loaded,
        "volumes: ['data:/d', /anon], tmpfs: ['/t:size=1m,mode=0700,noexec']",
        "volumes: {data: }",
        inherited={"/anon": "v1", "/from-image": "v2"},
    )
    assert config.mounts == [
        MountConfig(type="volume", source="demo_data", target="/d", short=True),
        MountConfig(type="volume", source="v1", target="/anon"),
        MountConfig(
            type="tmpfs", target="/t", tmpfs_size_bytes=1 << 20, tmpfs_mode=0o700, tmpfs_options=["noexec"], short=True
        ),
        MountConfig(type="volume", source="v2", target="/from-image"),
    ]


def test_limits_ports_and_the_rest(loaded: Loaded) -> None:
    config = config_of(
        loaded,
        "deploy: {resources: {limits: {cpus: '0.5', memory: 50m, pids: 9}, reservations: {memory: 10m}}}, "
        "ports: ['127.0.0.1:8000-8001:80'], expose: ['90-91/udp'], restart: 'on-failure:3', stop_grace_period: 1500ms, "
        "devices: ['/dev/null:/dev/x:r'], ulimits: {nofile: 10}, extra_hosts: ['h=::1'], environment: {A: b=c}",
    )
    resources = config.resources
    assert (resources.nano_cpus, resources.memory_bytes, resources.pids_limit) == (500_000_000, 50 << 20, 9)
    assert resources.memory_reservation_bytes == 10 << 20
    assert resources.devices == [DeviceConfig(host_path="/dev/null", container_path="/dev/x", permissions="r")]
    assert resources.ulimits == [Ulimit(name="nofile", soft=10, hard=10)]
    assert config.ports == [PortBinding(container_port=80, host_ip="127.0.0.1", host_port=8000, host_port_end=8001)]
    assert config.exposed_ports == ["90/udp", "91/udp"]
    assert config.restart == RestartPolicy(name="on-failure", maximum_retries=3)
    assert (config.stop_timeout_s, config.extra_hosts, config.env) == (2, ["h:::1"], ["A=b=c"])


def test_health_checks_and_their_absence(loaded: Loaded) -> None:
    assert config_of(loaded, "user: me").healthcheck is None
    disabled = config_of(loaded, "healthcheck: {disable: true}").healthcheck
    assert disabled is not None
    assert disabled.test == ["NONE"]
    check = config_of(loaded, "healthcheck: {test: 'curl x', interval: 2s, start_period: 1m, retries: 4}").healthcheck
    assert check is not None
    assert (check.test, check.interval, check.start_period, check.retries) == (
        ["CMD-SHELL", "curl x"],
        2 * 10**9,
        60 * 10**9,
        4,
    )


def test_deploy_restart_policies(loaded: Loaded) -> None:
    for condition, name in (("none", "no"), ("any", "always"), ("on-failure", "on-failure")):
        assert config_of(loaded, f"deploy: {{restart_policy: {{condition: {condition}}}}}").restart.name == name


def files_error(loaded: Loaded, secret: str, use: str = "s", **options: object) -> str:
    project = loaded(f"services: {{web: {{image: x, secrets: [{use}]}}}}\nsecrets: {{s: {secret}}}", **options)
    with pytest.raises(InceptionError) as caught:
        service_files(project, project.services["web"])
    return str(caught.value)


def test_secrets_that_cannot_be_read_are_named_and_never_shown(loaded: Loaded, tmp_path: object) -> None:
    os.mkfifo(f"{tmp_path}/pipe")
    with open(f"{tmp_path}/big", "wb") as file:
        file.truncate((1 << 20) + 1)
    assert files_error(loaded, "{file: nope}") == f"secret s: open {tmp_path}/nope: no such file or directory"
    assert files_error(loaded, "{file: pipe}") == f"secret s: {tmp_path}/pipe is not a regular file"
    assert files_error(loaded, "{file: .}") == f"secret s: {tmp_path} is not a regular file"
    assert files_error(loaded, "{file: big}") == f"secret s: {tmp_path}/big is larger than 1048576 bytes"
    assert files_error(loaded, "{environment: NOPE}") == 'environment variable "NOPE" required by secret "s" is not set'
    use = "{source: s, uid: me}"
    message = "services.web.secrets.s.uid: expected a number, got 'me'"
    assert files_error(loaded, "{environment: T}", use, env={"T": "canary"}) == message


def test_files_carry_owner_and_mode_and_hide_their_content(loaded: Loaded) -> None:
    project = loaded(
        "services: {web: {image: x, secrets: [{source: s, target: t, uid: '1', gid: '2', mode: 0400}], configs: [c]}}\n"
        "secrets: {s: {environment: T}}\nconfigs: {c: {content: 'a=$A'}}",
        env={"T": "canary", "A": "1"},
    )
    files = service_files(project, project.services["web"])
    assert [(file.target, file.uid, file.gid, file.mode) for file in files] == [
        ("/run/secrets/t", 1, 2, 0o400),
        ("/c", 0, 0, 0o444),
    ]
    assert [bytes.fromhex(file.content) for file in files] == [b"canary", b"a=1"]
    assert "canary" not in repr(files)
    assert b"canary".hex() not in repr(files)


def test_builds_get_secrets_contexts_caches_and_what_else_buildkit_has(loaded: Loaded, tmp_path: object) -> None:
    (Path(str(tmp_path)) / "two").write_text("zwei")
    project = loaded(
        """
services:
  base: {build: {context: ., platforms: [linux/amd64, linux/arm64]}}
  web:
    build:
      context: .
      additional_contexts: {base: 'service:base', data: ./data, other: 'docker-image://busybox'}
      cache_from: ['type=local,src=/cache']
      cache_to: ['type=local,dest=/cache']
      entitlements: [network.host]
      privileged: true
      provenance: mode=max
      sbom: false
      secrets: [one, {source: two, target: second}]
      ulimits: {nofile: 10, nproc: {soft: 1, hard: 2}}
secrets:
  one: {environment: ONE}
  two: {file: ./two}
""",
        env={"ONE": "1"},
    )
    config = build_config(project, project.services["web"])
    images = {"base": "docker-image://demo-base", "data": f"{tmp_path}/data", "other": "docker-image://busybox"}
    assert config.contexts == images
    assert [place.type for place in (*config.cache_from, *config.cache_to)] == ["local", "local"]
    assert config.allow == ["network.host", "security.insecure"]
    assert config.attestations.provenance == "max"
    secrets = {name: bytes.fromhex(source.data or "") for name, source in config.secrets.items()}
    assert secrets == {"one": b"1", "second": b"zwei"}
    assert [(each.name, each.soft, each.hard) for each in config.resources.ulimits] == [("nofile", 10, 10), ("nproc", 1, 2)]
    assert build_config(project, project.services["base"]).platform == "linux/amd64,linux/arm64"


def test_an_image_is_built_before_those_upon_it_and_never_in_a_circle(loaded: Loaded) -> None:
    text = "services: {a: {build: {context: ., additional_contexts: {x: 'service:b'}}}, b: {build: {context: .%s}}}"
    project = loaded(text % "")
    operations = plan_images(project, Observed(), ["a"]).operations
    assert [(operation.key, operation.after) for operation in operations] == [("b", []), ("a", ["build image demo-b"])]
    with pytest.raises(InceptionError, match="services a -> b -> a: their builds wait for each other"):
        plan_images(loaded(text % ", additional_contexts: ['y=service:a']"), Observed(), ["a"])
    project = loaded("services: {a: {build: {context: ., additional_contexts: {x: 'service:nope'}}}}")
    with pytest.raises(InceptionError, match="service:nope: no such service"):
        build_config(project, project.services["a"])


def test_builds_get_their_context_tags_and_arguments(loaded: Loaded, tmp_path: object) -> None:
    project = loaded("services: {web: {build: {context: ., dockerfile: D, args: {A: 1, B: }, target: t, tags: [extra:1]}}}")
    config = build_config(project, project.services["web"], arguments={"A": "2"})
    assert (config.context, config.dockerfile, config.target) == (str(tmp_path), f"{tmp_path}/D", "t")
    assert (config.tags, config.build_args) == (["demo-web", "extra:1"], {"A": "2"})
    project = loaded("services: {web: {build: 'https://example.org/x.git'}}")
    config = build_config(project, project.services["web"])
    assert (config.context, config.dockerfile) == ("https://example.org/x.git", "Dockerfile")
    project = loaded("services: {web: {build: nope}}")
    with pytest.raises(InceptionError, match=r"^unable to prepare context: path '.*/nope' not found$"):
        build_config(project, project.services["web"])
