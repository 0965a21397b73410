"""Compiled filters, run by a small interpreter of BPF: what does the kernel answer?"""

from __future__ import annotations

import struct

import pytest

from inception.errors import InvalidArgument
from inception.linux import abi, seccomp
from inception.linux.syscall_tables import numbers
from inception.oci.runtime import Seccomp, SeccompArg, SeccompSyscall
from inception.runtime.defaults import DEFAULT_CAPABILITIES, default_seccomp, load_seccomp

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50001, 0x50026
KILL = abi.SECCOMP_RET_KILL_PROCESS
X86 = numbers("SCMP_ARCH_X86_64")


def answer(program: bytes, number: int, *args: int, audit: int = abi.AUDIT_ARCH_X86_64) -> int:
    data = struct.pack("=IIQ6Q", number, audit, 0, *(arg & (1 << 64) - 1 for arg in (*args, *[0] * (6 - len(args)))))
    code = list(struct.iter_unpack("=HBBI", program))
    at, value = 0, 0
    for _ in range(len(code)):
        op, yes, no, k = code[at]
        at += 1
        if op == abi.BPF_RET | abi.BPF_K:
            return k
        if op == abi.BPF_LD | abi.BPF_W | abi.BPF_ABS:
            value = struct.unpack_from("=I", data, k)[0]
        elif op == abi.BPF_ALU | abi.BPF_AND | abi.BPF_K:
            value &= k
        elif op == abi.BPF_JMP | abi.BPF_JA:
            at += k
        else:
            test = {abi.BPF_JEQ: value == k, abi.BPF_JGT: value > k, abi.BPF_JGE: value >= k}[op & 0xF0]
            at += yes if test else no
    raise AssertionError("the filter does not end")


@pytest.fixture(scope="module")
def docker() -> bytes:
    return seccomp.compile_filter(default_seccomp(DEFAULT_CAPABILITIES))


pytestmark = pytest.mark.skipif(abi.ARCHITECTURE != "x86_64", reason="the table of expectations is x86-64's")


@pytest.mark.parametrize("name", ["read", "write", "execve", "openat2", "chroot", "futex", "rt_sigtimedwait"])
def test_dockers_profile_allows_ordinary_calls(docker: bytes, name: str):
    assert answer(docker, X86[name]) == ALLOW


@pytest.mark.parametrize(
    "name",
    [
        *("keyctl", "add_key", "request_key", "bpf", "userfaultfd", "io_uring_setup", "open_by_handle_at"),
        *("perf_event_open", "fsopen", "mount", "unshare", "setns", "kexec_load", "init_module", "reboot", "ioperm"),
    ],
)
@pytest.mark.parametrize("architecture", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"])
def test_dockers_profile_denies_what_attacks_kernels_on_every_entry(docker: bytes, name: str, architecture: str):
    number = numbers(architecture).get(name)
    audit = abi.AUDIT_ARCH_I386 if architecture == "SCMP_ARCH_X86" else abi.AUDIT_ARCH_X86_64
    if number is not None:
        assert answer(docker, number, audit=audit) == EPERM


def test_clone_is_allowed_without_new_namespaces_and_clone3_is_not_there(docker: bytes):
    assert answer(docker, X86["clone"], 0x11) == ALLOW
    assert answer(docker, X86["clone"], abi.CLONE_NEWUSER | 17) == EPERM
    assert answer(docker, X86["clone3"]) == ENOSYS


@pytest.mark.parametrize(("family", "expected"), [(1, ALLOW), (2, ALLOW), (16, ALLOW), (38, EPERM), (40, EPERM), (41, ALLOW)])
def test_sockets_of_odd_families_are_denied(docker: bytes, family: int, expected: int):
    assert answer(docker, X86["socket"], family) == expected


@pytest.mark.parametrize(("persona", "expected"), [(0, ALLOW), (8, ALLOW), (0xFFFFFFFF, ALLOW), (1, EPERM), (1 << 32, EPERM)])
def test_personality_compares_all_64_bits(docker: bytes, persona: int, expected: int):
    assert answer(docker, X86["personality"], persona) == expected


def test_an_unlisted_architecture_is_killed(docker: bytes):
    assert answer(docker, 0, audit=abi.AUDIT_ARCH_ARM) == KILL


def test_without_x32_in_the_list_its_calls_are_killed():
    program = seccomp.compile_filter(Seccomp(default_action="SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_X86_64"]))
    assert answer(program, 0) == ALLOW and answer(program, 0x40000000) == KILL and answer(program, 0xFFFFFFFF) == KILL


def test_capabilities_open_their_calls():
    program = seccomp.compile_filter(default_seccomp([*DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN"]))
    assert answer(program, X86["mount"]) == answer(program, X86["clone3"]) == ALLOW
    assert answer(program, X86["clone"], abi.CLONE_NEWUSER) == ALLOW


BIG = (7 << 32) + 5


@pytest.mark.parametrize(
    ("op", "hits", "misses"),
    [
        ("EQ", [BIG], [5, BIG + 1, 7 << 32]),
        ("NE", [5, BIG + 1, 7 << 32], [BIG]),
        ("LT", [BIG - 1, 6 << 32, 0], [BIG, BIG + 1, 8 << 32]),
        ("LE", [BIG, BIG - 1, 0], [BIG + 1, 8 << 32]),
        ("GT", [BIG + 1, 8 << 32], [BIG, BIG - 1, 6 << 32]),
        ("GE", [BIG, BIG + 1, 8 << 32], [BIG - 1, (6 << 32) + 9]),
    ],
)
def test_comparisons_see_both_halves_of_an_argument(op: str, hits: list[int], misses: list[int]):
    rule = SeccompSyscall(names=["read"], action="SCMP_ACT_ERRNO", args=[SeccompArg(index=3, value=BIG, op=f"SCMP_CMP_{op}")])
    program = seccomp.compile_filter(Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=[rule]))
    assert {answer(program, 0, 0, 0, 0, value) for value in hits} == {EPERM}
    assert {answer(program, 0, 0, 0, 0, value) for value in misses} == {ALLOW}


def test_what_is_not_supported_is_refused_by_name():
    with pytest.raises(InvalidArgument, match=r"linux.seccomp.syscalls\[0\].action: unknown action: 'SCMP_ACT_OTHER'"):
        rule = SeccompSyscall(names=["read"], action="SCMP_ACT_OTHER")
        seccomp.compile_filter(Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=[rule]))
    with pytest.raises(InvalidArgument, match="seccomp profile: nope: unknown property"):
        load_seccomp({"nope": 1}, [])
