"""The device program is run here by a small interpreter, so that its meaning is tested and not its bytes."""

import struct

import pytest

from inception.linux.bpf import DeviceRule, device_program


def decide(rules, kind, access, major, minor):
    code = device_program(rules)
    assert len(code) % 8 == 0
    context = struct.pack("=III", {"m": 1, "r": 2, "w": 4}[access] << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers = [0] * 11
    at = 0
    while True:
        op, pair, offset, imm = struct.unpack_from("<BBhi", code, at * 8)
        dst, src = pair & 15, pair >> 4
        at += 1
        if op == 0x61:
            registers[dst] = struct.unpack_from("=I", context, offset)[0]
        elif op == 0xB7:
            registers[dst] = imm
        elif op == 0xBF:
            registers[dst] = registers[src]
        elif op == 0x57:
            registers[dst] &= imm
        elif op == 0x77:
            registers[dst] >>= imm
        elif op == 0x15:
            at += offset if registers[dst] == imm else 0
        elif op == 0x55:
            at += offset if registers[dst] != imm else 0
        elif op == 0x5D:
            at += offset if registers[dst] != registers[src] else 0
        elif op == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(hex(op))


DOCKER = [
    DeviceRule(allow=False),
    DeviceRule(allow=True, type="c", access="m"),
    DeviceRule(allow=True, type="b", access="m"),
    DeviceRule(allow=True, type="c", major=1, minor=3),
    DeviceRule(allow=True, type="c", major=136),
]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("c", "r", 1, 3), True),
        (("c", "w", 1, 3), True),
        (("c", "r", 1, 1), False),
        (("c", "m", 1, 1), True),
        (("b", "m", 254, 0), True),
        (("b", "r", 254, 0), False),
        (("c", "r", 136, 7), True),
    ],
)
def test_dockers_default_rules_allow_mknod_of_all_and_use_of_a_few(question, answer):
    assert decide(DOCKER, *question) is answer


def test_without_rules_everything_is_denied():
    assert decide([], "c", "r", 1, 3) is False


def test_the_last_rule_that_matches_wins():
    rules = [DeviceRule(allow=True), DeviceRule(allow=False, type="c", major=5, minor=1, access="w")]
    assert decide(rules, "c", "w", 5, 1) is False
    assert decide(rules, "c", "r", 5, 1) is True
    assert decide(rules, "b", "w", 5, 1) is True


def test_nothing_follows_a_rule_for_everything_because_the_verifier_refuses_dead_code():
    rules = [DeviceRule(allow=True, type="c", major=1, minor=3), DeviceRule(allow=True)]
    assert device_program(rules) == device_program([DeviceRule(allow=True)])
