"""What surrounds a rule in a step (clipping, checks, averages): options and result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from fusedstep._checks import as_integer
from fusedstep._decay_mask import DecayMask, check_mask
from fusedstep._formats import STORAGE_OPTIONS
from fusedstep._lent import LentState, check_lent
from fusedstep._messages import shown
from fusedstep._options import Limit, Number, Option, Switch

if TYPE_CHECKING:
    from fusedstep.typing import Array

__all__ = [
    "GROUP_OPTIONS",
    "Pipeline",
    "Policy",
    "StepResult",
]


class StepResult(NamedTuple):
    """Whether a step was applied, and the norm of its gradients.

    A result is true where the step was applied: ``if opt.step(grads): ...``. Hooks of torch must
    return None: make them a ``def`` without ``return`` that calls ``step``.

    With parameters on a CUDA device and an option that needs the norm, both are arrays of one
    number there. The step does not wait for the device; reading them (``if result:``) does.
    """

    applied: bool
    """False if ``skip_nonfinite`` found NaN or infinity; then nothing changed, not even counters."""

    grad_norm: float | None
    """The Euclidean norm of all gradients of the step, after division by ``grad_scale`` and before
    clipping. None without an option that needs it (``max_grad_norm``, ``skip_nonfinite``,
    ``error_if_nonfinite``)."""

    def __bool__(self) -> bool:
        applied: Any = self.applied
        if hasattr(applied, "copy_to_host"):  # Numba's arrays have no truth value of their own
            applied = applied.copy_to_host()
        return bool(applied)


class Pipeline(TypedDict, total=False):
    """Keywords that every optimizer takes; :class:`~fusedstep.Optimizer` documents them."""

    max_grad_norm: float | None
    max_grad_value: float | None
    clip_per_group: bool
    skip_nonfinite: bool
    error_if_nonfinite: bool
    ema_decay: float | None
    ema_bias_correction: bool
    working_copy: Mapping[str, Array] | None
    state: LentState | None
    decay_mask: DecayMask | None
    state_dtype: Literal["float32", "bfloat16", "8bit"]
    min_8bit_size: int
    rounding: Literal["nearest", "stochastic", "kahan"]
    master: Literal["split"] | None
    master_bits: Literal[32, 24]
    seed: int


# Options that each group may set.
GROUP_OPTIONS: Mapping[str, Option] = {
    "max_grad_norm": Option("max_grad_norm", Limit(), None),
    "max_grad_value": Option("max_grad_value", Limit(), None),
    **STORAGE_OPTIONS,
}


@dataclass(frozen=True)
class Policy:
    """Options of the whole optimizer, fixed at construction."""

    clip_per_group: bool = False
    skip_nonfinite: bool = False
    error_if_nonfinite: bool = False
    ema_decay: float | None = None
    ema_bias_correction: bool = False
    working_copy: Mapping[str, object] | None = None
    state: LentState | None = None
    decay_mask: DecayMask | None = None
    seed: int = 0

    @classmethod
    def names(cls) -> list[str]:
        """The names of the options."""
        return [field.name for field in fields(cls)]

    @classmethod
    def saved_names(cls) -> list[str]:
        """The names of those that are plain values, and saved."""
        others = ("working_copy", "state", "decay_mask")
        return [name for name in cls.names() if name not in others]

    def saved(self) -> dict[str, Any]:
        """Those that are plain values, by name."""
        return {name: getattr(self, name) for name in self.saved_names()}

    def of_core(self) -> tuple[bool, bool, bool, float, int]:
        """Those that the core knows, in its order."""
        switches = self.skip_nonfinite, self.error_if_nonfinite, self.clip_per_group
        return *switches, self.ema_decay or 0.0, self.seed

    @classmethod
    def take(cls, options: dict[str, Any]) -> Policy:
        """Remove these options from `options`, or raise TypeError or ValueError."""
        given = {name: options.pop(name) for name in cls.names() if name in options}
        switches = [field.name for field in fields(cls) if field.default is False]
        for name in switches:
            given[name] = Switch().check(name, given.get(name, False))
        if given.get("ema_decay") is not None:
            given["ema_decay"] = Number(high=1.0).check("ema_decay", given["ema_decay"])
        given["seed"] = as_integer("seed", given.get("seed", 0), 0, 2**64 - 1)
        given["decay_mask"] = check_mask(given.get("decay_mask"))
        policy = cls(**given)
        if policy.skip_nonfinite and policy.error_if_nonfinite:
            raise ValueError("skip_nonfinite and error_if_nonfinite exclude each other")
        if policy.ema_bias_correction and policy.ema_decay is None:
            raise ValueError("ema_bias_correction needs ema_decay")
        if not isinstance(policy.working_copy, (Mapping, type(None))):
            raise TypeError(
                "working_copy: expected a mapping from parameter names to arrays of bfloat16, "
                f"got {shown(policy.working_copy)}"
            )
        if policy.state is not None:
            check_lent(policy.state)
        return policy
