"""Accelerate prepares the optimizers, clips, accumulates, saves and loads."""

import copy

import pytest

from killed import ends, same

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate", reason="Accelerate is not installed")

import fusedstep.torch

NAMES = [
    name
    for name in fusedstep.torch.__all__
    if hasattr(cls := getattr(fusedstep.torch, name), "rule") and not cls.is_sparse
]
X = torch.linspace(-1.0, 1.0, 64).reshape(16, 4)
Y = X.sum(1, keepdim=True)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def prepared(cls, **options):
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = network()
    opt = cls(model.parameters(), lr=1e-2, **options)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 2, gamma=0.5)
    return accelerator, *accelerator.prepare(model, opt, schedule)


def train(accelerator, model, opt, schedule, batches=8):
    for i in range(batches):
        with accelerator.accumulate(model):
            rows = slice(4 * (i % 4), 4 * (i % 4) + 4)
            loss = torch.nn.functional.mse_loss(model(X[rows]), Y[rows])
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
            opt.step()
            schedule.step()
            opt.zero_grad()
    return loss.item()


def test_prepare_wraps_the_optimizer():
    accelerator, _, opt, schedule = prepared(fusedstep.torch.AdamW)
    assert type(opt) is accelerate.optimizer.AcceleratedOptimizer
    assert type(opt.optimizer) is fusedstep.torch.AdamW
    assert type(schedule) is accelerate.scheduler.AcceleratedScheduler
    assert accelerator._optimizers == [opt]


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RAdam"])
def test_training_is_as_with_torchs_own(name):
    ours = prepared(getattr(fusedstep.torch, name))
    theirs = prepared(getattr(torch.optim, name))
    assert train(*ours) == pytest.approx(train(*theirs), rel=1e-5)
    assert ours[2].param_groups[0]["lr"] == theirs[2].param_groups[0]["lr"] == 1e-2 / 4
    for own, other in zip(ours[1].parameters(), theirs[1].parameters(), strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_run_goes_on_to_the_same_bits(name, tmp_path):
    accelerator, model, opt, schedule = run = prepared(getattr(fusedstep.torch, name))
    train(*run)
    accelerator.save_state(tmp_path)
    train(*run)
    first = copy.deepcopy([model.state_dict(), opt.state_dict(), schedule.state_dict()])
    train(*run)
    accelerator.load_state(tmp_path)
    train(*run)
    assert same(first, [model.state_dict(), opt.state_dict(), schedule.state_dict()])


RUN = """
import os, signal, sys
from pathlib import Path
import accelerate, torch, fusedstep.torch

folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
accelerator = accelerate.Accelerator(cpu=True)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1))
opt = fusedstep.torch.AdamW(
    model.parameters(), lr=1e-2, max_grad_norm=1.0, ema_decay=0.9, state_dtype="8bit"
)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10)
model, opt, schedule = accelerator.prepare(model, opt, schedule)
start = 0
if (folder / "step").exists():
    accelerator.load_state(folder / "state")
    start = int((folder / "step").read_text())
for step in range(start + 1, 11):
    loss = model(torch.randn(16, 4)).square().mean()
    accelerator.backward(loss)
    opt.step()
    schedule.step()
    opt.zero_grad()
    if step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    if step == 5:
        accelerator.save_state(folder / "state")
        (folder / "step").write_text(str(step))
torch.save([model.state_dict(), opt.state_dict(), schedule.state_dict()], folder / "end.pt")
"""


@pytest.mark.exhaustive
def test_a_killed_run_is_resumed_to_the_same_bits(tmp_path):
    whole, resumed = ends(RUN, tmp_path)
    assert same(whole, resumed)
