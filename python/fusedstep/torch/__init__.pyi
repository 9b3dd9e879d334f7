"""Written by tests/helpers/face_stubs.py."""

from typing import Literal

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fusedstep.torch._deepspeed import DeepSpeedCPUAdam
from fusedstep.torch._offload import CPUOffload
from fusedstep.torch._optimizer import DecaysDecoupled, Optimizer, StepsOverRows, SwitchesToAverage
from fusedstep.torch._state_dicts import from_torch_state_dict, to_torch_state_dict

__all__ = ['ASGD', 'LAMB', 'LARS', 'SGD', 'AdEMAMix', 'AdaBelief', 'Adadelta', 'Adagrad', 'Adam', 'AdamW', 'Adamax', 'Adan', 'CPUOffload', 'DeepSpeedCPUAdam', 'Lion', 'Momentum', 'NAdam', 'Optimizer', 'RAdam', 'RMSprop', 'RowwiseAdagrad', 'Rprop', 'ScheduleFreeAdamW', 'SparseAdam', 'Yogi', 'from_torch_state_dict', 'to_torch_state_dict']

class ASGD(Optimizer):
    """See :class:`fusedstep.ASGD`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.01, lambd: float | Tensor = 0.0001, alpha: float | Tensor = 0.75, t0: float | Tensor = 1000000.0, weight_decay: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class LAMB(Optimizer):
    """See :class:`fusedstep.LAMB`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.001, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 1e-06, weight_decay: float | Tensor = 0.01, trust_ratio: bool = True, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class LARS(Optimizer):
    """See :class:`fusedstep.LARS`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 1.0, momentum: float | Tensor = 0.9, weight_decay: float | Tensor = 0.0005, trust_coefficient: float | Tensor = 0.001, trust_ratio: bool = True, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class SGD(Optimizer):
    """See :class:`fusedstep.SGD`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.001, momentum: float | Tensor = 0.0, dampening: float | Tensor = 0.0, weight_decay: float | Tensor = 0.0, nesterov: bool = False, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class AdEMAMix(Optimizer):
    """See :class:`fusedstep.AdEMAMix`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.001, betas: tuple[float | Tensor, float | Tensor, float | Tensor] = (0.9, 0.999, 0.9999), alpha: float | Tensor = 5.0, warmup_steps: float | Tensor = 0.0, eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class AdaBelief(Optimizer):
    """See :class:`fusedstep.AdaBelief`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.001, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 1e-16, weight_decay: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class Adadelta(Optimizer):
    """See :class:`fusedstep.Adadelta`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 1.0, rho: float | Tensor = 0.9, eps: float | Tensor = 1e-06, weight_decay: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class Adagrad(Optimizer):
    """See :class:`fusedstep.Adagrad`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.01, lr_decay: float | Tensor = 0.0, weight_decay: float | Tensor = 0.0, initial_accumulator_value: float | Tensor = 0.0, eps: float | Tensor = 1e-10, eps_inside_sqrt: bool = False, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class Adam(Optimizer):
    """See :class:`fusedstep.AdamW`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.001, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.0, amsgrad: bool = False, eps_inside_sqrt: bool = False, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, decoupled_weight_decay: bool = False, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class AdamW(DecaysDecoupled):
    """See :class:`fusedstep.AdamW`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.001, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.01, amsgrad: bool = False, eps_inside_sqrt: bool = False, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class Adamax(Optimizer):
    """See :class:`fusedstep.Adamax`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.002, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class Adan(Optimizer):
    """See :class:`fusedstep.Adan`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.001, betas: tuple[float | Tensor, float | Tensor, float | Tensor] = (0.98, 0.92, 0.99), eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class Lion(Optimizer):
    """See :class:`fusedstep.Lion`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.0001, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.99), weight_decay: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class Momentum(Optimizer):
    """See :class:`fusedstep.Momentum`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.01, beta: float | Tensor = 0.9, weight_decay: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class NAdam(Optimizer):
    """See :class:`fusedstep.NAdam`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.002, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.0, momentum_decay: float | Tensor = 0.004, decoupled_weight_decay: bool = False, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class RAdam(Optimizer):
    """See :class:`fusedstep.RAdam`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.001, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.0, decoupled_weight_decay: bool = False, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class RMSprop(Optimizer):
    """See :class:`fusedstep.RMSprop`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.01, alpha: float | Tensor = 0.99, eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.0, momentum: float | Tensor = 0.0, centered: bool = False, eps_inside_sqrt: bool = False, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class RowwiseAdagrad(Optimizer):
    """See :class:`fusedstep.RowwiseAdagrad`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.01, lr_decay: float | Tensor = 0.0, weight_decay: float | Tensor = 0.0, initial_accumulator_value: float | Tensor = 0.0, eps: float | Tensor = 1e-10, eps_inside_sqrt: bool = False, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class Rprop(Optimizer):
    """See :class:`fusedstep.Rprop`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.01, etas: tuple[float | Tensor, float | Tensor] = (0.5, 1.2), step_sizes: tuple[float | Tensor, float | Tensor] = (1e-06, 50.0), weight_decay: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class ScheduleFreeAdamW(SwitchesToAverage):
    """See :class:`fusedstep.ScheduleFreeAdamW`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.0025, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.0, warmup_steps: float | Tensor = 0.0, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class SparseAdam(StepsOverRows):
    """See :class:`fusedstep.Adam`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.001, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 1e-08, weight_decay: float | Tensor = 0.0, amsgrad: bool = False, eps_inside_sqrt: bool = False, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...

class Yogi(Optimizer):
    """See :class:`fusedstep.Yogi`."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 0.01, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float | Tensor = 0.001, weight_decay: float | Tensor = 0.0, initial_accumulator_value: float | Tensor = 1e-06, maximize: bool = False, max_grad_norm: float | None = None, max_grad_value: float | None = None, state_dtype: Literal['float32', 'bfloat16', '8bit'] = 'float32', min_8bit_size: int = 4096, rounding: Literal['nearest', 'stochastic', 'kahan'] = 'nearest', master: Literal[None, 'split'] = None, master_bits: Literal[32, 24] = 32, *, foreach: Literal[False] | None = None, fused: Literal[False] | None = None, capturable: Literal[False] | None = False, differentiable: Literal[False] | None = False, clip_per_group: bool = False, skip_nonfinite: bool = False, error_if_nonfinite: bool = False, ema_decay: float | None = None, ema_bias_correction: bool = False, seed: int = 0) -> None: ...
