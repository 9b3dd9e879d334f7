"""Mistakes in checkpoints: what is in a file, how it is written, and what is believed of one."""

from mutant import Mutant

DAMAGE = ("tests/checkpoint/test_damage.py",)
FILE = ("tests/checkpoint/test_file.py",)
ROUND_TRIP = ("tests/checkpoint/test_round_trip.py",)
DISKS = ("tests/checkpoint/test_failing_disks.py",)
TRAINING = ("tests/checkpoint/test_training.py",)


def checkpoint(name, file, right, wrong, tests):
    return Mutant(f"checkpoint-{name}", f"python/fusedstep/checkpoint/{file}", right, wrong, tests)


MUTANTS = [
    checkpoint(
        *("checksum-of-data-ignored", "_file.py"),
        "if _checksum(file, start, place) != expected[name]",
        "if False",
        DAMAGE,
    ),
    checkpoint(
        *("checksum-of-header-ignored", "_layout.py"),
        "if expected != found:\n",
        "if False:\n",
        DAMAGE,
    ),
    checkpoint(
        *("checksum-of-the-last-part", "_layout.py"),
        "checksum = zlib.crc32(part, checksum)",
        "checksum = zlib.crc32(part)",
        (*DAMAGE, "-k", "several_parts"),
    ),
    checkpoint(
        *("overlaps-and-gaps-read", "_layout.py"),
        "if place.begin != end:",
        "if False:",
        DAMAGE,
    ),
    checkpoint(
        *("surplus-bytes-ignored", "_layout.py"),
        "if end != data_bytes:",
        "if end > data_bytes:",
        DAMAGE,
    ),
    checkpoint(
        *("entries-twice", "_layout.py"),
        "if len(found) != len(pairs):",
        "if False:",
        DAMAGE,
    ),
    checkpoint(
        *("size-not-that-of-the-shape", "_layout.py"),
        "if size != offsets[1] - offsets[0]:",
        "if False:",
        DAMAGE,
    ),
    checkpoint(
        *("counters-not-saved", "_content.py"),
        '"steps": {name: own["step"] for',
        '"steps": {name: 0 for',
        ROUND_TRIP,
    ),
    checkpoint(
        *("frozen-names-not-saved", "_content.py"),
        '"frozen": list(optimizer.frozen),',
        '"frozen": [],',
        TRAINING,
    ),
    checkpoint(
        *("schedules-not-saved", "_content.py"),
        '_tree("schedules", optimizer.schedules, arrays)',
        '_tree("schedules", {}, arrays)',
        TRAINING,
    ),
    checkpoint(
        *("seed-not-saved", "_content.py"),
        '"policy": dict(optimizer.policy),',
        '"policy": {**optimizer.policy, "seed": 0},',
        (*ROUND_TRIP, "-k", "each_way"),
    ),
    checkpoint(
        *("order-of-the-axes-lost", "_content.py"),
        "_transposed(array, axes[key]) if key in axes else array",
        "array",
        ROUND_TRIP,
    ),
    checkpoint(
        *("newer-format-read", "_content.py"),
        'if version["format"] > FORMAT:',
        "if False:",
        ("tests/checkpoint/test_misfit.py",),
    ),
    checkpoint(
        *("live-arrays-written-in-the-background", "_background.py"),
        "np.copyto(copies[name].array, array)",
        "copies[name] = Held(array, dtype)",
        ("tests/checkpoint/test_background.py",),
    ),
    checkpoint(
        *("written-in-place", "_durable.py"),
        'temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")\n'
        "    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL",
        "temporary = path\n"
        "    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC",
        DISKS,
    ),
    checkpoint(
        *("not-brought-to-the-disk", "_durable.py"),
        "yield NewFile(descriptor)\n            os.fsync(descriptor)",
        "yield NewFile(descriptor)",
        (*DISKS, "-k", "what_is_tried"),
    ),
    checkpoint(
        *("name-not-brought-to-the-disk", "_durable.py"),
        "    _sync_folder(path.parent)\n",
        "",
        (*DISKS, "-k", "what_is_tried"),
    ),
    checkpoint(
        *("one-write-for-all", "_durable.py"),
        "while rest:\n",
        "if rest:\n",
        DISKS,
    ),
    checkpoint(
        *("newest-removed", "_manager.py"),
        "for path in paths[: -self._keep]:",
        "for path in paths[self._keep :]:",
        ("tests/checkpoint/test_manager.py",),
    ),
    checkpoint(
        *("oldest-restored", "_manager.py"),
        "for path in reversed(self.checkpoints()):",
        "for path in self.checkpoints():",
        ("tests/checkpoint/test_manager.py",),
    ),
    Mutant(
        "checkpoint-parts-loaded-where-one-fails",
        "python/fusedstep/_resume.py",
        "for part, state in reversed(before):",
        "for part, state in []:",
        ("tests/checkpoint/test_all_or_nothing.py",),
    ),
    Mutant(
        "checkpoint-frozen-names-not-renamed",
        "python/fusedstep/_resume.py",
        "frozen=tuple(new[name] for name in content.frozen),",
        "frozen=content.frozen,",
        ("tests/checkpoint/test_partly.py",),
    ),
]
