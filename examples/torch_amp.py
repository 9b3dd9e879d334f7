"""Automatic mixed precision on the CPU: float32 weights, a forward pass in 16 bits.

python examples/torch_amp.py

bfloat16 needs no scaler. float16 does: what overflows is found, and that step skipped.
"""

import torch

import fusedstep.torch


def train(dtype):
    torch.manual_seed(0)
    x = 2 * torch.rand(512, 2) - 1
    y = torch.sin(4 * x[:, :1]) * torch.cos(3 * x[:, 1:])
    model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    opt = fusedstep.torch.AdamW(model.parameters(), lr=1e-2, max_grad_norm=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, enabled=dtype == torch.float16)
    skipped = 0
    for step in range(200):
        with torch.autocast("cpu", dtype):
            loss = torch.nn.functional.mse_loss(model(x).float(), y)
        opt.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(opt)  # unscales, and clips, in the sweep of the update
        scaler.update()
        skipped += not opt.result.applied
        if step % 40 == 39:
            print(f"{dtype}: step {step + 1}: loss {loss.item():.4f}")
    print(f"{dtype}: {skipped} steps were skipped")


train(torch.bfloat16)
train(torch.float16)
