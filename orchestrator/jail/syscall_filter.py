"""The filter of system calls, as classic BPF for seccomp.

It refuses what a program of the standard library never needs and what has let programs out of
namespaces, or lets them keep memory that no limit counts: mounts, further namespaces, keys,
tracing, io_uring, System V memory, memory files, sockets other than Unix ones. Calls that are newer
than this list do not exist. Numbers are those of the kernel's tables (`unistd_64.h`, `unistd.h`).
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.jail.verdicts import JailUnavailable

#: By name: the number on x86_64 and on aarch64, None where the call is not there.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "_sysctl": (156, None),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_kernel_syms": (177, None),
    "get_mempolicy": (239, 236),
    "init_module": (175, 105),
    "io_cancel": (210, 3),
    "io_destroy": (207, 1),
    "io_getevents": (208, 4),
    "io_pgetevents": (333, 292),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_getsetattr": (245, 185),
    "mq_notify": (244, 184),
    "mq_open": (240, 180),
    "mq_timedreceive": (243, 183),
    "mq_timedsend": (242, 182),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "query_module": (178, None),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "remap_file_pages": (216, 234),
    "request_key": (249, 218),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "shmget": (29, 194),
    "splice": (275, 76),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sync": (162, 81),
    "syncfs": (306, 267),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "tee": (276, 77),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
    "vmsplice": (278, 75),
}
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
#: The first number that was unknown when this was written (Linux 6.5); x32's are far above it.
_UNKNOWN_FROM = 451
#: Flags of clone for mount, cgroup, uts, ipc, user, pid and network namespaces.
_NEW_NAMESPACES = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x60000000
_AF_UNIX = 1

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENT_AT = 0, 4, 16
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


@dataclass(frozen=True)
class _Machine:
    audit: int
    column: int


@dataclass(frozen=True)
class _Step:
    """One instruction; it goes on with the next where no label is named."""

    code: int
    value: int
    yes: str = ""
    no: str = ""
    label: str = ""

    def packed(self, place: int, places: Mapping[str, int]) -> bytes:
        """As the kernel reads it; jumps go forward only, and at most 255 far."""
        yes, no = (places[one] - place - 1 if one else 0 for one in (self.yes, self.no))
        return struct.pack("=HBBI", self.code, yes, no, self.value)


_MACHINES = {"x86_64": _Machine(0xC000003E, 0), "aarch64": _Machine(0xC00000B7, 1)}


def syscall_filter(machine: str | None = None) -> bytes:
    """The program for `bwrap --seccomp`; `JailUnavailable` for machines it does not know."""
    name = machine or platform.machine()
    known = _MACHINES.get(name)
    if known is None:
        raise JailUnavailable(
            f"the jail does not know the system calls of {name}, so nothing was run",
            hint=f"It runs on {' and '.join(_MACHINES)}.",
        )
    column = known.column
    refused = sorted(pair[column] or 0 for pair in _REFUSED.values() if pair[column] is not None)
    steps = [
        _Step(_LOAD, _ARCH_AT),
        _Step(_EQUAL, known.audit, no="kill"),
        _Step(_LOAD, _NUMBER_AT),
        _Step(_AT_LEAST, _UNKNOWN_FROM, yes="unknown"),
        _Step(_EQUAL, _CLONE3[column], yes="unknown"),  # clone, whose flags can be read, is next
        _Step(_EQUAL, _CLONE[column], yes="clone"),
        _Step(_EQUAL, _SOCKET[column], yes="socket"),
        *(_Step(_EQUAL, number, yes="refused") for number in refused),
        _Step(_RETURN, _ALLOW),
        _Step(_LOAD, _ARGUMENT_AT, label="clone"),
        _Step(_ANY_BIT, _NEW_NAMESPACES, yes="refused", no="allowed"),
        _Step(_LOAD, _ARGUMENT_AT, label="socket"),
        _Step(_EQUAL, _AF_UNIX, yes="allowed", no="no family"),
        _Step(_RETURN, _ALLOW, label="allowed"),
        _Step(_RETURN, _ERRNO | errno.EPERM, label="refused"),
        _Step(_RETURN, _ERRNO | errno.EAFNOSUPPORT, label="no family"),
        _Step(_RETURN, _ERRNO | errno.ENOSYS, label="unknown"),
        _Step(_RETURN, _KILL, label="kill"),
    ]
    places = {step.label: place for place, step in enumerate(steps) if step.label}
    return b"".join(step.packed(place, places) for place, step in enumerate(steps))
