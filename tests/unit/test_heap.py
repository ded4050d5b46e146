"""Large blocks go back to the system when they are freed, where a process has asked for it."""

import platform
import subprocess
import sys

import pytest

BLOCKS = """
import ctypes, sys
from pathlib import Path
from service.heap import LARGE, return_large_blocks

if sys.argv[1] == "asked":
    return_large_blocks()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
# glibc keeps blocks of up to the size of the largest one that was ever freed.
library.free(library.malloc(16 * LARGE))
blocks = [library.malloc(2 * LARGE) for _ in range(64)]
for block in blocks:
    ctypes.memset(block, 1, 2 * LARGE)
for block in blocks[:-1]:
    library.free(block)
status = Path("/proc/self/status").read_text()
print(int(status.split("RssAnon:")[1].split()[0]) // 1024)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's is asked")
def test_freed_blocks_leave_the_process_where_it_has_asked_for_it():
    held = {
        who: int(subprocess.run((sys.executable, "-c", BLOCKS, who), capture_output=True, check=True).stdout)
        for who in ("asked", "not")
    }
    assert held["asked"] < 64 < 128 < held["not"]
