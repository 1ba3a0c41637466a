"""The process in which the validator opens a table: little memory, little time, no files, no network, answers in JSON.

``python -m medground.submission.sandbox MEMORY SECONDS`` reads the question from standard input. What bounds it depends
on the platform, and `confine` returns what is in force:

- ``memory``, ``seconds``, ``files``: resource limits, where the system has them (Linux; macOS does not enforce memory;
  Windows has none). Elsewhere the promises of the file's footer, which the reader checks before it reads, and the
  validator's own clock are what bounds it.
- ``network``: no socket can be made and no program started, by a filter of system calls on Linux (x86-64, arm64).
  Elsewhere the process merely has nothing to say: its environment holds no token (`environment`).
"""

from __future__ import annotations

import json
import os
import platform
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# Numbers of system calls: socket, socketpair, connect, execve, execveat, io_uring_setup.
_REFUSED = {"x86_64": (41, 53, 42, 59, 322, 425), "aarch64": (198, 199, 203, 221, 281, 425)}
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def environment(here: Mapping[str, str]) -> dict[str, str]:
    """What of an environment the process gets: where programs and libraries are, and nothing else."""
    clean = {name: here[name] for name in _KEPT if name in here}
    package = str(Path(__file__).parents[2])
    return {**clean, "PYTHONPATH": package, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}


def confine(memory: int, seconds: int) -> set[str]:
    """Give up what reading a table does not need, for good; the names of the limits that are in force."""
    held: set[str] = set()
    try:
        import resource
    except ImportError:  # Windows
        return held
    limits = {"memory": ("RLIMIT_DATA", memory), "seconds": ("RLIMIT_CPU", seconds), "files": ("RLIMIT_FSIZE", 0)}
    for name, (limit, value) in {**limits, "core": ("RLIMIT_CORE", 0)}.items():
        try:
            resource.setrlimit(getattr(resource, limit), (value, value))
        except (AttributeError, OSError, ValueError):
            continue
        if name != "memory" or sys.platform == "linux":  # the others take the limit and do not keep it
            held.add(name)
    return held | ({"network"} if _without_network() else set())


def _without_network() -> bool:
    """Refuse system calls that make sockets or start programs (seccomp, classic BPF); whether that is in force."""
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform != "linux" or machine not in _REFUSED:
        return False
    import ctypes

    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
    allow, refuse = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM
    calls = _REFUSED[machine]
    refusal = len(calls) + 5  # the line of the program that refuses; jumps count from the line after their own
    program = [
        (load, 0, 0, 4),  # the architecture of the call
        (equal, 0, refusal - 2, _ARCHITECTURE[machine]),
        (load, 0, 0, 0),  # its number
        (at_least, refusal - 4, 0, 0x40000000),  # the other numbers of x86-64
        *((equal, refusal - line - 1, 0, number) for line, number in enumerate(calls, 4)),
        (give, 0, 0, allow),
        (give, 0, 0, refuse),
    ]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    filters = struct.pack("HP", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        return False
    return libc.prctl(22, 2, filters, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def main() -> None:
    """Answer one question."""
    memory, seconds = map(int, sys.argv[1:3])
    question = json.load(sys.stdin)
    # imported before the limits hold: what the import takes is not charged to the file
    from .validator import _shortened, table_problems

    os.umask(0o077)
    confine(memory, seconds)
    found = _shortened(table_problems(Path(question["path"]), question["expected"], question["films"]))
    json.dump([problem.as_dict() for problem in found], sys.stdout)


if __name__ == "__main__":
    main()
