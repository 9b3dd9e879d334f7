"""What users write, which type checkers must accept in their strict modes."""

import sys
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch

import fusedstep as fs
import fusedstep.torch
from fusedstep.typing import Gradients, Params, Schedule

Floats = npt.NDArray[np.float32]

w, b = np.zeros((3, 2), np.float32), np.zeros(2, np.float32)
grad = np.ones_like(w)

# NumPy: one array, mappings, lists, nests, NumPy's scalars for parameters without axes.
opt: fs.Optimizer = fs.AdamW(
    {"w": w, "b": b}, lr=1e-3, betas=(0.9, 0.99), max_grad_norm=1.0, ema_decay=0.99
)
result = opt.step({"w": grad, "b": None}, grad_scale=2.0, zero_grads=True)
norm: float | None = result.grad_norm
if not result:
    sys.exit(f"not applied: {norm}")
fs.SGD(w, lr=0.1, momentum=0.9, nesterov=True).step(grad)
layers = [[w, b], [np.zeros_like(w), np.zeros_like(b)]]
fs.Adam(layers).step([[grad, None], [grad, grad[0]]])
fs.Adam((w, (b, w))).step((grad, (None, grad)))
fs.Lion({"encoder": {"w": w, "b": [b, b]}, "head": w}).step({"encoder": {"w": grad}})
fs.Adam({"scale": np.zeros(())}).step({"scale": grad.sum()})
fs.Adam(array for array in [w, b]).step(array for array in [grad, None])
fs.Adam([("w", w), ("b", b)]).step([("w", grad)])
mixed: Params = {"w": w, "layers": [{"w": np.zeros(3)}, b]}  # of which mypy would make objects
fs.RMSprop(mixed, centered=True)
fs.Adam(np.memmap("w", np.float32, "w+", shape=(3,)))


# Groups: as they are written, and of a type of one's own.
class Group(TypedDict, total=False):
    params: dict[str, Floats]
    lr: float
    weight_decay: float


fs.AdamW([{"params": {"w": w}}, {"params": [b], "lr": 0.1, "weight_decay": 0.0}])
groups: list[Group] = [{"params": {"w": w}}, {"params": {"b": b}, "lr": 0.1}]
opt = fs.AdamW(groups, decay_mask=["w"], state_dtype="8bit", master=None, seed=3)
opt.add_group({"params": {"v": np.zeros_like(w)}, "lr": 0.1})
opt.groups[0]["lr"] = 0.5
rates = [group.lr for group in opt.groups]


def is_matrix(name: str, array: Floats) -> bool:
    return array.ndim > 1 and not name.startswith("head")


fs.AdamW({"w": w, "b": b}, decay_mask=is_matrix)


# Learning rates.
def halved(step: int) -> float:
    return 0.1 * 0.5**step


plateau = fs.schedules.Plateau(fs.schedules.Cosine(0.1, total_steps=100, warmup_steps=10))
rate: float = plateau(3) if plateau.update(0.5) else 0.1
schedules: list[float | Schedule] = [rate, halved, plateau, lambda step: 1 / (step + 1)]
joined = fs.schedules.Join([0.1, halved, fs.schedules.Warmup(halved, 10)], boundaries=[5, 9])
for schedule in [*schedules, joined]:
    opt = fs.Adam({"w": w}, lr=schedule)
opt.lr = halved
opt.lr = 0.5
opt.lr /= 2

# Bound gradients, several sets, rows.
opt.bind({"w": grad})
opt.step()
opt.bind(None)
opt.step_mean([{"w": grad}, {"w": grad}], weights=[1, 2])
opt.step_sum({"w": g} for g in (grad, grad))
opt.step_rows("w", [0, 2], grad[:2])
with opt.one_step() as one:
    opt.step_rows("w", np.array([1]), grad[:1])
print(one.result.applied)

# State, averages, saving.
opt = fs.create("adamw", {"w": w, "b": b}, lr=1e-3, ema_decay=0.9)
moment: Floats = opt.state["w"]["exp_avg"]
moment[...] = 0.0
names: list[str] = [*opt.state, *opt.params]
with opt.ema.swapped_in():
    loss = float(np.mean(w))
average: Floats = opt.ema["w"]
master: npt.NDArray[Any] = opt.master("w")
opt.freeze(*names)
opt.set_counters(3, {"w": 2})
opt.load_state_dict(opt.state_dict())
x, y = np.ones((8, 3)), np.ones(8, int)
batches = fs.data.MiniBatches(x, y, batch_size=4)
for xb, yb in batches:
    print(xb.shape, yb.shape)
scaled = fs.data.Standardizer().fit(x).transform(x)
fs.checkpoint.save("run.safetensors", opt=opt, data=batches, extra={"loss": loss})
saved = fs.load("run.safetensors")
missing: list[str] = saved.restore(opt, batches, strict=False).missing_keys
manager = fs.checkpoint.CheckpointManager("run", keep=2)
print(manager.save(3, opt, data={"batches": batches}).name, saved.step_count, scaled.mean())
ema = fs.EMA({"loss": np.zeros(1)}, decay=0.9, bias_correction=True)
ema.update({"loss": np.ones(1)})
ema.update()
fs.functional.adam(w, grad, np.zeros_like(w), np.zeros_like(w), step=1, lr=1e-3)
fs.functional.sgd([w, b], [grad, b], step=[1, 2], lr=0.1)
with fs.num_threads(1):
    print(fs.isa(), fs.show_config("dict")["cpu_count"])


def train(params: Params, grads: Gradients, optimizer: type[fs.Optimizer]) -> None:
    optimizer(params).step(grads)


train({"w": w}, {"w": grad}, fs.Adam)

# torch.
model = torch.nn.Linear(3, 2)
fs.Adam(model.parameters()).step([p.grad for p in model.parameters()])
opt = fs.Adam(model.named_parameters())
opt.step({name: p.grad for name, p in model.named_parameters()})
opt.step(p.grad for p in model.parameters())
opt.bind(model.parameters())
fs.Adam([{"params": model.parameters()}, {"params": [w], "lr": 0.1}])
own: fusedstep.torch.AdamW = fusedstep.torch.AdamW(model.parameters(), lr=1e-3, fused=None)
own.step()
parts: list[dict[str, Any]] = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.1}]
fusedstep.torch.Adam(parts, lr=torch.tensor(0.1))
print(own.result.applied, own.param_groups[0]["lr"])
