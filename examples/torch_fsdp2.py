"""Train with FSDP2, and go on from a checkpoint in any number of processes.

torchrun --nproc-per-node 2 examples/torch_fsdp2.py [FOLDER [STEPS]]
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import fusedstep.torch


def main(folder: Path | None, steps: int) -> None:
    """Train to this number of steps, from the last checkpoint in the folder."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    torch.manual_seed(0)  # the same model in each process, before it is sharded
    model = torch.nn.Sequential(
        torch.nn.Linear(16, 64), torch.nn.GELU(), torch.nn.Linear(64, 64), torch.nn.GELU()
    ).append(torch.nn.Linear(64, 1))
    for layer in model:
        if isinstance(layer, torch.nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    opt = fusedstep.torch.AdamW(model.parameters(), lr=3e-3)

    done = max((int(path.name) for path in folder.glob("*")), default=0) if folder else 0
    if done:
        weights, state = get_state_dict(model, opt)
        saved = {"model": weights, "opt": state}
        dcp.load(saved, checkpoint_id=folder / str(done))
        set_state_dict(model, opt, model_state_dict=weights, optim_state_dict=saved["opt"])

    for step in range(done, steps):
        data = torch.Generator().manual_seed(step)
        x = torch.randn(64, 16, generator=data)[dist.get_rank() :: dist.get_world_size()]
        loss = (model(x) - x.square().mean(1, keepdim=True)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # over all processes
        opt.step()
        opt.zero_grad()
        dist.all_reduce(loss.detach_())
        if dist.get_rank() == 0 and step % 20 == 19:
            print(f"step {step + 1}: loss {loss.item() / dist.get_world_size():.4f}")

    if folder:
        weights, state = get_state_dict(model, opt)
        dcp.save({"model": weights, "opt": state}, checkpoint_id=folder / str(steps))


if __name__ == "__main__":
    dist.init_process_group("gloo")
    main(Path(sys.argv[1]) if sys.argv[1:] else None, int((sys.argv[2:] or ["100"])[0]))
    dist.destroy_process_group()
