"""How many CPUs a process may use, by files of every kind of cgroup (tests/native/cpus.cpp)."""

import os
import shutil
import subprocess
import sys
from math import inf

import pytest

from native_programs import NATIVE, ROOT, compiled

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="compiles a C++ program")
needs_affinity = pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    sources = [NATIVE / "cpus.cpp", ROOT / "cpp/threads/cpus.cpp"]
    program = compiled(tmp_path_factory.mktemp("cpus"), sources, "-I", ROOT / "cpp")

    def call(*arguments, before=()):
        command = [*before, program, *arguments]
        result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        return [float(word) for word in result.stdout.split()]

    return call


def v1(quota, period=100000):
    return {"cpu.cfs_quota_us": f"{quota}\n", "cpu.cfs_period_us": f"{period}\n"}


def v2(quota, period=100000):
    return {"cpu.max": f"{quota} {period}\n"}


def mount(point, kind, options="rw", group="/"):
    return f"31 23 0:28 {group} {point} rw,nosuid shared:9 master:1 - {kind} none {options}\n"


# The other mounts of a machine, among them controllers and types with names that resemble.
OTHERS = (
    "23 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro\n"
    + mount("/sys/fs/cgroup/cpuset", "cgroup", "rw,cpuset")
    + mount("/sys/fs/cgroup/cpuacct", "cgroup", "rw,cpuacct")
    + mount("/sys/fs/cgroup/systemd", "cgroup", "rw,xattr,name=systemd")
    + mount("/mnt/cpu", "tmpfs", "rw,cpu")
)
V2 = OTHERS + mount("/sys/fs/cgroup", "cgroup2", "rw,nsdelegate")
V1 = OTHERS + mount("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct")
HYBRID = V1 + mount("/sys/fs/cgroup/unified", "cgroup2", "rw,nsdelegate")
TRAP = v1(1000) | v2(1000)  # where nothing must look


def build(root, own, mounts, groups):
    proc = root / "proc/self"
    proc.mkdir(parents=True)
    for name, text in (("cgroup", own), ("mountinfo", mounts)):
        if text is not None:
            (proc / name).write_text(text)
    for folder, files in groups.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (root / folder / name).write_text(text)
    return root


C, CPU, UNIFIED = "sys/fs/cgroup", "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/unified"
CASES = {
    "v2, the root of a namespace": (1.5, "0::/\n", V2, {C: v2(150000)}),
    "v2, another period": (0.4, "0::/\n", V2, {C: v2(20000, 50000)}),
    "v2, max": (inf, "0::/a\n", V2, {C: v2("max"), f"{C}/a": v2("max")}),
    "v2, its own is least": (2, "0::/a/b\n", V2, {f"{C}/a": v2(300000), f"{C}/a/b": v2(200000)}),
    "v2, the middle is least": (
        *(1, "0::/a/b/c\n", V2),
        {C: v2("max"), f"{C}/a": v2(300000), f"{C}/a/b": v2(100000), f"{C}/a/b/c": v2(200000)},
    ),
    "v2, the root is least": (1, "0::/a/b\n", V2, {C: v2(100000), f"{C}/a/b": v2(200000)}),
    "v2, no controller in its own": (3, "0::/a/b\n", V2, {f"{C}/a": v2(300000), f"{C}/a/b": {}}),
    "v2, siblings": (
        inf,
        "0::/a/b\n",
        V2,
        {f"{C}/a/b": v2("max"), f"{C}/a/bc": TRAP, f"{C}/b": TRAP},
    ),
    "v1": (
        0.5,
        "3:cpuset:/x\n2:cpuacct,cpu:/a\n",
        V1,
        {f"{CPU}/a": v1(50000), f"{CPU}/x": TRAP, f"{C}/cpuset/a": TRAP},
    ),
    "v1, -1": (inf, "2:cpu,cpuacct:/a\n", V1, {CPU: v1(-1), f"{CPU}/a": v1(-1)}),
    "v1, nested": (2, "2:cpu:/a/b\n", V1, {f"{CPU}/a": v1(200000), f"{CPU}/a/b": v1(-1)}),
    "v1, no period": (inf, "2:cpu:/\n", V1, {CPU: {"cpu.cfs_quota_us": "50000\n"}}),
    "v1, only cpuset and cpuacct": (
        *(inf, "3:cpuset:/a\n2:cpuacct:/a\n1:name=systemd:/a\n", OTHERS),
        {f"{C}/cpuset/a": TRAP, f"{C}/cpuacct/a": TRAP, f"{C}/systemd/a": TRAP, "mnt/cpu/a": TRAP},
    ),
    "v1, a container without a namespace": (
        *(2.5, "2:cpu,cpuacct:/docker/abc\n"),
        OTHERS + mount(f"/{CPU}", "cgroup", "rw,cpuacct,cpu", group="/docker/abc"),
        {CPU: v1(250000), f"{CPU}/docker/abc": TRAP},
    ),
    "v1, a group in such a container": (
        *(0.5, "2:cpu,cpuacct:/docker/abc/sub/x\n"),
        OTHERS + mount(f"/{CPU}", "cgroup", "rw,cpuacct,cpu", group="/docker/abc"),
        {CPU: v1(250000), f"{CPU}/sub": v1(50000), f"{CPU}/sub/x": v1(-1)},
    ),
    "v1, another container's": (
        *(inf, "2:cpu,cpuacct:/docker/abcd\n"),
        OTHERS + mount(f"/{CPU}", "cgroup", "rw,cpuacct,cpu", group="/docker/abc"),
        {CPU: TRAP, f"{CPU}/d": TRAP},
    ),
    "hybrid": (
        *(
            0.5,
            "2:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice/x\n0::/user.slice/x\n",
            HYBRID,
        ),
        {f"{CPU}/user.slice": v1(50000), f"{UNIFIED}/user.slice/x": {}},
    ),
    "hybrid, limited by v2": (
        *(1.5, "2:cpu,cpuacct:/a\n0::/b\n", HYBRID),
        {f"{CPU}/a": v1(-1), f"{UNIFIED}/b": v2(150000), f"{CPU}/b": TRAP, f"{UNIFIED}/a": TRAP},
    ),
    "two mounts": (
        *(1, "0::/a/b\n", mount("/part", "cgroup2", group="/a") + mount("/whole", "cgroup2")),
        {"part/b": v2(200000), "whole": v2(100000), "whole/b": TRAP, "part/a": TRAP},
    ),
    "blanks, colons, backslashes": (
        *(1.5, "0::/a b:c\\d\n", mount("/my\\040groups\\134", "cgroup2", group="/a\\040b:c\\134d")),
        {"my groups\\": v2(150000)},
    ),
    "a path with a blank": (1.5, "0::/a b/c:d\n", V2, {f"{C}/a b": v2(150000), f"{C}/a b/c:d": {}}),
    "moved out of its namespace": (
        *(inf, "0::/../a\n", V2),
        {C: TRAP, f"{C}/../a": TRAP, f"{C}/a": TRAP},
    ),
    "a path that would lead out of the mount": (
        *(inf, "0::/a/../../b\n", V2),
        {C: TRAP, f"{C}/a": TRAP, "sys/fs/b": TRAP},
    ),
    "moved out, and seen": (
        *(1.5, "0::/../a\n", mount("/sys/fs/cgroup", "cgroup2", group="/..")),
        {f"{C}/a": v2(150000), "sys/fs/a": TRAP},
    ),
    "moved further out than seen": (
        *(inf, "0::/../../a\n", mount("/sys/fs/cgroup", "cgroup2", group="/..")),
        {C: TRAP, f"{C}/a": TRAP, "sys/fs/a": TRAP},
    ),
    "mounted outside of its namespace": (
        *(1.5, "0::/a\n", mount("/sys/fs/cgroup", "cgroup2", group="/../..")),
        {C: v2(150000), f"{C}/a": TRAP},
    ),
    "a sibling of its namespace is mounted": (
        *(inf, "0::/\n", mount("/sys/fs/cgroup", "cgroup2", group="/../a")),
        {C: TRAP},
    ),
    "names with dots": (1.5, "0::/..a/b..\n", V2, {f"{C}/..a/b..": v2(150000)}),
    "no mountinfo, v2": (1.5, "0::/a\n", None, {f"{C}/a": v2(150000)}),
    "no mountinfo, v1": (1.5, "1:cpu:/a\n", None, {f"{C}/cpu/a": v1(150000)}),
    "no cgroup in mountinfo": (1.5, "0::/\n", "", {C: v2(150000)}),
    "no file of groups": (1.5, None, V2, {C: v2(150000)}),
    "an empty file of groups": (1.5, "", V2, {C: v2(150000)}),
    "nothing there": (inf, None, None, {}),
    "no files of quotas": (inf, "0::/a\n", HYBRID, {}),
    "empty files of quotas": (
        *(inf, "2:cpu:/\n0::/\n", HYBRID),
        {UNIFIED: {"cpu.max": ""}, CPU: {"cpu.cfs_quota_us": "", "cpu.cfs_period_us": ""}},
    ),
    "a folder for a file": (2, "0::/a\n", V2, {C: v2(200000), f"{C}/a/cpu.max": {}}),
    "quotas of garbage": (
        *(inf, "2:cpu:/a/b\n0::/a/b\n", HYBRID),
        {
            UNIFIED: v2(100000, 0),
            f"{UNIFIED}/a": v2("\0x", "y"),
            f"{UNIFIED}/a/b": {"cpu.max": "100000"},
            CPU: v1(100000, -1),
            f"{CPU}/a": v1("many"),
            f"{CPU}/a/b": v1("", "9" * 400),
        },
    ),
    "groups of garbage": (
        *(inf, "\n:\n::\n0:\n0::\n\\\n2:cpu\n2:cpu:\n\0\0" + "x" * 10000, V2),
        {f"{C}/x": TRAP},
    ),
    "mounts of garbage": (
        *(1.5, "0::/a\n"),
        "\n - cgroup\n - cgroup2\n1 2 3 / / - cgroup2\n31 23 0:28 \\ \\9 - cgroup2 \\\\\\\n"
        + "x - cgroup " * 999
        + "\n"
        + V2,
        {f"{C}/a": v2(150000)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_fault_33_the_least_quota_counts(run, tmp_path, case):
    quota, *files = CASES[case]
    assert run(build(tmp_path / "of a test", *files)) == [quota]


def test_a_failed_allocation_is_no_limit(run, tmp_path):
    own = "2:cpu,cpuacct:/a/very/long/path/of/groups\n0::/another/long/path/of/groups\n"
    root = build(tmp_path, own, HYBRID, {CPU: v1(50000), UNIFIED: v2(150000)})
    *failed, quota = run("--memory", root)
    assert quota == 0.5
    assert set(failed) == {0.5, 1.5, inf}
    assert failed[0] == inf


@needs_affinity
def test_fault_33_the_cpus_are_those_of_the_affinity_within_the_quota(run):
    allowed = sorted(os.sched_getaffinity(0))
    for some in (allowed, allowed[-1:], allowed[:2]):
        set_affinity = (
            f"import os, sys; os.sched_setaffinity(0, {some}); os.execv(sys.argv[1], sys.argv[1:])"
        )
        cpus, quota = run(before=(sys.executable, "-c", set_affinity))
        assert cpus == max(1, int(min(quota, len(some))))


@needs_affinity
@pytest.mark.parametrize("cpus", [1, 1024, 1025, 5000, 100000])
def test_more_cpus_than_a_set_holds(run, tmp_path, cpus):
    assert run("--kernel", str(cpus), tmp_path) == [cpus]


@needs_affinity
@pytest.mark.parametrize(
    ("quota", "cpus"), [(1000, 1), (99999, 1), (199999, 1), (200000, 2), (790000, 7), (900000, 8)]
)
def test_whole_cpus_of_a_quota_count_but_one_at_least(run, tmp_path, quota, cpus):
    build(tmp_path, "0::/\n", V2, {C: v2(quota)})
    assert run("--kernel", "8", tmp_path) == [cpus]


@needs_affinity
def test_a_kernel_that_does_not_report_its_cpus(run, tmp_path):
    assert run("--kernel", "0", tmp_path)[0] >= 1
