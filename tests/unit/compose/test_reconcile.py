"""Plans as text: what is, what should be, and what is done about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inception.compose.hashing import network_hash, service_hash, volume_hash
from inception.compose.model import Project
from inception.compose.normalise import parse_scales, select
from inception.compose.observe import Observed, ObservedContainer
from inception.compose.plan import Plan
from inception.compose.reconcile import UpOptions, plan_images, plan_up
from inception.compose.teardown import DownOptions, plan_down, plan_start, plan_stop
from inception.errors import Conflict, InceptionError, NotFound
from inception.record import replace

Loaded = Callable[..., Project]

STACK = """
services:
  db: {image: d, healthcheck: {test: x}, volumes: [data:/data]}
  app: {image: a, depends_on: {db: {condition: service_healthy}}}
  web: {image: w, depends_on: [app]}
volumes: {data: }
"""


@pytest.fixture
def stack(loaded: Loaded) -> Project:
    return loaded(STACK)


def running(project: Project, **changes: dict[str, object]) -> Observed:
    """Everything of *project* as `up` leaves it; *changes* are fields of single services' containers."""
    containers = []
    for name, service in project.services.items():
        for number in range(1, service.replicas + 1):
            container = ObservedContainer(
                id=f"id-{name}-{number}",
                name=service.container_name or f"{project.name}-{name}-{number}",
                service=name,
                number=number,
                status="running",
                config_hash=service_hash(project, service),
                image_id=f"image-{name}",
                networks=[project.networks[key].name for key in service.networks],
                depends_on=list(service.depends_on),
            )
            containers.append(replace(container, **changes.get(name, {})))
    return Observed(
        containers=containers,
        networks={each.name: network_hash(each) for each in project.networks.values()},
        volumes={each.name: volume_hash(each) for each in project.volumes.values()},
        images={name: f"image-{name}" for name in project.services},
    )


def lines(plan: Plan) -> list[str]:
    return str(plan).splitlines()


def after(plan: Plan, identity: str) -> list[str]:
    return next(operation.after for operation in plan if operation.id == identity)


def test_the_first_up_makes_everything_in_the_order_of_dependencies(stack: Project) -> None:
    plan = plan_up(stack, Observed(), UpOptions())
    assert lines(plan) == [
        "create network demo_default (no such network)",
        "create volume demo_data (no such volume)",
        "create container demo-db-1 (no such container)",
        "create container demo-app-1 (no such container)",
        "create container demo-web-1 (no such container)",
        "start container demo-db-1",
        "await service db: service healthy",
        "start container demo-app-1",
        "start container demo-web-1",
    ]


def test_a_start_waits_for_its_own_creation_and_for_conditions_only(stack: Project) -> None:
    plan = plan_up(stack, Observed(), UpOptions())
    assert after(plan, "create container demo-web-1") == ["create network demo_default"]
    assert after(plan, "create container demo-db-1") == ["create network demo_default", "create volume demo_data"]
    assert after(plan, "start container demo-db-1") == ["create container demo-db-1"]
    assert after(plan, "start container demo-app-1") == ["create container demo-app-1", "await service db service_healthy"]
    assert after(plan, "start container demo-web-1") == ["create container demo-web-1", "start container demo-app-1"]


def test_an_up_that_finds_everything_as_it_should_be_does_nothing(stack: Project) -> None:
    assert lines(plan_up(stack, running(stack), UpOptions())) == []


def test_only_what_changed_is_made_anew(stack: Project) -> None:
    assert lines(plan_up(stack, running(stack, app={"config_hash": "old"}), UpOptions())) == [
        "recreate container demo-app-1 (configuration changed)",
        "await service db: service healthy",
        "start container demo-app-1",
    ]
    assert (
        lines(plan_up(stack, running(stack, web={"image_id": "old"}), UpOptions()))[0]
        == "recreate container demo-web-1 (image changed)"
    )
    assert lines(plan_up(stack, running(stack, web={"status": "exited"}), UpOptions())) == [
        "start container demo-web-1 (is exited)"
    ]
    assert lines(plan_up(stack, running(stack, web={"config_hash": "old"}), UpOptions(no_recreate=True))) == []


def test_force_recreate_is_for_the_services_that_were_named(stack: Project) -> None:
    found = lines(plan_up(stack, running(stack), UpOptions(services=["app"], force_recreate=True)))
    assert [line for line in found if "recreate" in line] == ["recreate container demo-app-1 (asked for)"]
    found = lines(plan_up(stack, running(stack), UpOptions(services=["app"], always_recreate_deps=True)))
    assert [line for line in found if "recreate" in line] == ["recreate container demo-db-1 (asked for)"]


def test_anonymous_volumes_go_on_with_the_new_container(stack: Project) -> None:
    observed = running(stack, app={"config_hash": "old", "volumes": {"/cache": "3f2a"}})
    assert next(iter(plan_up(stack, observed, UpOptions()))).inherited == {"/cache": "3f2a"}
    assert next(iter(plan_up(stack, observed, UpOptions(renew_anonymous_volumes=True)))).inherited == {}


def test_dependents_marked_restart_are_started_again(loaded: Loaded) -> None:
    project = loaded(
        "services: {db: {image: d}, app: {image: a, depends_on: {db: {condition: service_started, restart: true}}}}"
    )
    assert lines(plan_up(project, running(project, db={"config_hash": "old"}), UpOptions())) == [
        "recreate container demo-db-1 (configuration changed)",
        "start container demo-db-1",
        "stop container demo-app-1 (db is made anew)",
        "start container demo-app-1",
    ]


def test_who_shares_a_namespace_is_made_anew_with_its_owner(loaded: Loaded) -> None:
    project = loaded("services: {a: {image: x}, b: {image: x, network_mode: 'service:a'}}")
    plan = plan_up(project, running(project, a={"config_hash": "old"}), UpOptions())
    assert lines(plan)[:2] == [
        "recreate container demo-a-1 (configuration changed)",
        "recreate container demo-b-1 (shares with a, which is made anew)",
    ]
    assert after(plan, "recreate container demo-b-1") == ["recreate container demo-a-1"]


def test_scaling_adds_and_removes_from_the_end(loaded: Loaded) -> None:
    project = loaded("services: {a: {image: x, scale: 2}}")
    assert lines(plan_up(project, running(project), UpOptions(scale={"a": 3}))) == [
        "create container demo-a-3 (no such container)",
        "start container demo-a-3",
    ]
    assert lines(plan_up(project, running(project), UpOptions(scale={"a": 1}))) == ["remove container demo-a-2 (1 wanted)"]
    assert lines(plan_up(project, running(project), UpOptions(scale={"a": 0}))) == [
        "remove container demo-a-1 (0 wanted)",
        "remove container demo-a-2 (0 wanted)",
    ]


def test_a_replacement_that_was_killed_half_way_is_made_again(stack: Project) -> None:
    observed = running(stack, web={"name": "3f2a3f2a3f2a_demo-web-1", "status": "created"})
    assert lines(plan_up(stack, observed, UpOptions())) == [
        "recreate container demo-web-1 (its replacement was interrupted)",
        "start container demo-web-1",
    ]
    observed.containers.append(replace(observed.of("web")[0], id="old", name="demo-web-1", status="running"))
    plan = plan_up(stack, observed, UpOptions())
    assert lines(plan) == ["remove container 3f2a3f2a3f2a_demo-web-1 (1 wanted)"]


def test_a_gap_among_the_numbers_is_filled(loaded: Loaded) -> None:
    project = loaded("services: {a: {image: x, scale: 2}}")
    observed = running(project)
    observed.containers.pop(0)
    assert lines(plan_up(project, observed, UpOptions()))[0] == "create container demo-a-1 (no such container)"


def test_a_changed_network_takes_its_containers_along(loaded: Loaded) -> None:
    project = loaded("services: {a: {image: x, networks: [n]}, b: {image: x}}\nnetworks: {n: {internal: true}}")
    observed = running(project)
    observed.networks["demo_n"] = "old"
    plan = plan_up(project, observed, UpOptions())
    assert lines(plan) == [
        "remove container demo-a-1 (network demo_n changed)",
        "remove network demo_n (configuration changed)",
        "create network demo_n (configuration changed)",
        "create container demo-a-1 (network changed)",
        "start container demo-a-1",
    ]
    assert after(plan, "create container demo-a-1") == ["create network demo_n", "remove container demo-a-1"]


def test_a_changed_volume_is_a_conflict_and_its_data_stays(stack: Project) -> None:
    observed = running(stack)
    observed.volumes["demo_data"] = "old"
    with pytest.raises(Conflict, match=r'^volume "demo_data" exists but doesn.t match its configuration in the Compose file$'):
        plan_up(stack, observed, UpOptions())


def test_orphans_are_mentioned_or_removed(stack: Project) -> None:
    observed = running(stack)
    observed.containers.append(ObservedContainer(id="i", name="demo-old-1", service="old", number=1, status="running"))
    plan = plan_up(stack, observed, UpOptions())
    assert (lines(plan), plan.warnings[0].startswith("Found orphan containers ([demo-old-1]) for this project.")) == ([], True)
    assert lines(plan_up(stack, observed, UpOptions(remove_orphans=True))) == ["remove container demo-old-1 (orphan)"]


def test_containers_of_services_whose_profile_is_off_are_no_orphans(loaded: Loaded) -> None:
    project = loaded("services: {a: {image: x}, b: {image: x, profiles: [p]}}")
    observed = running(project)
    observed.containers.append(ObservedContainer(id="i", name="demo-b-1", service="b", number=1, status="running"))
    assert plan_up(project, observed, UpOptions()).warnings == []


def test_missing_external_resources_are_named(loaded: Loaded) -> None:
    project = loaded("services: {a: {image: x, networks: [n]}}\nnetworks: {n: {external: true, name: theirs}}")
    with pytest.raises(NotFound, match=r"^network theirs declared as external, but could not be found$"):
        plan_up(project, Observed(), UpOptions())
    project = loaded("services: {a: {image: x, volumes: ['v:/v']}}\nvolumes: {v: {external: true}}")
    with pytest.raises(NotFound, match=r'^external volume "v" not found$'):
        plan_up(project, Observed(networks={"demo_default": ""}), UpOptions())


def test_wait_ends_with_every_service(stack: Project) -> None:
    assert lines(plan_up(stack, running(stack), UpOptions(wait=True))) == [
        "await service db: running or healthy",
        "await service app: running or healthy",
        "await service web: running or healthy",
    ]


def test_images_are_built_or_pulled_once_each(loaded: Loaded) -> None:
    project = loaded(
        "services: {a: {image: x, build: .}, b: {build: .}, c: {image: y}, d: {image: y}, e: {image: z, pull_policy: always}}"
    )
    names = select(project, [])
    assert lines(plan_images(project, Observed(), names)) == [
        "build image x (no such image)",
        "build image demo-b (no such image)",
        "pull image y (no such image)",
        "pull image z (pull policy is always)",
    ]
    present = Observed(images=dict.fromkeys(project.services, "i"))
    assert lines(plan_images(project, present, names)) == ["pull image z (pull policy is always)"]
    assert lines(plan_images(project, present, names, build=True))[:2] == [
        "build image x (asked for)",
        "build image demo-b (asked for)",
    ]
    with pytest.raises(NotFound, match=r"^No such image: y$"):
        plan_images(project, Observed(), ["c"], pull="never")


def test_an_image_older_than_its_policy_allows_is_pulled_again(loaded: Loaded) -> None:
    project = loaded("services: {a: {image: x, pull_policy: every_2h}, b: {image: y, pull_policy: daily}}")
    present = Observed(images={"a": "i", "b": "j"}, stale=["a"])
    names = select(project, [])
    assert lines(plan_images(project, present, names)) == ["pull image x (pull policy is every_2h)"]
    assert lines(plan_images(project, present, names, pull="missing")) == []


def test_down_removes_dependents_first_and_networks_last(stack: Project) -> None:
    plan = plan_down(stack, running(stack), DownOptions())
    assert lines(plan) == [
        "remove container demo-web-1",
        "remove container demo-app-1",
        "remove container demo-db-1",
        "remove network demo_default",
    ]
    assert after(plan, "remove container demo-db-1") == ["remove container demo-app-1"]


def test_down_with_volumes_and_images(loaded: Loaded) -> None:
    project = loaded("services: {a: {image: x, volumes: ['v:/v', 'e:/e']}, b: {build: .}}\nvolumes: {v: , e: {external: true}}")
    found = lines(plan_down(project, running(project), DownOptions(volumes=True, rmi="local")))
    assert found[-3:] == ["remove network demo_default", "remove volume demo_v", "remove image demo-b"]
    assert "remove image x" in lines(plan_down(project, running(project), DownOptions(rmi="all")))


def test_down_of_one_service_leaves_the_rest(stack: Project) -> None:
    assert lines(plan_down(stack, running(stack), DownOptions(services=["web"]))) == ["remove container demo-web-1"]
    with pytest.raises(NotFound, match=r"^no such service: nope$"):
        plan_down(stack, running(stack), DownOptions(services=["nope"]))


def test_down_leaves_the_services_whose_profile_is_off(loaded: Loaded) -> None:
    text = (
        "services: {a: {image: x, volumes: ['v1:/v']}, b: {image: x, profiles: [p], volumes: ['v2:/v'], networks: [n]}}\n"
        "volumes: {v1: , v2: }\nnetworks: {n: }\n"
    )
    observed = running(loaded(text, profiles=["p"]))
    everything = DownOptions(volumes=True, rmi="all", remove_orphans=True)
    assert lines(plan_down(loaded(text), observed, everything)) == [
        "remove container demo-a-1",
        "remove network demo_default",
        "remove volume demo_v1",
        "remove image x",
    ]
    assert "remove container demo-b-1" in lines(plan_down(loaded(text, profiles=["p"]), observed, DownOptions()))
    assert lines(plan_down(loaded(text, services=["b"]), observed, DownOptions(services=["b"]))) == [
        "remove container demo-b-1"
    ]


def test_labels_that_depend_on_one_another_in_a_circle_are_still_removed(stack: Project) -> None:
    observed = running(stack, db={"depends_on": ["web"]})
    assert sorted(lines(plan_down(stack, observed, DownOptions())))[0] == "remove container demo-app-1"


def test_stop_and_start_follow_the_dependencies(stack: Project) -> None:
    observed = running(stack)
    assert after(plan_stop(observed, observed.containers), "stop container demo-db-1") == ["stop container demo-app-1"]
    stopped = running(stack, **{name: {"status": "exited"} for name in stack.services})
    plan = plan_start(stack, stopped, select(stack, []))
    assert lines(plan) == [
        "start container demo-db-1 (is exited)",
        "await service db: service healthy",
        "start container demo-app-1 (is exited)",
        "start container demo-web-1 (is exited)",
    ]
    with pytest.raises(NotFound, match=r'^service "db" has no container to start$'):
        plan_start(stack, Observed(), ["db"])


def test_scale_flags_are_checked(stack: Project) -> None:
    assert parse_scales(["db=2", "web=0"], stack) == {"db": 2, "web": 0}
    for text, message in (("db", "invalid --scale option 'db'. Should be SERVICE=NUM"), ("x=1", "no such service: x")):
        with pytest.raises(InceptionError) as caught:
            parse_scales([text], stack)
        assert str(caught.value) == message


def test_the_hash_tells_what_makes_a_new_container(loaded: Loaded) -> None:
    def of(text: str, **options: object) -> str:
        project = loaded(f"services: {{a: {{image: x, {text}}}}}\nsecrets: {{s: {{environment: S}}}}", **options)
        return service_hash(project, project.services["a"])

    base = of("user: me")
    assert of("user: me, scale: 3") == base
    assert of("user: me, depends_on: []") == base
    assert of("user: you") != base
    assert of("labels: {a: b}, user: me") != base
    assert of("secrets: [s]", env={"S": "1"}) != of("secrets: [s]", env={"S": "2"})
