"""The file is one of safetensors, which other programs read and write; and nothing of it is pickle."""

import ast
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from fusedstep.checkpoint import _layout
from optimizers import NAMES, numbers, refused, richest, running, same_everywhere

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed (extra: test)")
DTYPES = {"float32": "F32", "float64": "F64", "bfloat16": "BF16", "float16": "F16"}
CODES = {"u1": "U8", "u2": "U16", "i1": "I8", "i2": "I16", "f4": "F32", "f8": "F64"}


@pytest.fixture
def safetensors():
    return pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")


def save(path, dtype, **options):
    opt = running("adam", dtype)
    extra = {"n": np.arange(5, dtype=np.int16), "text": "ü", "flags": np.array([True, False])}
    fs.checkpoint.save(path, opt=opt, extra=extra, **options)
    return opt


def header_of(path):
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


@pytest.mark.parametrize("dtype", DTYPES)
def test_keys_dtypes_and_places(dtype, tmp_path):
    opt = save(tmp_path / "a", dtype)
    header, data = header_of(tmp_path / "a")
    metadata = header.pop("__metadata__")
    assert metadata.keys() == {"fusedstep", "crc32", "crc32_of_header"}
    states = [name for name in opt.state["first"] if name != "step"]
    expected = {f"state.{name}.{state}" for name in NAMES for state in states}
    expected |= {f"param.{name}" for name in NAMES} | {"extra.n", "extra.flags"}
    assert header.keys() == expected
    assert header["param.first"]["dtype"] == DTYPES[dtype]
    assert (header["extra.n"]["dtype"], header["extra.flags"]["dtype"]) == ("I16", "BOOL")
    for name in NAMES:
        for state in states:
            array, entry = opt.state[name][state], header[f"state.{name}.{state}"]
            begin, end = entry["data_offsets"]
            assert entry["dtype"] == CODES[array.dtype.str[1:]]
            assert entry["shape"] == [*array.shape]
            assert data[begin:end] == array.tobytes()
    size = 8 + int.from_bytes((tmp_path / "a").read_bytes()[:8], "little")
    assert size % 8 == 0  # so that all arrays are aligned


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_safetensors_library_reads_it(dtype, tmp_path, safetensors):
    opt, path = save(tmp_path / "a", dtype), tmp_path / "a"
    saved = fs.load(path)
    for name, array in safetensors.load_file(path).items():
        assert same_bits(array.view(saved.arrays[name].dtype), saved.arrays[name]), name
    import safetensors as library

    with library.safe_open(path, "numpy") as file:
        assert {*file.keys()} == {*saved.arrays}
        assert json.loads(file.metadata()["fusedstep"])["optimizer"]["rule"] == "adam"
        read = file.get_tensor("param.first")
    assert same_bits(read, opt.params["first"])


def test_torch_reads_it(tmp_path):
    library = pytest.importorskip("safetensors.torch", reason="safetensors or torch is missing")
    opt = save(tmp_path / "a", "bfloat16")
    read = library.load_file(tmp_path / "a")["param.first"]
    assert str(read.dtype) == "torch.bfloat16"
    assert np.array_equal(read.float().numpy(), opt.params["first"].astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_written_anew_by_the_library(dtype, tmp_path, safetensors):
    """Which sorts the arrays, and spells the header in its own way."""
    import safetensors as library

    opt = save(tmp_path / "a", dtype)
    with library.safe_open(tmp_path / "a", "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    safetensors.save_file(arrays, tmp_path / "b", metadata=metadata)
    assert (tmp_path / "b").read_bytes() != (tmp_path / "a").read_bytes()
    resumed = fs.create("adam", numbers(9, dtype), **richest("adam"))
    fs.load(tmp_path / "b").restore(resumed)
    assert same_everywhere(resumed, opt)
    arrays["param.last"] = arrays["param.last"] + arrays["param.last"]
    safetensors.save_file(arrays, tmp_path / "b", metadata=metadata)
    with refused(resumed, fs.checkpoint.CheckpointDamagedError, "data of param.last at byte"):
        resumed.load(tmp_path / "b")


def test_a_file_of_safetensors_that_is_none_of_ours(tmp_path, safetensors):
    safetensors.save_file({"w": np.ones(3)}, tmp_path / "a", metadata={"format": "pt"})
    opt = running("adam", "float32")
    with refused(opt, fs.checkpoint.CheckpointDamagedError, "this is another safetensors file"):
        opt.load(tmp_path / "a")


class Trap:
    """What no loader may call."""

    def __reduce__(self):
        return os._exit, (3,)


def zipped(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", write)
    return file.getvalue()


def npz():
    file = io.BytesIO()
    np.savez(file, **running("adam", "float32").state_dict(flat=True))
    return file.getvalue()


TRAP = pickle.dumps(Trap())
FILES = {
    "a pickle": TRAP,
    "an old pickle": pickle.dumps(Trap(), 0),
    "a long pickle": pickle.dumps([Trap(), b"x" * 10_000]),
    "a file of torch": zipped(TRAP),
    "npz": npz(),
    "npy of objects": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'shape': ()}" + TRAP,
    "text": b"step 12\nloss 0.25\n" * 10,
    "JSON": b'{"__metadata__": {"fusedstep": "{}"}}',
    "seven bytes": b"1234567",
    "nothing": b"",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("what", FILES)
def test_fault_28_other_files_are_refused(what, tmp_path):
    (tmp_path / "a").write_bytes(FILES[what])
    opt = running("adam", "float32")
    for call in (opt.load, fs.load):
        with refused(opt, fs.checkpoint.CheckpointDamagedError, str(tmp_path / "a"), "expected"):
            call(tmp_path / "a")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    opt = running("adam", "float32")
    for path in (tmp_path, tmp_path / "pipe", Path(os.devnull)):
        with refused(opt, fs.CheckpointError, "expected a file, got a folder or a device"):
            opt.load(path)
    for path in (tmp_path / "none", tmp_path / "none" / "a"):
        with refused(opt, FileNotFoundError, str(path)):
            opt.load(path)


def test_fault_28_nothing_here_can_unpickle():
    words = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for path in Path(fs.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not words & {alias.name.partition(".")[0] for alias in node.names}, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] not in words, path
            elif isinstance(node, ast.Call):
                assert not {k.arg for k in node.keywords} & {"allow_pickle"}, path
                assert getattr(node.func, "id", "") not in {"eval", "exec", "__import__"}, path


@pytest.mark.parametrize("shape", [(7, 5), (2, 40), (3, 4, 5)])
def test_large_arrays_in_other_orders_are_written_in_parts(shape, monkeypatch, tmp_path):
    monkeypatch.setattr("fusedstep.checkpoint._layout._PART", 64)
    w = np.asfortranarray(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    opt = fs.Adam({"w": w})
    opt.step({"w": w.copy(order="F")})
    fs.checkpoint.save(tmp_path / "a", opt=opt, extra={"reversed": w[::-1]})
    saved = fs.load(tmp_path / "a")
    assert same_bits(saved.params["w"], w)
    assert same_bits(saved.extra["reversed"], w[::-1])


def test_numbers_of_a_format_that_numpy_does_not_have():
    """As bfloat16 is until ml_dtypes is imported."""
    bits = np.ones(3, np.uint16)
    assert _layout.as_numbers(bits, "a format that NumPy does not have") is bits
