"""What other libraries call our options and state, for messages that say what was meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from fusedstep._messages import shown, with_guess

__all__ = ["option_meant", "refuse_swapped", "state_meant"]


class _Option(NamedTuple):
    """An option, or its number `at`: of the rules that have it, or of one rule alone."""

    name: str
    at: int | None = None
    rule: str = ""

    def __str__(self) -> str:
        return self.name if self.at is None else f"{self.name}[{self.at}]"

    def is_of(self, rule: str, options: Mapping[str, Any]) -> bool:
        """Whether a rule with these options, and their defaults, has it."""
        if self.rule not in ("", rule) or self.name not in options:
            return False
        return self.at is None or self.at < len(options[self.name])


def _table(*rows: tuple[Any, ...]) -> dict[str, list[_Option | str]]:
    """By name, from rows of names and what these are here."""
    return {name: meanings for names, *meanings in rows for name in names.split()}


_ALPHA = _Option("alpha", rule="rmsprop")
_BETA = _Option("beta", rule="momentum")
_FIRST, _SECOND, _THIRD = (_Option("betas", i) for i in range(3))
_DECAY = _Option("weight_decay")
_MOMENTUM = _Option("momentum")
_SCHEDULE = "a schedule as lr: fs.schedules"

# Names in torch, Keras, optax, Hugging Face, DeepSpeed and papers; then what they are here, in words
# where no option is it. Where a rule has several of a row, the name is ambiguous.
_OPTIONS = _table(
    ("learning_rate learningrate initial_lr base_lr eta eta0 stepsize alpha", _Option("lr")),
    ("epsilon adam_epsilon eps_hat", _Option("eps")),
    ("eps_root", _Option("eps_inside_sqrt")),
    ("beta_1 beta1 b1 adam_beta1 beta mu", _FIRST, _BETA, _MOMENTUM),
    ("beta_2 beta2 b2 adam_beta2 nu", _SECOND, _ALPHA, _Option("rho")),
    ("beta_3 beta3 b3", _THIRD),
    ("betas", _BETA, _MOMENTUM),
    ("momentum", _FIRST, _BETA),
    ("rho", _ALPHA, _SECOND),
    ("decay", _DECAY, _ALPHA, _Option("lr_decay"), _SCHEDULE),
    ("wd l2 l2_reg l2_penalty weight_decay_rate penalty", _DECAY),
    ("weight_decouple", _Option("decoupled_weight_decay")),
    ("decoupled_weight_decay", "AdamW is Adam with it"),
    ("mask weight_decay_mask exclude_from_weight_decay no_decay", _Option("decay_mask")),
    ("clipnorm global_clipnorm clip_norm clip_grad_norm grad_clip", _Option("max_grad_norm")),
    ("max_norm max_gradient_norm gradient_clipping gradient_clip_val", _Option("max_grad_norm")),
    ("clipvalue clip_value clip_grad_value", _Option("max_grad_value")),
    ("lr_decay warmup warmup_steps lr_schedule lr_scheduler schedule", _SCHEDULE),
    ("use_ema ema_momentum polyak", "ema_decay, of the whole optimizer"),
    ("optim_bits state_bits moment_dtype mu_dtype optimizer_dtype", _Option("state_dtype")),
    ("min_quantization_size min_8bit_window", _Option("min_8bit_size")),
    ("stochastic_rounding bf16_stochastic_round", "rounding='stochastic'"),
    ("kahan_sum use_kahan_summation kahan", "rounding='kahan'"),
    ("master_weights fp32_master master_weight_bits", "master='split', with master_bits"),
    ("skip_nan", "skip_nonfinite, of the whole optimizer"),
    ("use_nesterov", _Option("nesterov")),
    ("nesterov", "SGD has it, NAdam is Adam with it"),
    ("eeta trust_coeff", _Option("trust_coefficient")),
    ("foreach fused capturable use_locking jit_compile", "not needed: leave it out"),
    ("grad_scale zero_grads loss_scale", "an argument of step()"),
)

_STATES = _table(
    ("m mu momentum momentums trace", "exp_avg", "exp_avg_fast", "momentum_buffer"),
    ("v nu second_moment", "exp_avg_sq", "exp_avg_var", "exp_inf", "square_avg"),
    ("velocity velocities", "exp_avg_sq", "square_avg", "momentum_buffer"),
    ("vhat v_hat nu_max velocity_hat", "max_exp_avg_sq"),
    ("accumulator sum_of_squares", "sum"),
    ("t count iterations steps", "step"),
    ("average ema_params", "ema", "ax"),
)


def option_meant(name: object, rule: str, options: Mapping[str, Any]) -> str:
    """An unknown name, and what it is for this rule, or which of its options was probably meant.

    `options` are those that the rule has, with their defaults.
    """
    meanings = _OPTIONS.get(name.lower(), []) if isinstance(name, str) else []
    found = [str(m) for m in meanings if isinstance(m, str) or m.is_of(rule, options)]
    return f"{shown(name)} (here: {' or '.join(found)})" if found else with_guess(name, options)


def state_meant(name: object, known: Collection[str]) -> str:
    """An unknown name, and which of the known state arrays it is, or was probably meant."""
    meanings = _STATES.get(name.lower(), []) if isinstance(name, str) else []
    found = [str(m) for m in meanings if m in known]
    return f"{shown(name)} (here: {found[0]})" if found else with_guess(name, known)


def refuse_swapped(label: str, params: object, lr: object) -> None:
    """Raise TypeError where the parameters and the learning rate have changed places."""
    if _is_rate(params) and not _is_rate(lr):
        raise TypeError(
            f"params: expected arrays, got {shown(params)}: they come first, {label}(params, lr=...)"
        )


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) or (
        callable(value) and not hasattr(value, "parameters")  # but a model is called, too
    )
