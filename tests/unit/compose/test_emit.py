"""`config` output; the expected texts are those of docker compose 2.40 for the same files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from inception.compose.emit import config_tree, in_alphabet, json_tree, to_json, to_yaml
from inception.compose.model import Project

Loaded = Callable[..., Project]


def test_a_whole_service_is_printed_as_docker_compose_prints_it(loaded: Loaded, tmp_path: object) -> None:
    project = loaded(
        """
        services:
          a:
            image: x
            build: .
            deploy: {resources: {limits: {cpus: "0.5", memory: 50M, pids: 10}}, replicas: 2}
            healthcheck: {test: curl x, interval: 90s, retries: 3}
            ports: ["80", "8080:80/udp", "127.0.0.1:1000-1001:2000-2001"]
            stop_grace_period: 1m
            ulimits: {nofile: 10, nproc: {soft: 1, hard: 2}}
            volumes: [".:/x:ro", "data:/v", {type: tmpfs, target: /t, tmpfs: {size: 10m}}]
            configs: [{source: c, target: /c, mode: 0440}]
            secrets: [s]
            networks: {n: {aliases: [z], ipv4_address: 10.0.0.2}}
            command: "a 'b c' $$d"
        volumes: {data: }
        secrets: {s: {file: ./s.txt}}
        configs: {c: {content: "hi ${HOME}"}}
        networks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}, internal: true}}
        """
    )
    expected = textwrap.dedent(
        """\
        name: demo
        services:
          a:
            build:
              context: DIR
              dockerfile: Dockerfile
            command:
              - a
              - b c
              - $$d
            configs:
              - source: c
                target: /c
                mode: "0440"
            deploy:
              replicas: 2
              resources:
                limits:
                  cpus: 0.5
                  memory: "52428800"
                  pids: 10
            healthcheck:
              test:
                - CMD-SHELL
                - curl x
              interval: 1m30s
              retries: 3
            image: x
            networks:
              "n":
                aliases:
                  - z
                ipv4_address: 10.0.0.2
            ports:
              - mode: ingress
                target: 80
                protocol: tcp
              - mode: ingress
                target: 80
                published: "8080"
                protocol: udp
              - mode: ingress
                host_ip: 127.0.0.1
                target: 2000
                published: "1000"
                protocol: tcp
              - mode: ingress
                host_ip: 127.0.0.1
                target: 2001
                published: "1001"
                protocol: tcp
            secrets:
              - source: s
                target: /run/secrets/s
            stop_grace_period: 1m0s
            ulimits:
              nofile: 10
              nproc:
                soft: 1
                hard: 2
            volumes:
              - type: bind
                source: DIR
                target: /x
                read_only: true
                bind:
                  create_host_path: true
              - type: volume
                source: data
                target: /v
                volume: {}
              - type: tmpfs
                target: /t
                tmpfs:
                  size: "10485760"
        networks:
          "n":
            name: demo_n
            ipam:
              config:
                - subnet: 10.0.0.0/24
            internal: true
        volumes:
          data:
            name: demo_data
        secrets:
          s:
            name: demo_s
            file: DIR/s.txt
        configs:
          c:
            name: demo_c
            content: hi /home/me
        """
    )
    assert to_yaml(config_tree(project)) == expected.replace("DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain", "plain"),
        ("1", '"1"'),
        ("yes", '"yes"'),
        ("n", '"n"'),
        ("22:22", '"22:22"'),
        ("", '""'),
        ("a: b", "'a: b'"),
        ("#x", "'#x'"),
        ("a #b", "'a #b'"),
        (" a ", "' a '"),
        ("it's", "it's"),
        ("a\tb", '"a\\tb"'),
        ("two\nlines", "|-\n    two\n    lines"),
        ("two\nlines\n", "|\n    two\n    lines"),
        ("-", "'-'"),
        ("-x", "-x"),
        ("é", "é"),
        ("x 😀", '"x \\U0001F600"'),
        ("\x7f", '"\\x7F"'),
    ],
)
def test_strings_are_quoted_as_go_yaml_quotes_them(text: str, printed: str) -> None:
    assert to_yaml({"key": {"k": text}}) == f"key:\n  k: {printed}\n"


def test_what_is_printed_can_be_read_again_and_means_the_same(loaded: Loaded, write: Callable[[str, str], str]) -> None:
    first = loaded(
        "services: {a: {image: x, environment: {A: 'a$$b', B: 010}, command: [sh, -c, 'echo $$HOME'], mem_limit: 1g}}"
    )
    text = to_yaml(config_tree(first))
    assert to_yaml(config_tree(loaded(text))) == text


def test_json_is_indented_and_quoted_as_gos() -> None:
    assert to_json({"b": [], "a": [1, {"x": None}], "c": {}}) == (
        '{\n  "b": [],\n  "a": [\n    1,\n    {\n      "x": null\n    }\n  ],\n  "c": {}\n}'
    )
    assert to_json('<ü&\x7f\a"\u2028😀>') == '"\\u003cü\\u0026\x7f\\u0007\\"\\u2028😀\\u003e"'
    assert list(in_alphabet({"b": 1, "a": [{"d": 1, "c": 2}]})) == ["a", "b"]


def test_json_shows_the_structs_as_docker_composes_does(loaded: Loaded, tmp_path: object) -> None:
    project = loaded(
        """
        x-top: {x-in: 1}
        services:
          a:
            image: x
            x-own: 1
            mem_swappiness: 0
            oom_score_adj: 0
            labels: {x-label: "1"}
            blkio_config: {weight: 5, device_read_bps: [{path: /dev/x, rate: 1m}]}
            deploy: {restart_policy: {delay: 1s}, mode: replicated}
            develop: {watch: [{ignore: [b], action: sync, path: ., target: /x}]}
            networks: {n: {x-in: 1, priority: 1}}
        networks: {n: {internal: true, x-in: 1}}
        """
    )
    expected = textwrap.dedent(
        """\
        {
          "name": "demo",
          "networks": {
            "n": {
              "name": "demo_n",
              "ipam": {},
              "internal": true
            }
          },
          "services": {
            "a": {
              "develop": {
                "watch": [
                  {
                    "path": "DIR",
                    "action": "sync",
                    "target": "/x",
                    "exec": {
                      "command": null
                    },
                    "ignore": [
                      "b"
                    ]
                  }
                ]
              },
              "blkio_config": {
                "weight": 5,
                "device_read_bps": [
                  {
                    "Path": "/dev/x",
                    "Rate": "1048576"
                  }
                ]
              },
              "command": null,
              "deploy": {
                "mode": "replicated",
                "resources": {},
                "restart_policy": {
                  "delay": "1s"
                },
                "placement": {}
              },
              "entrypoint": null,
              "image": "x",
              "labels": {
                "x-label": "1"
              },
              "networks": {
                "n": {
                  "priority": 1
                }
              }
            }
          },
          "x-top": {
            "x-in": 1
          }
        }"""
    )
    assert to_json(json_tree(config_tree(project))).replace(str(tmp_path), "DIR") == expected


def test_short_forms_are_shown_as_docker_compose_shows_them(loaded: Loaded) -> None:
    project = loaded(
        "services:\n  web:\n    image: x\n    user: 1000:1000\n    ports: ['3000', '3000-3001']\n    configs: [c]\n"
        "    secrets: [{source: s, target: t}]\n    extra_hosts: ['z=::1', 'a:1.1.1.1']\n"
        "    volumes: ['v:/x/', {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0755}}]\n"
        "    blkio_config: {device_write_bps: [{path: /dev/sda, rate: 1mb}], weight: 300}\n"
        "    develop: {watch: [{action: rebuild, path: ./x}]}\n"
        "volumes: {v: {}}\nsecrets: {s: {environment: S}}\nconfigs: {c: {content: x}}\n"
    )
    text = to_yaml(config_tree(project))
    for part in (
        "    user: 1000:1000\n",
        "    configs:\n      - source: c\n    ",
        "      - source: s\n        target: t\n",
        "      - a=1.1.1.1\n      - z=::1\n",
        "        target: /x\n",
        '          size: "1048576"\n          mode: 493\n',
        '    blkio_config:\n      weight: 300\n      device_write_bps:\n        - path: /dev/sda\n          rate: "1048576"\n',
        "/x\n          action: rebuild\n",
    ):
        assert part in text, text
    assert text.count("target: 3000\n") == 1
