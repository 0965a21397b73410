"""`build --allow`, and what it allows: steps without a sandbox, devices of CDI, the host's network."""

from __future__ import annotations

import json

import pytest

from inception.build import BuildFailed, DockerfileError
from inception.build.devices import parse_allow
from inception.engine import cdi
from inception.engine.config import ContainerConfig, ResourceConfig
from inception.errors import InceptionError, InvalidArgument

pytestmark = pytest.mark.needs("root", "busybox")


@pytest.fixture
def specs(tmp_path, monkeypatch):
    """Two folders of specifications, the later one before the earlier."""
    folders = (tmp_path / "cdi-etc", tmp_path / "cdi-run")
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(cdi, "FOLDERS", tuple(map(str, folders)))
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/lib").write_text("of the vendor")
    (folders[0] / "vendor.yaml").write_text(
        f"""cdiVersion: "0.6.0"
kind: vendor.com/gadget
containerEdits:
  env: ["COMMON=yes"]
devices:
  - name: first
    containerEdits:
      env: ["GADGET=first"]
      deviceNodes:
        - {{path: /dev/gadget, hostPath: /dev/kmsg, permissions: r}}
      mounts:
        - {{hostPath: {tmp_path}/shared, containerPath: /opt/gadget, options: [ro, rbind]}}
      additionalGids: [44]
  - name: second
    annotations: {{org.mobyproject.buildkit.device.class: odd}}
    containerEdits: {{env: ["SECOND=1"]}}
  - name: hooked
    containerEdits:
      hooks: [{{hookName: createContainer, path: /bin/true}}]
"""
    )
    free = {"devices": [{"name": "x", "containerEdits": {"env": ["FREE=1"]}}], "kind": "vendor.com/free", "cdiVersion": "0.5.0"}
    (folders[1] / "free.json").write_text(
        json.dumps({**free, "annotations": {"org.mobyproject.buildkit.device.autoallow": True}})
    )
    return folders


SHOW = "sh -c 'echo \"$COMMON $GADGET $SECOND $FREE\" >/env'"


def test_a_step_gets_the_devices_that_it_names(busybox, specs):
    busybox.build(
        "FROM busybox\nRUN --device=vendor.com/gadget=first,required "
        "echo $COMMON $GADGET >/seen && cat /opt/gadget/lib >>/seen && stat -c %F:%t:%T /dev/gadget >>/seen && "
        "grep ^Groups /proc/self/status >>/seen; echo x >/dev/gadget || echo read-only >>/seen\n"
        "RUN test ! -e /dev/gadget && test -z $GADGET\n",
        allow=["device"],
    )
    lines = busybox.read("seen").splitlines()
    assert lines[:2] == ["yes first", "of the vendorcharacter special file:1:b"]
    assert "44" in lines[2].split()
    assert lines[3:] == ["read-only"]
    assert not any("gadget" in line for line in busybox.tree())


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("vendor.com/gadget=second", "yes  1 "),
        ("vendor.com/gadget", "yes first  "),
        ("odd", "yes  1 "),
        ("vendor.com/free=*", "   1"),
        ("nobody.com/has=it", "   "),
    ],
)
def test_devices_are_named_by_kind_class_and_star(busybox, specs, name, seen):
    busybox.build(f"FROM busybox\nRUN --device={name} {SHOW}\n", allow=["device"])
    assert busybox.read("env") == seen + "\n"


def test_a_device_is_given_when_it_is_allowed(busybox, specs):
    asks = "FROM busybox\nRUN --device=vendor.com/gadget=second true\n"
    with pytest.raises(DockerfileError, match=r"device vendor.com/gadget=second is requested by the build but not allowed"):
        busybox.build(asks)
    for allowed in ("device", "device=vendor.com/gadget=second", "device=vendor.com/gadget"):
        busybox.build(asks, allow=[allowed], no_cache=True)
    with pytest.raises(DockerfileError, match="not allowed"):
        busybox.build(asks, allow=["device=vendor.com/gadget=first"])
    busybox.build("FROM busybox\nRUN --device=vendor.com/free=x true\n")
    with pytest.raises(DockerfileError, match=r"required device a.com/b=c is not registered"):
        busybox.build("FROM busybox\nRUN --device=a.com/b=c,required true\n", allow=["device"])
    with pytest.raises(BuildFailed, match="hooks are not supported"):
        busybox.build("FROM busybox\nRUN --device=vendor.com/gadget=hooked true\n", allow=["device"])


def test_a_build_with_devices_is_not_remembered_as_a_whole(busybox, specs):
    dockerfile = f"FROM busybox\nRUN --device=vendor.com/late=x {SHOW}\n"
    busybox.build(dockerfile, allow=["device"])
    late = {"devices": [{"name": "x", "containerEdits": {"env": ["FREE=late"]}}], "kind": "vendor.com/late"}
    (specs[0] / "late.json").write_text(json.dumps({**late, "cdiVersion": "1.0.0"}))
    busybox.build(dockerfile, allow=["device"])
    assert busybox.read("env") == "   late\n"


def test_later_folders_win_and_what_two_files_have_is_nobodys(specs):
    def write(folder: int, file: str, name: str, value: str) -> None:
        device = {"name": name, "containerEdits": {"env": [f"V={value}"]}}
        (specs[folder] / file).write_text(json.dumps({"cdiVersion": "0.6.0", "kind": "v.com/k", "devices": [device]}))

    write(0, "a.json", "one", "early")
    write(1, "a.json", "one", "late")
    write(0, "b.json", "two", "1")
    write(0, "c.json", "two", "2")
    (specs[0] / "broken.yaml").write_text("cdiVersion: [")
    (specs[0] / "old.json").write_text('{"cdiVersion": "9.0", "kind": "v.com/k", "devices": []}')
    found = cdi.Registry()
    assert found.find("v.com/k=one").edits == {"env": ["V=late"]}
    assert "v.com/k=two" not in found.devices
    assert {path.rpartition("/")[2] for path in found.broken} == {"k=two", "broken.yaml", "old.json"}


def test_without_a_sandbox_a_step_may_do_all_that_the_builder_may(busybox):
    step = "RUN --security=insecure mount -t tmpfs none /mnt && touch /mnt/x && umount /mnt && echo done >/done\n"
    with pytest.raises(DockerfileError, match=r"security.insecure is not allowed"):
        busybox.build(f"FROM busybox\nRUN mkdir /mnt\n{step}")
    busybox.build(f"FROM busybox\nRUN mkdir /mnt\n{step}", allow=["security.insecure"])
    assert busybox.read("done") == "done\n"
    with pytest.raises(DockerfileError, match=r"security.insecure is not allowed"):  # though its step is in the cache
        busybox.build()
    with pytest.raises(BuildFailed):
        busybox.build(
            "FROM busybox\nRUN --security=sandbox mkdir /mnt && mount -t tmpfs none /mnt\n", allow=["security.insecure"]
        )


def test_the_hosts_network_can_be_allowed_for_single_steps(busybox):
    with open("/proc/net/dev") as file:
        host = {line.partition(":")[0].strip() for line in file if ":" in line}
    busybox.build(
        "FROM busybox\nRUN --network=host cat /proc/net/dev >/host\nRUN cat /proc/net/dev >/own\n", allow=["network.host"]
    )
    seen = {
        name: {line.partition(":")[0].strip() for line in busybox.read(name).splitlines() if ":" in line}
        for name in ("host", "own")
    }
    assert host & seen["host"] == host or seen["host"] > seen["own"]
    assert seen["own"] <= {
        "lo",
        "eth0",
        "tunl0",
        "sit0",
        "ip6tnl0",
        "gre0",
        "gretap0",
        "erspan0",
        "ip_vti0",
        "ip6_vti0",
        "ip6gre0",
    }


@pytest.mark.parametrize("text", ["everything", "security.insecure=x", "device=", ""])
def test_unknown_entitlements_are_refused(text):
    with pytest.raises(InvalidArgument, match="invalid entitlement"):
        parse_allow(text)


def test_a_container_gets_devices_by_the_same_names(busybox, specs):
    found = run(busybox.engine, "vendor.com/gadget=first", ["sh", "-c", "echo $COMMON $GADGET; cat /opt/gadget/lib"])
    assert found == "yes first\nof the vendor"
    with pytest.raises(InceptionError, match=r"unresolvable CDI devices vendor.com/gadget=third"):
        run(busybox.engine, "vendor.com/gadget=third", ["true"])


def run(engine, device: str, command: list[str]) -> str:
    settings = ContainerConfig(
        image="busybox", command=command, network_mode="none", resources=ResourceConfig(cdi_devices=[device])
    )
    container = engine.containers.create(settings)
    try:
        container.start()
        container.wait()
        return b"".join(line.data for line in container.logs()).decode()
    finally:
        container.remove(force=True)
