import pytest

from inception.errors import InvalidArgument
from inception.linux.cgroup import Cgroups
from inception.oci.runtime import BlockIo, Cpu, DeviceRule, HugepageLimit, Memory, Pids, Resources, ThrottleDevice
from inception.runtime.resources import cpu_weight, device_rules, limited_controllers, plan_resources, swap_max

V1 = Cgroups({c: f"/cg/{c}" for c in ("memory", "cpu", "cpuset", "pids", "blkio")}, None)
V2 = Cgroups({}, "/cg", ("memory", "cpu", "cpuset", "pids", "io"))
HYBRID = Cgroups(V1.v1, "/cg/unified", ())


def lines(resources, cgroups):
    return [f"{write.file} = {write.value}" for write in plan_resources(resources, cgroups)]


def test_memory_and_swap_are_written_in_the_order_that_v1_accepts():
    resources = Resources(memory=Memory(limit=100 << 20, swap=200 << 20, reservation=50 << 20))
    assert lines(resources, V1) == [
        "memory.limit_in_bytes = 104857600",
        "memory.memsw.limit_in_bytes = 209715200",
        "memory.soft_limit_in_bytes = 52428800",
    ]


def test_v2_swap_does_not_count_memory():
    resources = Resources(memory=Memory(limit=100 << 20, swap=200 << 20))
    assert lines(resources, V2) == ["memory.swap.max = 104857600", "memory.max = 104857600"]
    assert swap_max(1, -1) == "max"


@pytest.mark.parametrize(("limit", "swap", "words"), [(0, 1, "needs memory.limit"), (2, 1, "must not be below")])
def test_swap_that_makes_no_sense_is_refused(limit, swap, words):
    with pytest.raises(InvalidArgument, match=words):
        swap_max(limit, swap)


def test_cpu_limits_in_both_dialects():
    resources = Resources(cpu=Cpu(shares=1024, quota=50000, period=100000, cpus="0-1"))
    assert lines(resources, V1) == [
        "cpu.shares = 1024",
        "cpu.cfs_period_us = 100000",
        "cpu.cfs_quota_us = 50000",
        "cpuset.cpus = 0-1",
    ]
    assert lines(resources, V2) == ["cpu.weight = 100", "cpu.max = 50000 100000", "cpuset.cpus = 0-1"]


def test_cpu_weight_spans_its_range_and_never_falls():
    weights = [cpu_weight(shares) for shares in (2, 10, 512, 1024, 2048, 262144)]
    assert weights[0] == 1 and weights[3] == 100 and weights[-1] == 10000
    assert weights == sorted(weights)


def test_no_pids_limit_is_written_as_max():
    assert lines(Resources(pids=Pids(limit=-1)), V1) == ["pids.max = max"]
    assert lines(Resources(pids=Pids(limit=64)), V2) == ["pids.max = 64"]


def test_throttles_in_both_dialects():
    resources = Resources(block_io=BlockIo(throttle_write_bps_device=[ThrottleDevice(major=8, minor=0, rate=1000)]))
    assert lines(resources, V1) == ["blkio.throttle.write_bps_device = 8:0 1000"]
    assert lines(resources, V2) == ["io.max = 8:0 wbps=1000"]


def test_a_missing_controller_is_named():
    with pytest.raises(InvalidArgument, match="cgroup controller 'hugetlb' is not available"):
        plan_resources(Resources(hugepage_limits=[HugepageLimit(page_size="2MB", limit=1)]), V1)


def test_in_a_hybrid_the_limits_go_to_v1():
    assert lines(Resources(pids=Pids(limit=64)), HYBRID) == ["pids.max = 64"]
    assert limited_controllers(plan_resources(Resources(pids=Pids(limit=64)), HYBRID)) == ["pids"]


@pytest.mark.parametrize("file", ["../x", "memory", "memory.max/../../x"])
def test_unified_names_cannot_leave_the_cgroup(file):
    with pytest.raises(InvalidArgument):
        plan_resources(Resources(unified={file: "1"}), V2)


def test_device_rules_name_the_place_of_what_is_wrong():
    with pytest.raises(InvalidArgument, match=r"linux.resources.devices\[1\].access"):
        device_rules(Resources(devices=[DeviceRule(allow=False), DeviceRule(allow=True, access="x")]))
    assert device_rules(Resources(devices=[DeviceRule(allow=True, type="c", major=-1)]))[0].major is None
