"""The Trainer of Transformers trains with the optimizers, and goes on after it was killed."""

import importlib.util

import pytest

from killed import ends, same

pytest.importorskip("torch")
if importlib.util.find_spec("transformers") is None:  # its import takes seconds
    pytest.skip("Transformers is not installed", allow_module_level=True)

pytestmark = pytest.mark.exhaustive
RUN = """
import os, signal, sys
from pathlib import Path
import torch, transformers
from transformers import GPT2LMHeadModel, Trainer  # which import the most, once they are asked for
import fusedstep.torch

folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
transformers.set_seed(0)
model = GPT2LMHeadModel(
    transformers.GPT2Config(
        vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
)
rows = [torch.arange(8) * k % 32 for k in range(40)]


class Kill(transformers.TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


trainer = Trainer(
    model,
    transformers.TrainingArguments(
        folder,
        max_steps=10,
        save_steps=5,
        eval_strategy="steps",
        eval_steps=5,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        weight_decay=0.1,
        lr_scheduler_type="cosine",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    ),
    train_dataset=[{"input_ids": row, "labels": row} for row in rows],
    eval_dataset=[{"input_ids": row, "labels": row} for row in rows[:4]],
    callbacks=[Kill()],
    OPTIMIZER
)
trainer.train(resume_from_checkpoint=(folder / "checkpoint-5").exists())
opt = trainer.optimizer.optimizer
torch.save([model.state_dict(), opt.state_dict(), type(opt).__module__], folder / "end.pt")
"""
PAIR = """
    optimizers=(
        opt := fusedstep.torch.AdamW(model.parameters(), lr=1e-2, max_grad_norm=1.0),
        torch.optim.lr_scheduler.LinearLR(opt, total_iters=10),
    ),
"""
CLASS = """
    optimizer_cls_and_kwargs=(fusedstep.torch.AdamW, {"lr": 1e-2, "state_dtype": "8bit"}),
"""
SWITCHES = """  # saves what it has evaluated: the average
    optimizer_cls_and_kwargs=(fusedstep.torch.ScheduleFreeAdamW, {"lr": 1e-2}),
"""


@pytest.mark.parametrize(
    ("optimizer", "decays"),
    [(PAIR, [0.01]), (CLASS, [0.1, 0.0]), (SWITCHES, [0.1, 0.0])],
    ids=["pair", "class", "schedule-free"],
)
def test_a_killed_run_is_resumed_to_the_same_bits(optimizer, decays, tmp_path):
    whole, resumed = ends(RUN.replace("OPTIMIZER", optimizer.strip()), tmp_path)
    assert same(whole, resumed)
    _, state, module = whole
    assert module == "fusedstep.torch"
    assert [group["weight_decay"] for group in state["param_groups"]] == decays
