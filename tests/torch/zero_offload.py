"""A training with ZeRO-2 and its optimizer on the host: run by test_deepspeed.py in a process of its own.

python zero_offload.py MODULE.CLASS DTYPE PORT FOLDER
"""

import json
import sys
from importlib import import_module

import deepspeed
import torch

import fusedstep.torch

# For several processes on a machine: minutes of compiling, which one does without.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

target, dtype, port, folder = sys.argv[1:]
module, name = target.rsplit(".", 1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
optimizer = getattr(import_module(module), name)(model.parameters(), lr=1e-2, weight_decay=0.1)
deepspeed.init_distributed(
    "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1, auto_mpi_discovery=False
)
engine, zero, *_ = deepspeed.initialize(
    model=model,
    optimizer=optimizer,
    config={
        "train_micro_batch_size_per_gpu": 64,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": dtype == "bfloat16"},
        "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    },
)
x = torch.randn(64, 20).to(getattr(torch, dtype))


def train(steps):
    losses = []
    for _ in range(steps):
        loss = torch.nn.functional.mse_loss(engine(x).float(), 2 * x[:, :4].float())
        engine.backward(loss)
        engine.step()
        losses.append(loss.item())
    return losses


losses = train(20)
engine.save_checkpoint(folder)
onwards = train(3)
engine.load_checkpoint(folder)
result = {
    "optimizer": isinstance(zero.optimizer, fusedstep.torch.DeepSpeedCPUAdam),
    "losses": losses,
    "onwards": onwards,
    "resumed": train(3),
}
print(json.dumps(result))
torch.distributed.destroy_process_group()
