"""Take from this process all that a decoder does not need. Called once the codecs are loaded; cannot be undone.

Codecs are C libraries with a steady flow of overflows: whoever takes one over finds no network, no file to open but the
one it was handed, no program to start, and an end to its memory and time.
"""

import ctypes
import platform
import resource
import struct
import sys
from typing import Final

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1  # for every thread of the process

# Of <linux/audit.h>, and the numbers of <asm/unistd.h> for each machine.
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_REFUSED: Final = {
    "x86_64": (
        *(2, 85, 257, 437, 304),  # open, creat, openat, openat2, open_by_handle_at
        *(41, 42, 43, 49, 50, 53, 288),  # socket, connect, accept, bind, listen, socketpair, accept4
        *(56, 57, 58, 59, 322, 435),  # clone, fork, vfork, execve, execveat, clone3
        *(62, 101, 200, 310, 311, 424, 438),  # kill, ptrace, tkill, process_vm_*, pidfd_send_signal, pidfd_getfd
        *(76, 82, 83, 84, 86, 87, 88, 90, 92),  # truncate, rename, mkdir, rmdir, link, unlink, symlink, chmod, chown
        *(258, 260, 263, 264, 265, 266, 268, 316),  # the same, relative to a folder
        *(250, 272, 298, 308, 321, 323, 425),  # keyctl, unshare, perf, setns, bpf, userfaultfd, io_uring_setup
    ),
    "aarch64": (
        *(56, 265, 437),
        *(198, 199, 200, 201, 202, 203, 242),
        *(220, 221, 281, 435),
        *(117, 129, 130, 270, 271, 424, 438),
        *(34, 35, 36, 37, 38, 45, 53, 54, 276),
        *(97, 219, 241, 268, 280, 282, 425),
    ),
}
_X32_BIT = 0x40000000


def confine(memory_bytes: int) -> None:
    """Cap memory, forbid core dumps and writing files; on x86-64 and ARM64, refuse the system calls listed above.

    Refused calls fail with EPERM. On another machine only the caps hold.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    for nothing in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(nothing, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    machine = platform.machine()
    if machine not in _REFUSED or sys.maxsize < 2**32:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    program = _build_filter(_AUDIT_ARCH[machine], _REFUSED[machine])
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: number of instructions, padding, address of the first.
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    steps = (
        libc.prctl(_PR_SET_DUMPABLE, *map(ctypes.c_ulong, (0, 0, 0, 0))),
        libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))),
        libc.syscall(
            ctypes.c_long(_SECCOMP[machine]),
            ctypes.c_long(_SECCOMP_SET_MODE_FILTER),
            ctypes.c_long(_SECCOMP_FILTER_FLAG_TSYNC),
            described,
        ),
    )
    if any(steps):
        raise OSError(ctypes.get_errno(), "the worker could not be confined")


def confine_time(used_s: float, cpu_s: int) -> None:
    """Let the process use `cpu_s` seconds of processor from now; the kernel kills it after that (SIGXCPU)."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(used_s) + cpu_s + 1, resource.RLIM_INFINITY))


def _build_filter(architecture: int, refused: tuple[int, ...]) -> bytes:
    """A classic BPF program for seccomp(2): kill on a foreign architecture, EPERM on a refused call, else allow."""
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, eperm, kill = 0x7FFF0000, 0x00050001, 0x80000000
    count = len(refused)
    instructions = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 1, 0, architecture),
        (answer, 0, 0, kill),
        (load, 0, 0, 0),  # seccomp_data.nr
        (at_least, count + 1, 0, _X32_BIT),
        *((equal, count - index, 0, number) for index, number in enumerate(refused)),
        (answer, 0, 0, allow),
        (answer, 0, 0, eperm),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
