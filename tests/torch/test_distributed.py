"""Training in two and three processes is training in one, to the bit, where the gradient is the same."""

import copy
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from crew import LIMIT, Crew
from interpreters import environment

torch = pytest.importorskip("torch")
if not torch.distributed.is_available():
    pytest.skip("torch is built without torch.distributed", allow_module_level=True)

from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

import training_together as together
from training_together import (
    BFLOAT16,
    BY_PARTS,
    CASES,
    NARROW,
    STEPS,
    Model,
    assert_same,
    gradients_of,
    made,
    state_of,
    train_alone,
    values_of,
)

pytestmark = pytest.mark.xdist_group("crew")
both = pytest.mark.parametrize("count", [2, 3])


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    crew = Crew(tmp_path_factory.mktemp("crew"))
    yield crew
    crew.end()


@both
def test_ddp(crew, count):
    results = crew(count, together.ddp, CASES)
    for i, case in enumerate(CASES):
        model, optimizer = train_alone(case, count)
        for result in results:
            assert_same(result[i], (values_of(model), state_of(optimizer)), case)


@pytest.mark.parametrize("options", [{}, {"parameters_as_bucket_view": True}], ids=str)
@both
def test_zero_redundancy_optimizer(crew, count, options):
    results = crew(count, together.zero, CASES, options)
    for i, case in enumerate(CASES):
        model, optimizer = train_alone(case, count)
        saved = optimizer.state_dict()
        other = made(case, model.parameters())
        other.load_state_dict(copy.deepcopy(results[0][i][1]))
        assert_same(state_of(other), state_of(optimizer))
        assert_same(results[0][i][1]["state"], saved["state"])
        train_alone(case, count, range(STEPS, STEPS + 2), model, optimizer)
        for result in results:
            assert_same(result[i][0], values_of(model))


def test_zero_redundancy_optimizer_with_fewer_parameters_than_processes(crew):
    model, _ = train_alone(("AdamW", {}), 3, shapes=((3, 2), (4,)))
    for values in crew(3, together.zero_of_few):
        assert_same(values, values_of(model))


@pytest.mark.parametrize(
    ("cases", "dtype"), [(BY_PARTS, torch.float32), (NARROW, torch.bfloat16)], ids=["all", "narrow"]
)
@both
def test_fully_shard(crew, count, cases, dtype):
    """Some processes have no element of the smallest parameters."""
    results = crew(count, together.fsdp, cases, dtype)
    for i, case in enumerate(cases):
        model, optimizer = train_alone(case, count, dtype=dtype)
        for result in results:
            assert_same(result[i], (values_of(model), state_of(optimizer)), case)


def test_bfloat16_state_of_shards(crew):
    model, _ = train_alone(BFLOAT16, 2)
    for ((values, state),) in crew(2, together.fsdp, [BFLOAT16], torch.float32):
        assert all(own["exp_avg"].dtype == torch.bfloat16 for own in state)
        for found, expected in zip(values, values_of(model), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@both
def test_clipping_takes_the_norm_over_all_processes(crew, count):
    model = Model()
    for p, *gradients in zip(
        model.parameters(), *(gradients_of(model, 0, rank) for rank in range(count)), strict=True
    ):
        p.grad = sum(gradients) / count
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    made(("SGD", {}), model.parameters()).step()
    for found, values in crew(count, together.fsdp_clipped):
        torch.testing.assert_close(found, norm)
        for one, expected in zip(values, model.parameters(), strict=True):
            torch.testing.assert_close(one, expected.detach())


def test_grad_scaler_skips_in_all_processes(crew):
    model, _ = train_alone(("SGD", {}), 2, range(1))
    for (skipped, was_applied, scale), (values, is_applied, _) in crew(2, together.fsdp_scaled):
        assert_same(skipped, values_of(Model()))
        assert (was_applied, scale, is_applied) == (False, 2.0, True)
        assert_same(values, values_of(model))


@pytest.mark.parametrize("later", ["", "unstepped", "stepped"])
@pytest.mark.parametrize(
    ("name", "options", "instead"),
    [
        ("LAMB", {}, "replicate"),
        ("LARS", {}, "replicate"),
        ("AdamW", {"skip_nonfinite": True}, "clip_grad_norm_ returns is finite"),
        ("AdamW", {"error_if_nonfinite": True}, "clip_grad_norm_ returns is finite"),
        ("AdamW", {"max_grad_norm": 1.0}, "call torch.nn.utils.clip_grad_norm_"),
        ("AdamW", {"state_dtype": "8bit"}, "'float32' or 'bfloat16'"),
    ],
)
def test_what_needs_whole_parameters_is_refused(crew, name, options, instead, later):
    if later and not {"max_grad_norm", "state_dtype"} & {*options}:
        return  # not an option of groups
    for message in crew(2, together.refused, name, options, later):
        assert instead in message
        assert "'all.0'" in message or "param_groups[0]['params'][0]" in message


def test_row_wise_rules_need_whole_rows(crew):
    crew(2, together.by_columns)


def test_shards_that_are_whole_may_do_all(crew):
    options = {"max_grad_norm": 1.0, "skip_nonfinite": True, "state_dtype": "8bit"}
    model, _ = train_alone(("AdamW", {**options, "min_8bit_size": 0}), 2)
    for values in crew(2, together.replicated):
        assert_same(values, values_of(model))


@both
def test_gradients_placed_otherwise_than_their_parameters(crew, count):
    start = torch.arange(10.0).reshape(5, 2)
    for summed, sliced in crew(count, together.placed_otherwise):
        rate = torch.tensor(1e-2)
        assert_same(summed, start - rate * count)
        assert_same(sliced, start - rate)


def test_fault_31_checkpoints_are_resumed_by_another_number_of_processes(crew, tmp_path):
    """The gradient is always that of the number that goes on."""
    crew(2, together.save, BY_PARTS, str(tmp_path))
    for count in (1, 2, 3):
        results = crew(count, together.resume, BY_PARTS, str(tmp_path))
        for i, case in enumerate(BY_PARTS):
            model, optimizer = train_alone(case, 2)
            train_alone(case, count, range(STEPS, STEPS + 2), model, optimizer)
            for result in results:
                assert_same(result[i], (values_of(model), state_of(optimizer)), case)


def test_checkpoints_of_torch_are_resumed(crew, tmp_path):
    cases = [
        ("AdamW", {}),
        ("SGD", {"momentum": 0.9}),
        ("NAdam", {}),
        ("Adagrad", {}),
        ("ASGD", {}),
    ]
    crew(2, together.save, cases, str(tmp_path), True)
    results = crew(3, together.resume, cases, str(tmp_path), True)
    for i, case in enumerate(cases):
        model, optimizer = train_alone(case, 2)
        train_alone(case, 3, range(STEPS, STEPS + 2), model, optimizer)
        for values, _ in (result[i] for result in results):
            for found, expected in zip(values, values_of(model), strict=True):
                torch.testing.assert_close(found, expected, msg=case[0])


def test_state_of_one_process_is_distributed(crew):
    saved, expected = [], []
    cases = [case for case in BY_PARTS if case != ("SGD", {})]  # has no state to distribute
    for case in cases:
        model, optimizer = train_alone(case, 1)
        saved.append((values_of(model), copy.deepcopy(get_optimizer_state_dict(model, optimizer))))
        train_alone(case, 3, range(STEPS, STEPS + 2), model, optimizer)
        expected.append((values_of(model), state_of(optimizer)))
    for result in crew(3, together.start_from_full, cases, saved):
        assert_same(result, expected)


def test_state_before_the_first_step(crew):
    for result in crew(2, together.fresh, BY_PARTS):
        assert result == [(True, True)] * len(BY_PARTS)


def test_the_example_goes_on_in_another_number_of_processes(tmp_path):
    script = Path(__file__).parents[2] / "examples" / "torch_fsdp2.py"
    if not script.exists():
        pytest.skip("the examples are not here")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    lines = []
    for count, steps in ((2, 20), (3, 40)):
        ran = subprocess.run(
            [*torchrun, f"--nproc-per-node={count}", str(script), str(tmp_path), str(steps)],
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert ran.returncode == 0, ran.stderr
        lines += ran.stdout.splitlines()
    (first, before), (last, after) = (line.split(": loss ") for line in lines)
    assert (first, last) == ("step 20", "step 40")
    assert float(after) < float(before)


# Processes that fail or disagree ---------------------------------------------------------------


def test_fault_32_an_error_that_all_share(crew):
    first, second = crew(2, together.not_finite_in_one)
    assert first == second
    assert "error_if_nonfinite" in first


def test_fault_32_an_error_of_one_holds_up_no_other(crew):
    refused, other = crew(2, together.refused_in_one)
    assert "each process has a shard" in refused
    assert other == "stepped"


KILLED = """
import os, sys
from datetime import timedelta
import torch.distributed as dist
from training_together import Model, gradients_of, made, sharded
rank = int(sys.argv[1])
dist.init_process_group(
    "gloo", init_method=sys.argv[2], rank=rank, world_size=2, timeout=timedelta(seconds=60)
)
model = sharded(Model())
optimizer = made(("AdamW", {}), model.parameters())
model(gradients_of(Model(), 0, rank)).backward()
print("ready", flush=True)
input()
optimizer.step()
print("stepped", flush=True)
try:
    dist.barrier()
except RuntimeError as error:
    print("told:", error, flush=True)
os._exit(0)
"""


def test_fault_32_a_process_that_is_killed_before_its_step(tmp_path):
    """A step waits for nobody; torch's next barrier says that one is missing."""
    command, store = [sys.executable, "-c", KILLED], (tmp_path / "store").as_uri()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                subprocess.Popen([*command, str(rank), store], env=environment(), **pipes)
            )
            for rank in range(2)
        )
        stack.callback(first.kill)
        stack.callback(second.kill)
        assert [one.stdout.readline() for one in (first, second)] == ["ready\n"] * 2
        second.kill()
        second.wait(LIMIT)
        printed, _ = first.communicate("go\n", LIMIT)
    stepped, told = printed.split("\n", 1)
    assert stepped == "stepped"
    assert told.startswith("told:")
