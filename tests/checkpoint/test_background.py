"""Saves in the background, and beside steps of other threads, forks and the end of the program."""

import os
import threading
import tracemalloc

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.checkpoint._background import WRITER
from interpreters import python
from optimizers import refused

SIZE = 20_000


class Run:
    """All of whose numbers are what its steps have made of them."""

    def __init__(self, size=SIZE):
        self.opt = fs.Adam({"w": np.zeros(size), "v": np.zeros(size)})
        self.known = {0: self.numbers()}

    def numbers(self):
        state = self.opt.state["v"]
        return self.opt.params["v"].copy(), state["exp_avg"].copy(), state["exp_avg_sq"].copy()

    def step(self):
        self.opt.step({name: np.ones_like(p) for name, p in self.opt.params.items()})
        self.known[self.opt.step_count] = self.numbers()

    def saved_at(self, path):
        """The step whose numbers are in a file, all of them."""
        saved = fs.load(path)
        w, v = ([saved.params[n], *(saved.arrays[f"state.{n}.{s}"] for s in STATES)] for n in "wv")
        for own in (w, v):
            for found, expected in zip(own, self.known[saved.step_count], strict=True):
                assert np.array_equal(found, expected)
        return saved.step_count


STATES = ("exp_avg", "exp_avg_sq")


@pytest.fixture(autouse=True)
def _nothing_is_left():
    fs.checkpoint.wait()
    yield
    fs.checkpoint.wait()


@pytest.fixture
def gate(monkeypatch):
    """What writes a file waits for this once all is written."""
    event, fsync = threading.Event(), os.fsync

    def wait(descriptor):
        assert event.wait(60)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", wait)
    yield event
    event.set()
    fs.checkpoint.wait()


def save(path, run, **options):
    run.opt.save(path, include_params=True, **options)


def finish():
    """Wait for the files as the end of the program does, which neither reports nor releases anything."""
    WRITER._finish()


def test_saves_in_flight_never_mix(gate, tmp_path):
    run = Run()
    for path in "abc":
        run.step()
        save(tmp_path / path, run, background=True)
    run.step()
    save(tmp_path / "a", run, background=True)
    run.step()
    assert {path.name for path in tmp_path.iterdir()}.isdisjoint("abc")
    gate.set()
    fs.checkpoint.wait()
    assert [run.saved_at(tmp_path / path) for path in "abc"] == [4, 2, 3]
    assert len([*tmp_path.iterdir()]) == 3


def test_whoever_loads_or_saves_waits(gate, tmp_path):
    run = Run()
    save(tmp_path / "a", run, background=True)
    threading.Timer(0.1, gate.set).start()
    assert run.saved_at(tmp_path / "a") == 0
    gate.clear()
    run.step()
    save(tmp_path / "a", run, background=True)
    run.step()
    threading.Timer(0.1, gate.set).start()
    save(tmp_path / "a", run)  # after the one before it
    assert run.saved_at(tmp_path / "a") == 2


def broken(_):
    raise OSError(5, "the disk is broken")


CALLS = {
    "wait": lambda run, folder: fs.checkpoint.wait(),  # noqa: ARG005
    "save": lambda run, folder: save(folder / "new", run),
    "background": lambda run, folder: save(folder / "new", run, background=True),
    "load": lambda run, folder: fs.load(folder / "good"),  # noqa: ARG005
    "latest": lambda run, folder: fs.checkpoint.CheckpointManager(folder).latest(),  # noqa: ARG005
}


@pytest.mark.parametrize("call", CALLS)
def test_an_error_is_told_once_and_names_all_files(call, monkeypatch, tmp_path):
    run, gate = Run(3), threading.Event()
    save(tmp_path / "good", run)

    def fail(_):
        assert gate.wait(60)
        raise OSError(5, "the disk is broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for name in "ab":
            save(tmp_path / name, run, background=True)
        gate.set()
        finish()
    words = (f"{tmp_path / 'a'}, {tmp_path / 'b'}", "in the background has failed", "is broken")
    with refused(run.opt, fs.CheckpointError, *words):
        CALLS[call](run, tmp_path)
    assert [*tmp_path.iterdir()] == [tmp_path / "good"]
    CALLS[call](run, tmp_path)


def test_the_cause_of_an_error_is_at_hand(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        save(tmp_path / "a", Run(3), background=True)
        with pytest.raises(fs.CheckpointError) as caught:
            fs.checkpoint.wait()
    assert isinstance(caught.value.__cause__, OSError)


def test_memory_of_the_copies_is_used_again_and_released(tmp_path):
    run = Run(500_000)
    size = 6 * 500_000 * 8
    tracemalloc.start()
    try:
        save(tmp_path / "a", run, background=True)
        finish()
        kept, peak = tracemalloc.get_traced_memory()
        assert size <= kept <= peak < 1.1 * size
        tracemalloc.reset_peak()
        run.step()
        save(tmp_path / "a", run, background=True)
        finish()
        assert tracemalloc.get_traced_memory()[1] < 1.6 * size  # of which `known` is a half
        fs.checkpoint.wait()
        assert tracemalloc.get_traced_memory()[0] < 0.6 * size
    finally:
        tracemalloc.stop()
    assert run.saved_at(tmp_path / "a") == 1


def test_steps_wait_while_a_file_is_written(gate, tmp_path):
    run = Run()
    run.step()
    saving = threading.Thread(target=save, args=(tmp_path / "a", run))
    saving.start()
    while not [*tmp_path.iterdir()]:
        pass
    stepping = threading.Thread(target=run.step)
    stepping.start()
    stepping.join(0.2)
    assert stepping.is_alive()
    gate.set()
    saving.join()
    stepping.join()
    assert run.saved_at(tmp_path / "a") == 1
    assert run.opt.step_count == 2


def test_threads_that_save_and_step(tmp_path):
    """Each file is of one step, whoever makes it when."""
    run, lock, errors = Run(), threading.Lock(), []

    def steps():
        for _ in range(40):
            with lock:
                run.step()

    def saves(name):
        try:
            for i in range(8):
                save(tmp_path / name, run, background=i % 2 == 0)
        except BaseException as error:  # noqa: BLE001 - for the other thread
            errors.append(error)

    threads = [
        threading.Thread(target=steps),
        *(threading.Thread(target=saves, args=n) for n in "ab"),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fs.checkpoint.wait()
    assert errors == []
    for name in "ab":
        run.saved_at(tmp_path / name)


def test_where_no_thread_can_start(monkeypatch, tmp_path):
    """As at the end of a program, or under a limit: slower, and the same file."""

    def refuse(_):
        raise RuntimeError("can't start new thread")

    run = Run()
    with monkeypatch.context() as patch:
        WRITER.reset()
        patch.setattr(threading.Thread, "start", refuse)
        for path, background in (("a", False), ("b", True), ("c", True)):
            run.step()
            save(tmp_path / path, run, background=background)
        patch.setattr(os, "fsync", broken)
        save(tmp_path / "d", run, background=True)
        with refused(run.opt, fs.CheckpointError, "is broken"):
            fs.checkpoint.wait()
    save(tmp_path / "d", run, background=True)
    assert [run.saved_at(tmp_path / path) for path in "abcd"] == [1, 2, 3, 3]


def test_optimizers_of_other_sizes_one_after_another(tmp_path):
    runs = {path: Run(size) for path, size in (("a", 10), ("b", 20), ("c", 10))}
    for path, run in runs.items():
        run.step()
        save(tmp_path / path, run, background=True)
        finish()
    assert [run.saved_at(tmp_path / path) for path, run in runs.items()] == [1, 1, 1]


def test_an_error_that_nobody_was_told_is_printed(monkeypatch, tmp_path, capsys):
    """As at the end of a program."""
    run = Run()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        save(tmp_path / "a", run, background=True)
        finish()
    WRITER.report()
    assert f"{tmp_path / 'a'}: saving in the background has failed" in capsys.readouterr().err
    WRITER.report()
    assert capsys.readouterr().err == ""


def test_memory_runs_out_on_the_thread_of_checksums(monkeypatch, tmp_path):
    run = Run()
    save(tmp_path / "a", run)
    run.step()

    def none_left(_):
        raise MemoryError

    monkeypatch.setattr("fusedstep.checkpoint._layout.checksum_of", none_left)
    with refused(run.opt, MemoryError, ""):
        save(tmp_path / "a", run)
    monkeypatch.undo()
    assert run.saved_at(tmp_path / "a") == 0


def test_ctrl_c_while_a_file_is_written(monkeypatch, tmp_path):
    def interrupted(_):
        raise KeyboardInterrupt

    run = Run(3)
    save(tmp_path / "a", run)
    run.step()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with refused(run.opt, KeyboardInterrupt):
            save(tmp_path / "a", run)
    assert [*tmp_path.iterdir()] == [tmp_path / "a"]
    assert run.saved_at(tmp_path / "a") == 0


START = """
import atexit, os, sys, threading, time
import numpy as np
import fusedstep as fs

path = sys.argv[1]
w = np.arange(300_000.0)
opt = fs.Adam({"w": w, "v": w[:7].copy()})
opt.step({"w": w.copy(), "v": np.ones(7)})

def slowly(descriptor, fsync=os.fsync):
    time.sleep(0.3)
    fsync(descriptor)

def save(name, **options):
    opt.save(path + "/" + name, include_params=True, **options)
"""
FORK = """
os.fsync = slowly
save("a", background=True)
child = os.fork()
if child == 0:
    fs.checkpoint.wait()  # for nothing: the files are the parent's
    save("b", background=True)
    fs.checkpoint.wait()
    save("c")
    save("d", background=True)
    sys.exit(7)  # as any program ends
_, status = os.waitpid(child, 0)
fs.checkpoint.wait()
print(os.waitstatus_to_exitcode(status))
"""
ENDS = {
    "the end of the script": "os.fsync = slowly; save('a', background=True); save('b', background=True)",
    "an exception": "save('a', background=True); save('b', background=True); raise SystemExit(0)",
    "while it ends": "atexit.register(lambda: (save('a'), save('b', background=True)))",
    "another thread": """
threading.Thread(target=lambda: (time.sleep(0.2), save('a'), save('b', background=True))).start()
""",
}


def check(folder, names):
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        saved = fs.load(folder / name)
        assert saved.step_count == 1
        assert np.allclose(saved.params["w"], np.arange(300_000.0) - 1e-3, atol=2e-3)


def test_fault_21_a_fork_while_a_file_is_written(tmp_path):
    done = python(START + FORK, str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
    check(tmp_path, ["a", "b", "c", "d"])


@pytest.mark.parametrize("how", ENDS)
def test_the_program_ends_once_all_is_written(how, tmp_path):
    done = python(START + ENDS[how], str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    check(tmp_path, ["a", "b"])
