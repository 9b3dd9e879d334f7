"""The step within the backward pass: each parameter is updated as soon as it has its gradient.

python examples/torch_step_in_backward.py

The gradient is then still in the cache, and is freed at once: no two are alive at the same time.
"""

import torch

import fusedstep.torch

torch.manual_seed(0)
x = 2 * torch.rand(512, 2) - 1
y = torch.sin(4 * x[:, :1]) * torch.cos(3 * x[:, 1:])
model = torch.nn.Sequential(
    torch.nn.Linear(2, 64),
    torch.nn.Tanh(),
    torch.nn.Linear(64, 64),
    torch.nn.Tanh(),
    torch.nn.Linear(64, 1),
)

# An optimizer a parameter; what needs all gradients at once (max_grad_norm) is not for this.
optimizers = {p: fusedstep.torch.AdamW([p], lr=3e-3) for p in model.parameters()}


def update(param):
    optimizers[param].step()
    optimizers[param].zero_grad()


for param in model.parameters():
    param.register_post_accumulate_grad_hook(update)

for step in range(200):
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()  # and update
    assert all(param.grad is None for param in model.parameters())
    if step % 40 == 39:
        print(f"step {step + 1}: loss {loss.item():.4f}")
