"""What steps cannot do where a process has only parts of the parameters: DTensors that are shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusedstep._rule import Rule
from fusedstep.torch._forms import is_shard, name_of

__all__ = ["refuse_shards"]

_CLIP = "torch.nn.utils.clip_grad_norm_"


def refuse_shards(
    rule: Rule, policy: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]
) -> None:
    """Raise ValueError where some parameters are shards and steps would need what is elsewhere.

    That does not depend on the size of a shard: it is raised in all processes, or in none.
    """
    shards = [
        (name_of(group, k, i), param)
        for k, group in enumerate(groups)
        for i, param in enumerate(group["params"])
        if is_shard(param)
    ]
    if not shards:
        return
    name, param = shards[0]
    whose = f"parameter {name!r}, of which each process has a shard"
    if rule.info.layerwise:
        raise ValueError(
            f"{rule.label}: expected whole parameters, whose norms it takes, got {whose}: replicate "
            "them (DistributedDataParallel, ZeroRedundancyOptimizer), or use a rule without norms"
        )
    for name, param in shards if rule.info.rowwise else ():
        if any(getattr(placement, "dim", 0) != 0 for placement in param.placements):
            raise ValueError(
                f"{rule.label}: expected whole rows, got parameter {name!r} with placements "
                f"{param.placements}: shard it by its first axis, or use Adagrad"
            )
    for option in ("skip_nonfinite", "error_if_nonfinite"):
        if policy.get(option):
            raise ValueError(
                f"{option}: expected False with {whose}, since no process sees the gradients of "
                f"the others: step if the norm that {_CLIP} returns is finite, or use GradScaler"
            )
    for group in groups:
        if group["max_grad_norm"] is not None:
            raise ValueError(
                f"max_grad_norm: expected None with {whose}, since the norm would be that of the "
                f"shards: call {_CLIP} before the step, whose norm is that of all processes"
            )
        if group["state_dtype"] == "8bit" and any(is_shard(param) for param in group["params"]):
            raise ValueError(
                f"state_dtype: expected 'float32' or 'bfloat16' with {whose}, got '8bit', whose "
                "blocks would be cut otherwise on another number of processes"
            )
