"""What the compiler made: every loop is SIMD on every instruction set, and nothing leaks between them.

Builds the kernels by the project's own CMakeLists.txt, with the flags of the wheel, and reads the
object files.
"""

import platform
import re
import shutil

import pytest

from cases import ROWWISE, RULES
from fusedstep._definition import registry
from native_tree import ENVIRONMENT, run

REGISTERS = {"baseline": "xmm", "avx2": "ymm", "avx512": "zmm"}
needs = [
    t
    for t in ("cmake", "ninja", "c++", "objdump", "nm")
    if shutil.which(t, path=ENVIRONMENT["PATH"]) is None
]
pytestmark = [
    pytest.mark.xdist_group("objects"),
    pytest.mark.skipif(bool(needs), reason=f"not on the path: {', '.join(needs)}"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 instructions"),
]


@pytest.fixture(scope="module")
def objects(native_tree):
    """The object file of each instruction set."""
    native_tree.build(*(f"fusedstep_kernels_{isa}" for isa in REGISTERS))
    found = {
        isa: list(native_tree.folder.glob(f"**/fusedstep_kernels_{isa}.dir/**/*.o"))
        for isa in REGISTERS
    }
    assert all(len(files) == 1 for files in found.values())
    return {isa: str(files[0]) for isa, files in found.items()}


@pytest.fixture(scope="module")
def functions(objects):
    """The instructions of every function, by instruction set and demangled name."""
    table = {}
    for isa, path in objects.items():
        table[isa] = {}
        for line in run("objdump", "-dC", "--no-show-raw-insn", path).splitlines():
            if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
                body = table[isa].setdefault(header[1], [])
            elif "\t" in line:
                body.append(line.split("\t", 1)[1].strip())
    return table


def sweeps(functions, isa, rule):
    """The loops of one rule: two a variant and dtype, bare and with all that goes around it."""
    cls = registry[rule].__name__
    return {
        name: body
        for name, body in functions[isa].items()
        if re.search(rf"SweepsOf<fusedstep::{cls}<.*::(plain|full|probe)\(", name)
    }


def packed(body, operation, register):
    pattern = re.compile(rf"v?{operation}p[sd]\b.*{register}")
    return [line for line in body if pattern.match(line)]


@pytest.mark.parametrize("isa", REGISTERS)
@pytest.mark.parametrize("rule", RULES)
def test_every_loop_is_vectorised(functions, isa, rule):
    loops = sweeps(functions, isa, rule)
    variants = 2 ** len(registry[rule].info.flags)
    assert len(loops) >= 4 * variants
    for name, body in loops.items():
        assert packed(body, "mul", REGISTERS[isa]), f"no packed mul in {name}"
        # The root of a row's state, eps included, is taken once, outside of the loop.
        assert not (rule in ROWWISE and packed(body, "sqrt", REGISTERS[isa])), name
        for operation in ("div", "sub") if rule in ROWWISE else ("sqrt", "div", "add", "sub"):
            # What the scalar tail does, the body does with full registers.
            if any(re.match(rf"v?{operation}s[sd]\b", line) for line in body):
                assert packed(body, operation, REGISTERS[isa]), f"no packed {operation} in {name}"


ONE_OF_EACH = ["adagrad", "rmsprop", "adadelta", "adam", "adamw", "nadam", "adabelief", "yogi"]
ONE_OF_EACH += ["adan", "ademamix", "schedulefreeadamw"]


@pytest.mark.parametrize("isa", REGISTERS)
@pytest.mark.parametrize("rule", ONE_OF_EACH)
def test_one_square_root_and_one_division(functions, isa, rule):
    """Per vector of parameters: the divider is what these rules wait for."""
    for name, body in sweeps(functions, isa, rule).items():
        # One of each a vector; where the loop has an epilogue of the same width, one of each there.
        roots = len(packed(body, "sqrt", REGISTERS[isa]))
        assert roots >= 1, name
        assert len(packed(body, "div", REGISTERS[isa])) == roots, name


@pytest.mark.parametrize("isa", REGISTERS)
def test_what_goes_around_the_rule_is_vectorised(functions, isa):
    def any_in(place, operation):
        bodies = [body for name, body in functions[isa].items() if re.search(place, name)]
        return any(packed(body, operation, REGISTERS[isa]) for body in bodies)

    assert any_in("combine_sets<|stage_gradient<|Drive<", "div")
    assert any_in("combine_sets<|add_sets<|add_weighted<|stage_gradient<|Drive<", "mul")
    assert any_in("add_squares<|measure<|visit_block<", "mul")
    assert any_in("add_squares<|measure<|visit_block<", "add")


@pytest.mark.parametrize("isa", REGISTERS)
def test_nothing_is_weak_and_nothing_is_openmp(objects, isa):
    symbols = [line.split() for line in run("nm", objects[isa]).splitlines()]
    kinds = {fields[-1]: fields[-2] for fields in symbols}
    assert not [name for name, kind in kinds.items() if kind in "WwVvu"]
    assert not [name for name in kinds if re.search(r"GOMP|omp_|__kmpc", name)]
    assert {name for name, kind in kinds.items() if kind == "U"} <= {"memmove", "memcpy", "memset"}
    exported = [name for name, kind in kinds.items() if kind in "TDRB"]
    assert len(exported) == 1
    assert f"kernel_table_{isa}" in exported[0]


def test_baseline_has_no_avx(functions):
    for name, body in functions["baseline"].items():
        assert not [line for line in body if re.search(r"%[yz]mm|^v[a-z]", line)], name


def test_avx2_has_no_avx512(functions):
    for name, body in functions["avx2"].items():
        assert not [
            line for line in body if re.search(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2[0-9]|3[01])", line)
        ], name


@pytest.mark.parametrize("isa", REGISTERS)
def test_no_fused_multiply_add_and_no_estimates(functions, isa):
    """Neither contraction nor reciprocal approximations: both change bits."""
    forbidden = re.compile(r"v?(fn?m(add|sub)|rcp|rsqrt)")
    for name, body in functions[isa].items():
        assert not [line for line in body if forbidden.match(line)], name
