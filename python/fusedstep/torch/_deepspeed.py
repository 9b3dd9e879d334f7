"""Adam with the interface of ``deepspeed.ops.adam.DeepSpeedCPUAdam``."""

from __future__ import annotations

import inspect
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.optim.optimizer import ParamsT

from fusedstep._checks import as_integer
from fusedstep.optimizer import Optimizer as Rules
from fusedstep.torch import _rules
from fusedstep.torch._engine import Engine
from fusedstep.torch._optimizer import optimizer_class

__all__ = ["DeepSpeedCPUAdam"]

if TYPE_CHECKING:
    from fusedstep.torch._optimizer import Optimizer as _Adam
else:
    _Adam = optimizer_class(_rules.DeepSpeedAdam)

# A counter after which beta**t is 0 for every beta below 1: nothing is left to correct.
_FAR = 2**53


class _Engine(Engine):
    """An engine whose groups may do without the correction, and whose counters are numbers."""

    def __init__(
        self,
        cls: type[Rules],
        policy: Mapping[str, Any],
        groups: Sequence[dict[str, Any]],
        state: Any,
        wanted: Sequence[bool],
    ) -> None:
        super().__init__(cls, policy, groups, state, wanted)
        self._state = state

    def set_counters(self) -> None:
        super().set_counters()
        group_of = self.inner._engine.tree.group_of
        steps = [
            int(step) if self.groups[group_of[i]].source["bias_correction"] else _FAR
            for i, step in enumerate(self.steps)
        ]
        self.core.set_counters(max(steps, default=0), steps)

    def _follow_groups(self) -> bool:
        followed = super()._follow_groups()
        if followed:
            self.set_counters()
        return followed

    def counted(self, grads: Sequence[Any], has_none: bool) -> None:
        super().counted(grads, has_none)
        for form, step in zip(self.forms, self.steps, strict=True):
            self._state[form.param]["step"] = int(step)
        self.seen = [(entry, tuple(entry.values())) for entry in self._state.values()]


class DeepSpeedCPUAdam(_Adam):
    """Adam and AdamW for parameters on the CPU, where DeepSpeed's ``DeepSpeedCPUAdam`` is expected.

    It takes the same arguments and keeps the same state, so that each loads what the other has
    saved; nothing is compiled at first use.

    Parameters
    ----------
    model_params : iterable
        Tensors on the CPU, or groups of them.
    lr : float, default 1e-3
        The learning rate.
    bias_correction : bool, default True
        Whether to correct the moments for their start at 0.
    betas : tuple of float, default (0.9, 0.999)
        How much of themselves both moments keep at each step.
    eps : float, default 1e-8
        Added to the root of the second moment.
    weight_decay : float, default 0
        How strongly the weights are pulled towards 0.
    amsgrad : bool, default False
        Divide by the largest second moment so far, which DeepSpeed's class refuses.
    adamw_mode : bool, default True
        Decouple the decay from the gradient, as AdamW; else add it to the gradient, as Adam.
    fp32_optimizer_states : bool, default True
        If False, the moments beside bfloat16 parameters are bfloat16, too.
    rollback_steps : int, default 1
        How many calls of :meth:`step_subgroup` can be undone, for each subgroup. Each takes copies
        of the parameter and its moments: with 1, beside float32, a subgroup takes 12 more bytes
        an element, **twice what it takes with 0**. :meth:`step` keeps none.

    Notes
    -----
    :meth:`rollback_subgroup` puts the copies back, to the bit. DeepSpeed computes the previous values
    from the present ones, which is right but for rounding with float32 and AdamW, and wrong where
    the gradient has overflowed, which is when a step is to be undone.

    For ZeRO-Offload with an optimizer of one's own DeepSpeed wants
    ``"zero_force_ds_cpu_optimizer": false`` in its configuration.
    """

    state: Any  # by subgroup, too
    _engine_class: ClassVar[type[Engine]] = _Engine

    def __init__(
        self,
        model_params: ParamsT,
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        adamw_mode: bool = True,
        fp32_optimizer_states: bool = True,
        *,
        rollback_steps: int = 1,
    ) -> None:
        self.adam_w_mode: bool = bool(adamw_mode)
        self.fp32_optimizer_states: bool = bool(fp32_optimizer_states)
        self.rollback_steps: int = as_integer("rollback_steps", rollback_steps, 0, 2**31)
        self._kept: dict[Any, deque[dict[str, torch.Tensor]]] = {}
        super().__init__(
            model_params,
            lr=lr,
            bias_correction=bias_correction,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            decoupled_weight_decay=self.adam_w_mode,
        )

    def step_subgroup(self, subgroup_id: int, closure: Callable[[], Any] | None = None) -> Any:
        """Update the one parameter that has a gradient, with the state of a subgroup.

        Parameters
        ----------
        subgroup_id
            The key of the state: ``state[subgroup_id]``.
        closure
            As in :meth:`step`.
        """
        loss = _called(closure)
        found = self._subgroup(subgroup_id)
        if found is None:
            return loss
        param, group = found
        state = defaultdict(dict, {param: self.state[subgroup_id]})
        self._prepare(group)
        with torch.no_grad():
            engine = _Engine(self.rule, self._policy, [group], state, [True])
            kept = self._keep(subgroup_id, param)
            try:
                self._step_with_care(engine, [param.grad], 1.0)
            except BaseException:  # there is nothing to undo
                if kept:
                    kept.pop()
                raise
        return loss

    @torch.no_grad()
    def rollback_subgroup(self, sub_group_id: int, closure: Callable[[], Any] | None = None) -> Any:
        """Undo the latest step of a subgroup, to the bit.

        Parameters
        ----------
        sub_group_id
            As in :meth:`step_subgroup`.
        closure
            As in :meth:`step`.

        Raises
        ------
        RuntimeError
            The subgroup has made no step, or none that is kept (`rollback_steps`).
        """
        loss = _called(closure)
        entry = self.state.get(sub_group_id)
        if not entry:
            raise RuntimeError(
                f"Cannot rollback optimizer state for sub_group_id {sub_group_id} as it has not "
                "been initialized."
            )
        if entry["step"] <= 0:
            raise RuntimeError(
                f"Cannot rollback sub_group_id {sub_group_id}: step count is {entry['step']}"
            )
        found = self._subgroup(sub_group_id)
        if found is None:
            return loss
        kept = self._kept.get(sub_group_id)
        if not kept:
            raise RuntimeError(
                f"Cannot rollback sub_group_id {sub_group_id}: expected one of its latest "
                f"{self.rollback_steps} steps, which are kept (rollback_steps), got an earlier one"
            )
        copies = kept.pop()
        for name, target in self._arrays(sub_group_id, found[0]).items():
            target.copy_(copies[name])
        entry["step"] -= 1
        return loss

    def _subgroup(self, subgroup_id: Any) -> tuple[torch.Tensor, dict[str, Any]] | None:
        """The parameter that has a gradient, and a group of it alone."""
        found = [
            (param, {**group, "params": [param]})
            for group in self.param_groups
            for param in group["params"]
            if param.grad is not None
        ]
        if len(found) > 1:
            raise ValueError(
                f"subgroup {subgroup_id}: expected one parameter with a gradient, since a subgroup "
                f"has one state, got {len(found)}"
            )
        return found[0] if found else None

    def _arrays(self, subgroup_id: Any, param: torch.Tensor) -> dict[str, torch.Tensor]:
        """All that a step of a subgroup writes, but its counter."""
        entry = {name: value for name, value in self.state[subgroup_id].items() if name != "step"}
        return {"param": param.detach(), **entry}

    def _keep(self, subgroup_id: Any, param: torch.Tensor) -> deque[dict[str, torch.Tensor]]:
        """Copy what a step of a subgroup is about to write, over the oldest copies."""
        kept = self._kept.setdefault(subgroup_id, deque(maxlen=self.rollback_steps))
        arrays = self._arrays(subgroup_id, param)
        if len(kept) < self.rollback_steps:
            kept.append({name: array.clone() for name, array in arrays.items()})
        elif kept:
            copies = kept.popleft()
            for name, array in arrays.items():
                copies[name].copy_(array)
            kept.append(copies)
        return kept

    def _renewed(self, present: list[bool]) -> Engine:
        for group in self.param_groups:
            self._prepare(group)
        engine: Engine = super()._renewed(present)
        return engine

    def _prepare(self, group: dict[str, Any]) -> None:
        """Set the options that follow from this optimizer and the parameters as they are now."""
        for i, param in enumerate(group["params"]):
            # What DeepSpeed raises, too.
            if param.device.type != "cpu":
                raise AssertionError(
                    f"params[{i}]: expected a tensor on the CPU, got one on {param.device}; with "
                    "ZeRO: set offload_optimizer to cpu"
                )
        group["decoupled_weight_decay"] = self.adam_w_mode
        dtypes = {str(param.dtype).removeprefix("torch.") for param in group["params"]}
        group["state_dtype"] = "float32"
        if self.fp32_optimizer_states or dtypes <= {"float32", "float64"}:
            return
        if dtypes != {"bfloat16"}:
            raise TypeError(
                "fp32_optimizer_states: expected True, or groups of bfloat16 or of float32 "
                f"parameters, got False and {', '.join(sorted(dtypes))}"
            )
        group["state_dtype"] = "bfloat16"

    def __getstate__(self) -> dict[str, Any]:
        own = ("adam_w_mode", "fp32_optimizer_states", "rollback_steps", "_kept")
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in own}}


# In place of the one that is inherited.
_arguments = [*inspect.signature(DeepSpeedCPUAdam.__init__).parameters.values()]
DeepSpeedCPUAdam.__signature__ = inspect.Signature(_arguments[1:])  # type: ignore[attr-defined]
DeepSpeedCPUAdam.__module__ = "fusedstep.torch"


def _called(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
