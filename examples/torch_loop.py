"""A training loop of torch whose optimizer is fusedstep's: nothing else in it changes.

python examples/torch_loop.py
"""

import torch

import fusedstep.torch

torch.manual_seed(0)
x = 2 * torch.rand(2048, 2) - 1
y = torch.sin(3 * x[:, :1]) + x[:, 1:] ** 2
data = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(x, y), batch_size=128, shuffle=True
)

model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
matrices = [p for p in model.parameters() if p.ndim > 1]
biases = [p for p in model.parameters() if p.ndim == 1]
opt = fusedstep.torch.AdamW(
    [{"params": matrices, "weight_decay": 0.01}, {"params": biases, "weight_decay": 0.0}],
    lr=0.1,
    max_grad_norm=1.0,  # clipped within the step: clip_grad_norm_ would be a sweep of its own
)
epochs = 10
schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=epochs * len(data))

for epoch in range(epochs):
    total = 0.0
    for inputs, targets in data:
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
        total += loss.item()
    print(f"epoch {epoch + 1}: loss {total / len(data):.4f}")
