"""Freed memory stays with the process where the C library has a setting for it."""

import gc
import platform

from gateway.process.gc_tuning import keep_freed_memory, settle_memory


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
