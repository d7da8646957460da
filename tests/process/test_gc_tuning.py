"""The process keeps freed memory where the C library has a setting for it, and has huge pages where Linux can."""

import gc
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.process import gc_tuning
from gateway.process.gc_tuning import HUGE_PAGE_SIZE, keep_freed_memory, settle_memory

# Prints kB of huge pages, and of all memory, before and after.
MEMORY_OF_OBJECTS = """
import re
from gateway.process.gc_tuning import use_huge_pages

def sizes():
    text = open("/proc/self/smaps_rollup").read()
    return [int(re.search(name + r":\\s+(\\d+)", text)[1]) for name in ("AnonHugePages", "Rss")]

objects = [bytes(100) for _ in range(300_000)]
before = sizes()
use_huge_pages()
print(*before, *sizes())
"""


def test_glibc_takes_the_settings() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


def test_objects_of_the_start_are_not_collected_again() -> None:
    thresholds = gc.get_threshold()
    try:
        settle_memory()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


@pytest.mark.skipif(not HUGE_PAGE_SIZE.exists(), reason="the kernel has no huge pages")
def test_objects_move_into_huge_pages_without_more_memory() -> None:
    run = subprocess.run([sys.executable, "-c", MEMORY_OF_OBJECTS], capture_output=True, text=True, check=True)
    huge_before, all_before, huge, all_after = map(int, run.stdout.split())
    if huge == huge_before:
        pytest.skip("the kernel is older than 6.1, or has no huge page left")
    assert huge - huge_before > 8 * 1024
    assert all_after - all_before < 8 * 1024


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc_tuning, "HUGE_PAGE_SIZE", Path("/nonexistent"))
    gc_tuning.use_huge_pages()
