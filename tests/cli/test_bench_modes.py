"""``fusedstep bench`` with narrow parameters, gradients and state; no time that it measures is judged."""

import json
import re

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._bench import contestants
from fusedstep._bench.contestants import Contestant
from fusedstep._bench.formulas import FORMULAS
from fusedstep._bench.libraries import silenced
from fusedstep._bench.modes import Mode
from fusedstep._cli import measurement, peers
from fusedstep._cli.errors import UsageError
from fusedstep._cli.main import main

pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.usefixtures("short")

LIBRARIES = ("torch", "torchao", "bitsandbytes", "deepspeed")
# A mode in the words of the command, what the table calls it, and the bytes of a step of Adam.
MODES = {
    "--state bfloat16": ("float32 parameters, bfloat16 state", "20"),
    "--state 8bit": ("float32 parameters, 8-bit state", "16.125"),
    "--param bfloat16": ("bfloat16 parameters, float32 state", "22"),
    "--param float16 --state bfloat16": ("float16 parameters, bfloat16 state", "14"),
    "--param bfloat16 --state bfloat16 --rounding stochastic": (
        "bfloat16 parameters, bfloat16 state, stochastic rounding",
        "14",
    ),
    "--param bfloat16 --state bfloat16 --rounding kahan": (
        "bfloat16 parameters, bfloat16 state, kahan rounding",
        "18",
    ),
    "--param bfloat16 --state bfloat16 --master-bits 32": (
        "bfloat16 parameters, bfloat16 state, 32-bit master",
        "18",
    ),
    "--param bfloat16 --state 8bit --master-bits 24": (
        "bfloat16 parameters, 8-bit state, 24-bit master",
        "12.125",
    ),
    "--dtype bfloat16 --state 8bit": ("bfloat16 parameters, 8-bit state", "10.125"),
}


def error_of(rule, mode):
    """What the library says of a mode of a rule; empty if it has it."""
    try:
        fs.create(rule, [np.zeros(1, mode.dtype)], **mode.options)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


# What it reports ---------------------------------------------------------------------------------


@pytest.mark.parametrize("words", MODES)
def test_every_mode(words, without, capsys):
    without("matplotlib", *LIBRARIES)
    assert main(["bench", "-q", "--sizes", "300", *words.split()]) == 0
    said = capsys.readouterr()
    name, moved = MODES[words]
    assert said.err == ""
    assert said.out.startswith(f"One step of adam ({name}): fusedstep {fs.__version__} (")
    head, row = [line for line in said.out.splitlines() if line.strip()][1:3]
    assert head.endswith("  fusedstep float32")
    assert re.fullmatch(r" +300 +~?[\d.]+ .*[\d.,]+x( \([\d.,]+-[\d.,]+\))?", row)
    assert f"\nBytes: a step moves {moved} per parameter. Roofline: as many, " in said.out
    checked = "Checked: after 3 steps as near to NumPy textbook, in float32, as the formats allow."
    assert f"\n{checked}\n" in said.out


def test_json(without, capsys):
    without(*LIBRARIES)
    words = "--json --sizes 2k --param bfloat16 --state 8bit --master-bits 24 --rule AdamW"
    assert main(["bench", *words.split()]) == 0
    said = json.loads(capsys.readouterr().out)
    mode = ("bfloat16", "8bit", "nearest", 24)
    assert tuple(said[name] for name in ("dtype", "state", "rounding", "master_bits")) == mode
    assert said["bytes_per_parameter"] == 12.125
    [result] = said["results"]
    assert result["ns_per_parameter"].keys() == {"fusedstep", "roofline", "fusedstep float32"}
    assert result["times_fusedstep"].keys() == {"fusedstep float32"}
    assert said["checked_against"] == ["NumPy textbook"]


def test_the_picture_has_a_line_for_each_of_them(without, monkeypatch):
    pytest.importorskip("matplotlib")
    without(*LIBRARIES)

    def sgd(params, grads):
        return contestants.fusedstep("sgd")(params, grads)

    known = peers.peers("adam", Mode(state="8bit"))
    others = dict.fromkeys(("torchao Adam8bit", "bitsandbytes Adam8bit", "DeepSpeedCPUAdam"), sgd)
    changed = peers.Peers({**known.makers, **others}, {}, known.checked_against)
    monkeypatch.setattr(measurement, "peers", lambda *_: changed)
    axes = []
    monkeypatch.setattr(
        "fusedstep._cli.bench_figure.rendered", lambda figure, _: axes.extend(figure.axes) or b""
    )
    assert main(["bench", "-q", "--sizes", "100", "200", "--state", "8bit", "-o", "b.png"]) == 0
    [ax] = axes
    lines = [drawn.get_label() for drawn in ax.containers]
    colours = [drawn[0].get_color() for drawn in ax.containers]
    assert {"fusedstep", "fusedstep float32", *others} < set(lines)
    assert len(set(colours)) == len(lines) == 6


# Who takes part ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", [Mode(state="8bit"), Mode("bfloat16", "bfloat16"), Mode("float16")]
)
@pytest.mark.parametrize("rule", fs.available())
def test_every_rule_is_as_near_as_the_formats_allow(rule, mode, without):
    """Or there is no such mode of it, which the command says before it measures."""
    without(*LIBRARIES)
    if error := error_of(rule, mode):
        with pytest.raises(UsageError, match=re.escape(error)):
            measurement.benchmark(rule, mode, [1], quiet=True)
        return
    known = peers.peers(rule, mode)
    assert known.others == ["fusedstep float32"]
    reference = "NumPy textbook" if rule in FORMULAS else "fusedstep float32"
    assert known.checked_against == [reference]


@pytest.mark.parametrize(
    ("mode", "others"),
    [
        (Mode(state="8bit"), {"torchao": "Adam8bit", "bitsandbytes": "Adam8bit"}),
        (Mode("bfloat16", "8bit", "stochastic"), {"torchao": "Adam8bit"}),
        (Mode("bfloat16", "bfloat16"), {"torch": "fused", "deepspeed": "DeepSpeedCPUAdam"}),
        (Mode("bfloat16"), {"bitsandbytes": "Adam", "deepspeed": "DeepSpeedCPUAdam"}),
        (Mode("bfloat16", "8bit", master_bits=24), {}),
        (Mode("bfloat16", "bfloat16", "kahan"), {}),
        (Mode(state="bfloat16"), {}),
    ],
    ids=str,
)
def test_those_who_store_the_same_take_part(mode, others, without):
    without(*LIBRARIES)
    assert {who.lower() for who in peers.narrow_candidates("adam", mode).left_out} == others.keys()


@pytest.mark.exhaustive  # they compile
@pytest.mark.xdist_group("torch.compile")  # else another worker waits for it
@pytest.mark.parametrize("rule", ["adam", "adamw"])
@pytest.mark.parametrize("library", ["torchao", "bitsandbytes"])
def test_8_bit_optimizers_of_others_pass_the_check(library, rule):
    pytest.importorskip(library)
    with silenced():
        known = peers.peers(rule, Mode(state="8bit"))
    assert [name for name in known.others if name.startswith(f"{library} Adam")], known.left_out


def test_a_missing_library_is_named(without, capsys):
    without("matplotlib", *LIBRARIES)
    assert main(["bench", "-q", "--sizes", "100", "--state", "8bit"]) == 0
    said = capsys.readouterr().out
    for library in ("torchao", "bitsandbytes"):
        assert f"\nLeft out: {library} (not installed here: pip install {library}).\n" in said


def test_a_peer_that_stays_where_it_is_is_left_out(without, monkeypatch):
    """Its distance from the right result is the whole way, and less than the spacing beside 1."""

    def lazy(params, _):
        return Contestant(lambda: None, lambda: params)

    without(*LIBRARIES)
    mode = Mode("bfloat16", "8bit")
    asked = peers.narrow_candidates("adam", mode)
    changed = peers.Peers({**asked.makers, "lazy": lazy}, {})
    monkeypatch.setattr(peers, "narrow_candidates", lambda *_: changed)
    assert peers.peers("adam", mode).left_out == {"lazy": "its adam computes something else"}


def test_the_check_finds_a_wrong_step(without, monkeypatch):
    """Ours goes only two thirds of the way."""
    without(*LIBRARIES)
    mode = Mode("bfloat16", "8bit")
    make = contestants.fusedstep("adam", **mode.options)

    def wrong(params, grads):
        [start] = [p.astype(np.float32) for p in params]
        right = make(params, grads)
        return right._replace(
            result=lambda: [start + 0.67 * (params[0].astype(np.float32) - start)]
        )

    monkeypatch.setattr(peers, "fusedstep", lambda *_, **__: wrong)
    with pytest.raises(RuntimeError, match="fusedstep and NumPy textbook disagree after 3 steps"):
        peers.peers("adam", mode)


# What may be missing or wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        ("--rounding kahan", Mode(rounding="kahan")),
        ("--rounding stochastic --state 8bit", Mode(state="8bit", rounding="stochastic")),
        ("--master-bits 24", Mode(master_bits=24)),
        ("--dtype float64 --state 8bit", Mode("float64", "8bit")),
        ("--dtype float64 --state bfloat16", Mode("float64", "bfloat16")),
        (
            "--param bfloat16 --rounding kahan --master-bits 32",
            Mode("bfloat16", rounding="kahan", master_bits=32),
        ),
    ],
)
def test_an_impossible_mode_is_refused_in_the_librarys_words(words, mode, monkeypatch, capsys):
    monkeypatch.setattr(measurement, "peers", lambda *_: pytest.fail("it was measured"))
    assert main(["bench", "-q", *words.split()]) == 2
    sentence = error_of("adam", mode)
    assert sentence
    assert capsys.readouterr() == ("", f"fusedstep: {sentence}\n")


def test_state_that_a_rule_does_not_have(monkeypatch, capsys):
    monkeypatch.setattr(measurement, "peers", lambda *_: pytest.fail("it was measured"))
    assert main(["bench", "-q", "--rule", "sgd", "--state", "8bit"]) == 2
    assert capsys.readouterr().err == f"fusedstep: {error_of('sgd', Mode(state='8bit'))}\n"


def test_bfloat16_takes_ml_dtypes(without, monkeypatch, capsys):
    without("ml_dtypes")
    monkeypatch.setattr(measurement, "peers", lambda *_: pytest.fail("it was measured"))
    assert main(["bench", "-q", "--param", "bfloat16"]) == 3
    assert capsys.readouterr().err == (
        "fusedstep: bench needs ml_dtypes for bfloat16: not installed here: pip install ml_dtypes\n"
    )
