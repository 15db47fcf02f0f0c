"""Huge pages: asked for once, before anything else, and not against a user's word."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.launch import hugepages

_OFFERED = pytest.mark.skipif(
    not hugepages._are_offered(), reason="this system gives no huge pages to who asks"
)
# Takes memory as XLA does for a step, and shows how the kernel was advised on it.
_PROBE = """
import ctypes, re
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
address = libc.malloc(64 << 20)
maps = open("/proc/self/smaps").read()
for start, end, flags in re.findall(r"(?ms)^(\\w+)-(\\w+) .*?VmFlags: (.*?)$", maps):
    if int(start, 16) <= address < int(end, 16):
        print(flags)
"""


def _flags_of_memory(environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def _without_tunables() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}


@_OFFERED
def test_memory_of_a_process_is_advised_to_be_of_huge_pages() -> None:
    plain = _without_tunables()
    assert "hg" not in _flags_of_memory(plain)
    assert "hg" in _flags_of_memory(hugepages.with_huge_pages(plain))


def _tunables_of_a_launch(environment: dict[str, str], *, wait: float) -> str | None:
    """The variable in the environment that a launch ended up with."""
    command = [sys.executable, "-m", "experiments.benchmark.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as launch:
        try:
            ends, value = time.monotonic() + wait, None
            while time.monotonic() < ends:
                text = Path(f"/proc/{launch.pid}/environ").read_text()
                found = dict(v.split("=", 1) for v in text.split("\0") if "=" in v)
                # Until the launch has begun this is the environment of the test.
                value = found.get("GLIBC_TUNABLES")
                if value not in (None, environment.get("GLIBC_TUNABLES")):
                    break
                time.sleep(0.02)
            return value
        finally:
            launch.kill()


@_OFFERED
def test_a_launch_asks_for_them() -> None:
    environment = _without_tunables()
    found = _tunables_of_a_launch(environment, wait=20)
    assert found == "glibc.malloc.hugetlb=1"


@_OFFERED
def test_a_launch_keeps_to_what_the_user_said() -> None:
    environment = _without_tunables() | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    assert _tunables_of_a_launch(environment, wait=1) == "glibc.malloc.hugetlb=0"


def test_an_import_starts_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("started anew")

    monkeypatch.setattr(os, "execve", fail)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "pytest"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    hugepages.take()


def test_system_without_them_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hugepages, "_KERNEL", tmp_path / "enabled")
    assert not hugepages._are_offered()
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    assert not hugepages._are_offered()
