"""The filter of system calls, run by an interpreter of classic BPF, and its table."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from orchestrator.jail.syscall_filter import _REFUSED, syscall_filter
from orchestrator.jail.verdicts import JailUnavailable

X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
ALLOWED, KILLED = 0x7FFF0000, 0x80000000
_HEADERS = {
    0: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    1: Path("/usr/include/asm-generic/unistd.h"),
}
_NEWUSER, _SIGCHLD, _THREAD = 0x10000000, 17, 0x3D0F00


def verdict(machine: str, arch: int, number: int, argument: int = 0) -> int:
    """What the filter returns for a call with this first argument."""
    program = list(struct.iter_unpack("=HBBI", syscall_filter(machine)))
    data = struct.pack("=IIQQ", number, arch, 0, argument)
    value = place = 0
    for _ in range(len(program) + 1):
        code, yes, no, constant = program[place]
        if code == 0x06:
            return int(constant)
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, constant)
            place += 1
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: value & constant}[code]
            place += 1 + (yes if holds else no)
    raise AssertionError("the filter does not end")


def refused(code: int) -> int:
    return 0x00050000 | code


@pytest.mark.parametrize(
    ("number", "argument", "expected"),
    [
        (0, 0, ALLOWED),  # read
        (59, 0, ALLOWED),  # execve
        (57, 0, ALLOWED),  # fork
        (450, 0, refused(errno.EPERM)),
        (449, 0, ALLOWED),
        (451, 0, refused(errno.ENOSYS)),
        (0x40000000, 0, refused(errno.ENOSYS)),  # x32
        (435, 0, refused(errno.ENOSYS)),  # clone3
        (56, _SIGCHLD, ALLOWED),
        (56, _THREAD, ALLOWED),
        (56, _NEWUSER | _SIGCHLD, refused(errno.EPERM)),
        (56, 0x40000000, refused(errno.EPERM)),
        (41, 1, ALLOWED),
        (41, 2, refused(errno.EAFNOSUPPORT)),
        (41, 16, refused(errno.EAFNOSUPPORT)),
        (101, 0, refused(errno.EPERM)),
        (165, 0, refused(errno.EPERM)),
    ],
)
def test_calls_of_x86_64(number: int, argument: int, expected: int) -> None:
    assert verdict("x86_64", X86_64, number, argument) == expected


@pytest.mark.parametrize(
    ("number", "argument", "expected"),
    [
        (63, 0, ALLOWED),  # read
        (221, 0, ALLOWED),  # execve
        (117, 0, refused(errno.EPERM)),
        (0, 0, refused(errno.EPERM)),  # io_setup
        (220, _NEWUSER, refused(errno.EPERM)),
        (220, _THREAD, ALLOWED),
        (198, 1, ALLOWED),
        (198, 10, refused(errno.EAFNOSUPPORT)),
    ],
)
def test_calls_of_aarch64(number: int, argument: int, expected: int) -> None:
    assert verdict("aarch64", AARCH64, number, argument) == expected


def test_calls_of_another_machine_end_the_process() -> None:
    assert verdict("x86_64", I386, 3) == KILLED
    assert verdict("aarch64", X86_64, 63) == KILLED


def test_a_machine_that_is_not_known_has_no_jail() -> None:
    with pytest.raises(JailUnavailable, match="does not know the system calls of riscv64"):
        syscall_filter("riscv64")


def test_every_refused_call_is_refused() -> None:
    for numbers in _REFUSED.values():
        for machine, arch, number in zip(
            ("x86_64", "aarch64"), (X86_64, AARCH64), numbers, strict=True
        ):
            if number is not None:
                assert verdict(machine, arch, number) == refused(errno.EPERM)


@pytest.mark.parametrize("column", list(_HEADERS))
def test_numbers_are_those_of_the_kernels_headers(column: int) -> None:
    header = _HEADERS[column]
    if not header.is_file():
        pytest.skip(f"{header} is not installed (linux-libc-dev)")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    known = {name: int(number) for name, number in found}
    assert len(known) > 250
    for name, numbers in _REFUSED.items():
        assert known.get(name, numbers[column]) == numbers[column], name
        if column == 0:
            assert name in known
