"""Programs that try to do harm, or to seem right; each with the verdicts that contain it.

A program that tries something sets `harm` to whether it could, and its tests say `assert harm`: a
pass would mean harm was done. One that only wants to pass is tested by `assert False`.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.jail.verdicts import Verdict

A, R, T, K = Verdict.ASSERTION, Verdict.RAISED, Verdict.TIMEOUT, Verdict.KILLED
M, O, E = Verdict.MEMORY, Verdict.OUTPUT, Verdict.ENDED_EARLY  # noqa: E741


@dataclass(frozen=True)
class Hostile:
    """One program, what may come of it, and its tests."""

    program: str
    contained_by: tuple[Verdict, ...] = (A,)
    tests: str = "assert harm"
    exception: str = ""


def tries(*lines: str) -> Hostile:
    """Harm is done when the lines run to their end, and `harm` is not set otherwise."""
    body = "\n".join(f"    {line}" for line in lines)
    return Hostile(
        "import ctypes, os, socket, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"harm = False\ntry:\n{body}\n    harm = True\nexcept (OSError, ValueError):\n    pass\n"
    )


def calls(*numbers_and_arguments: str) -> Hostile:
    """Harm is done when any of these system calls (on x86_64 or aarch64) is not refused."""
    return Hostile(
        "import ctypes, platform\nlibc = ctypes.CDLL(None)\n"
        "column = ('x86_64', 'aarch64').index(platform.machine())\n"
        "def call(numbers, *arguments):\n    return libc.syscall(numbers[column], *arguments)\n"
        f"harm = any(result != -1 for result in [{', '.join(numbers_and_arguments)}])\n"
    )


PROCESSES = {
    "a fork bomb": Hostile(
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        (T, K),
    ),
    "a bomb of threads": Hostile(
        "import threading\nhold = threading.Event()\n"
        "while True:\n    threading.Thread(target=hold.wait, daemon=True).start()",
        (R,),
        exception="RuntimeError",
    ),
    "a daemon by a double fork": Hostile(
        "import os, signal, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork():\n        os._exit(0)\n"
        "    for one in (1, 2, 3, 15, 24):\n        signal.signal(one, signal.SIG_IGN)\n"
        "    os.closerange(0, 64)\n    time.sleep(600)\n"
        "os._exit(0)",
        (E,),
    ),
    "kill -9 -1": Hostile("import os\nos.kill(-1, 9)", (R, K), exception="ProcessLookupError"),
    "kill of its parent": Hostile("import os\nos.kill(os.getppid(), 9)\nharm = os.getppid() != 1"),
    "kill of every number": Hostile(
        "import os\nharm = False\nfor pid in range(2, 40000):\n    if pid != os.getpid():\n"
        "        try:\n            os.kill(pid, 9)\n            harm = True\n"
        "        except OSError:\n            pass"
    ),
    "a stop of its own group": Hostile("import os, signal\nos.killpg(0, signal.SIGSTOP)", (T,)),
    "sleep without end, deaf to SIGTERM": Hostile(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(10**6)",
        (T,),
    ),
    "a busy loop": Hostile("while True: pass", (T,)),
    "a busy loop, deaf to SIGXCPU": Hostile(
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", (K, T)
    ),
    "a power that never ends": Hostile("x = 9 ** 9 ** 9", (T, M)),
    "a regular expression that never ends": Hostile(
        "import re\nre.match(r'(a+)+$', 'a' * 64 + 'b')", (T,)
    ),
    "another architecture's system calls": Hostile(
        "import ctypes, mmap, platform\nharm = False\n"
        "if platform.machine() == 'x86_64':\n"
        "    harm = ctypes.CDLL(None).syscall(0x40000029, 2, 1, 0) != -1  # x32's socket\n"
        "    code = mmap.mmap(-1, 4096, prot=7)\n"
        "    code.write(b'\\xb8\\x66\\x01\\x00\\x00\\xcd\\x80\\xc3')  # i386's, by int 0x80\n"
        "    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()\n"
        "    harm = True",
        (K, A),
    ),
    "higher limits for itself": tries(
        "import resource", "resource.setrlimit(resource.RLIMIT_NPROC, (4096, 4096))"
    ),
    "priority over everybody": tries("os.setpriority(os.PRIO_PROCESS, 0, -20)"),
    "real-time priority": tries("os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))"),
}

MEMORY = {
    "a bomb of memory": Hostile("x = []\nwhile True: x.append(bytearray(10**7))", (M,)),
    "memory of many processes": Hostile(
        "import os, time\nfor _ in range(2):\n    os.fork()\n"
        "x = bytearray(b'x') * (64 * 2**20)\ntime.sleep(60)",
        (M,),
    ),
    "shared memory": Hostile("import mmap\nmmap.mmap(-1, 2**34)", (R, M), exception="OSError"),
    "System V memory": calls("call((29, 194), 0, 1 << 20, 0o1600)"),
    "files in memory": calls("call((319, 279), b'x', 0)"),
    "a full disk": Hostile(
        "n = 0\ntry:\n    while True:\n        with open(f'/tmp/{n}', 'wb') as out:\n"
        "            out.write(bytes(2**20))\n        n += 1\nexcept OSError:\n    pass\n"
        "harm = n > 64"
    ),
    "a sparse file": tries("open('/tmp/x', 'wb').truncate(2**40)"),
    "files without number": Hostile(
        "n = 0\nwhile True:\n    open(f'/tmp/{n}', 'w').close()\n    n += 1", (M, T)
    ),
    "all open files": Hostile(
        "n, held = 0, []\ntry:\n    while n < 5000:\n        held.append(open('/dev/null'))\n"
        "        n += 1\nexcept OSError:\n    pass\nharm = n > 64"
    ),
    "a flood of output": Hostile("while True: print('x' * 10**5)", (O,)),
    "a flood of errors": Hostile("import sys\nwhile True: sys.stderr.write('x' * 10**5)", (O,)),
    "recursion": Hostile("def f(): f()\nf()", (R,), exception="RecursionError"),
    "recursion without a limit": Hostile(
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return [f(x)]\nf(0)", (K, M, T)
    ),
    "a zip bomb": Hostile(
        "import gzip\nbomb = gzip.compress(bytes(2**24)) * 40\ngzip.decompress(bomb)",
        (M,),
    ),
    "a jump into nowhere": Hostile("import ctypes\nctypes.string_at(0)", (K,)),
}

NETWORK_AND_FILES = {
    "a connection to this machine": tries("socket.create_connection(('127.0.0.1', {port}), 1)"),
    "a connection by IPv6": tries("socket.create_connection(('::1', {port}), 1)"),
    "an abstract Unix socket": tries("socket.socket(socket.AF_UNIX).connect({abstract!r})"),
    "the name of a host": tries("socket.getaddrinfo('example.com', 443)"),
    "a raw socket": tries("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
    "a netlink socket": tries("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    "a file of the user's": tries("open({canary!r}).read()"),
    "the home folder": tries("os.listdir({home!r})"),
    "accounts and passwords": Hostile(
        "import os\nharm = any(map(os.path.exists, ('/etc/shadow', '/etc/passwd', '/etc/hosts')))"
    ),
    "secrets in the environment": Hostile(
        "import glob, os\nseen = repr(dict(os.environ))\n"
        "for name in glob.glob('/proc/*/environ'):\n    seen += open(name).read()\n"
        "harm = {secret!r} in seen or len(os.environ) > 6"
    ),
    "files outside": Hostile(
        "import os\nharm = []\n"
        "for name in ('/x', '/usr/x', '/dev/x', '/jail/x', '/etc/x', '/home/x', {canary!r},\n"
        "             '/jail/inside.py', os.__file__):\n"
        "    try:\n        open(name, 'a').write('harm')\n        harm.append(name)\n"
        "    except OSError:\n        pass"
    ),
    "the kernel's switches": Hostile(
        "import os\nharm = os.path.exists('/proc') or os.path.exists('/sys')"
    ),
    "a pipe with a name that nobody writes to": Hostile(
        "import os\nos.mkfifo('/tmp/way')\nopen('/tmp/way').read()", (T,)
    ),
    "a symbolic link out": tries(
        "os.symlink({canary!r}, '/tmp/way')", "open('/tmp/way', 'a').write('harm')"
    ),
    "a symbolic link into the system": tries(
        "os.symlink(os.__file__, '/tmp/way')", "open('/tmp/way', 'a').write('harm')"
    ),
    "a hard link": tries("os.link(os.__file__, '/tmp/way')"),
    "a device": tries("os.mknod('/tmp/disk', 0o60666, os.makedev(8, 0))"),
    "the terminal": tries("open('/dev/tty', 'w').write('harm')"),
}

PRIVILEGES = {
    "a mount": calls("call((165, 40), b'none', b'/tmp', b'tmpfs', 0, 0)"),
    "no read-only system any more": calls("call((165, 40), 0, b'/', 0, 0x1020, 0)"),
    "a namespace of its own": calls(
        "call((272, 97), 0x10000000)", "call((56, 220), 0x10000011, 0, 0, 0, 0)"
    ),
    "a namespace by clone3": calls("call((435, 435), 0, 0)"),
    "another root": calls("call((161, 51), b'/tmp')", "call((155, 41), b'/tmp', b'/tmp')"),
    "to be root": tries("os.setuid(0)"),
    "a program that makes root": Hostile(
        "import ctypes\nharm = ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) != 1"
    ),
    "to trace others": calls("call((101, 117), 16, 1, 0, 0)", "call((310, 270), 1, 0, 0, 0, 0, 0)"),
    "another name and time for the machine": calls(
        "call((170, 161), b'x', 1)", "call((227, 112), 0, 0)", "call((169, 142), 0, 0, 0, 0)"
    ),
    "bpf, perf, io_uring, userfaultfd, keys": calls(
        *("call((321, 280), 0, 0, 0)", "call((298, 241), 0, 0, -1, -1, 0)"),
        *("call((425, 425), 1, 0)", "call((323, 282), 0)", "call((250, 219), 0, -3, 0)"),
    ),
}

FORGED = {
    "an exit before the tests": Hostile("import sys\nsys.exit(0)", (E,), "assert False"),
    "a hard exit before the tests": Hostile("import os\nos._exit(0)", (E,), "assert False"),
    "a hard exit in the function": Hostile(
        "import os\ndef f(): os._exit(0)", (E,), "f()\nassert False"
    ),
    "an exit in the function": Hostile(
        "import sys\ndef f(): sys.exit(0)", (E,), "f()\nassert False"
    ),
    "another program in its place": Hostile(
        "import os\nos.execv('/usr/bin/true', ['true'])", (E,), "assert False"
    ),
    "words at exit": Hostile(
        "import atexit, os\n@atexit.register\ndef say():\n    print('passed')\n    os._exit(0)",
        (A,),
        "assert False",
    ),
    "the word of a pass on standard output": Hostile(
        "print('passed')\nprint('ready\\ncompiled\\ndefined\\npassed ' + '0' * 32, flush=True)",
        (A,),
        "assert False",
    ),
    "the word of a pass in every pipe": Hostile(
        "import os\nfor pipe in range(3, 64):\n    try:\n"
        "        os.write(pipe, b'passed ' + b'0' * 32 + b'\\n')\n"
        "    except OSError:\n        pass",
        (E,),
        "assert False",
    ),
    "the whole conversation in every pipe": Hostile(
        "import os\nfor pipe in range(3, 64):\n    try:\n"
        "        os.write(pipe, b'defined\\npassed \\npassed ' + b'0' * 32 + b'\\n')\n"
        "    except OSError:\n        pass\nos._exit(0)",
        (E,),
        "assert False",
    ),
    "a flood in every pipe": Hostile(
        "import os\nwhile True:\n    for pipe in range(3, 64):\n        try:\n"
        "            os.write(pipe, b'x' * 4096)\n        except OSError:\n            pass",
        (E,),
        "assert False",
    ),
    "no pipes any more": Hostile("import os\nos.closerange(0, 64)", (E,), "assert False"),
    "another AssertionError": Hostile(
        "import builtins\nclass Dummy(BaseException): pass\nbuiltins.AssertionError = Dummy",
        (A,),
        "assert False",
    ),
    "built-in functions that do nothing": Hostile(
        "import builtins\nbuiltins.exec = builtins.compile = lambda *a, **k: None\n"
        "builtins.abs = lambda x: 0\nbuiltins.vars = builtins.dict = lambda *a: {}",
        (A,),
        "assert abs(3) == 0",
    ),
    "built-in names of its own": Hostile(
        "import builtins\n__builtins__ = dict(vars(builtins), abs=lambda x: 0)",
        (A,),
        "assert abs(3) == 0",
    ),
    "modules that agree": Hostile(
        "import json, math, os, sys\nmath.isclose = lambda *a: True\n"
        "class Math:\n    isclose = staticmethod(lambda *a: True)\nsys.modules['math'] = Math\n"
        "json.loads = lambda text: {}\nos.read = lambda *a: b''",
        (A,),
        "import math\nassert math.isclose(1, 2)",
    ),
    "another table of modules": Hostile(
        "import sys, types\nother = types.ModuleType('math')\nother.isclose = lambda *a: True\n"
        "sys.modules['math'] = other\nsys.modules = dict(sys.modules)",
        (A,),
        "import math\nassert math.isclose(1, 2)",
    ),
    "a part of a module that agrees": Hostile(
        "import os.path, sys, types\nos.path.join = lambda *a: 'x'\n"
        "sys.modules['os.path'] = types.ModuleType('os.path')",
        (A,),
        "from os import path\nimport os.path as p\nassert 'x' in (path.join('a', 'b'), "
        "p.join('a', 'b'))",
    ),
    "a part of unittest that agrees": Hostile(
        "import unittest.case\nunittest.case._AssertRaisesContext.__exit__ = lambda *a: True",
        (A,),
        "import unittest\nwith unittest.TestCase().assertRaises(ValueError): pass",
    ),
    "a unittest that agrees": Hostile(
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n"
        "unittest.TestCase.__getattribute__ = lambda *a: lambda *b: None",
        (A,),
        "import unittest\nunittest.TestCase().assertEqual(1, 2)",
    ),
    "the main module bent": Hostile(
        "import sys\nfor name, one in list(sys.modules.items()):\n"
        "    for inner in ('_received', '_receiver', '_put_back', '_teller', 'main'):\n"
        "        if hasattr(one, inner):\n            setattr(one, inner, lambda *a: None)",
        (A,),
        "assert False",
    ),
    "a trace that swallows": Hostile(
        "import sys\ndef trace(frame, event, value):\n    if 'tests' in frame.f_code.co_filename:\n"
        "        raise SystemExit(0)\n    return trace\nsys.settrace(trace)\nsys.settrace = print",
        (A,),
        "assert False",
    ),
    "a child that goes on in its place": Hostile(
        "import os\nif os.fork():\n    os._exit(0)", (E, A), "assert False"
    ),
    "an interruption": Hostile(
        "raise KeyboardInterrupt", (R,), "assert False", exception="KeyboardInterrupt"
    ),
    "an exception with a false name": Hostile(
        "class X(BaseException): pass\nX.__name__ = 'passed\\npassed'\nraise X",
        (R,),
        "assert False",
    ),
}

ALL = {**PROCESSES, **MEMORY, **NETWORK_AND_FILES, **PRIVILEGES, **FORGED}
#: What nothing but the clock ends: they sleep, or are as many as they can be at once.
ENDED_BY_THE_CLOCK = frozenset(
    {
        "a fork bomb",
        "a stop of its own group",
        "sleep without end, deaf to SIGTERM",
        "a pipe with a name that nobody writes to",
    }
)
