"""The base class of the optimizers for torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch.autograd import _profiler_enabled  # type: ignore[attr-defined]
from torch.optim.optimizer import (
    ParamsT,
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
)

from fusedstep import _core
from fusedstep._docstring import described, with_keywords
from fusedstep._errors import ArrayChangedError
from fusedstep._messages import shown
from fusedstep._options import check_grad_scale
from fusedstep._pipeline import GROUP_OPTIONS, Policy, StepResult
from fusedstep.optimizer import Optimizer as Rules
from fusedstep.torch._engine import Engine, plain
from fusedstep.torch._loading import as_torch_has_it, keep_dtypes, unwrap
from fusedstep.torch._shards import refuse_shards
from fusedstep.torch._sparse import RowEngine, tables_of

__all__ = ["REFUSED", "Optimizer", "optimizer_class"]

# What torch's constructors take and no optimizer here can do; accepted when it asks for nothing.
REFUSED = {
    "foreach": "it is one call for all tensors already",
    "fused": "it is fused already",
    "capturable": "steps cannot be captured in a CUDA graph here",
    "differentiable": "autograd cannot follow steps",
}
# Options of all groups; `working_copy` and `decay_mask` are other words for what groups do.
_POLICY = (
    "skip_nonfinite",
    "error_if_nonfinite",
    "clip_per_group",
    "ema_decay",
    "ema_bias_correction",
    "seed",
)


class Optimizer(torch.optim.Optimizer):
    """Base class of the optimizers for torch: ``torch.optim.Optimizer`` with fusedstep's kernels.

    Takes what the optimizer of the same name in ``torch.optim`` takes, in the same order, and the
    options of the rule and of :class:`fusedstep.Optimizer` beside it. What torch calls ``foreach``,
    ``fused``, ``capturable`` and ``differentiable`` is accepted where it is False or None.

    A step reads ``param_groups``, the gradients and ``state`` as they are at the time. The tensors
    in ``state`` are the arrays that steps update, made at a parameter's first gradient.

    Raises
    ------
    TypeError, ValueError
        As :class:`fusedstep.Optimizer`; nothing has changed then.
    """

    rule: ClassVar[type[Rules]]
    is_sparse: ClassVar[bool] = False
    _signature: ClassVar[inspect.Signature]
    _engine_class: ClassVar[type[Engine]] = Engine
    # What groups say of the rule, which has it as no option.
    _fixed: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    # GradScaler then unscales the gradients while it looks for infinity, in one sweep; otherwise it
    # would make that sweep all the same, and leave them scaled.
    _step_supports_amp_scaling = False

    def __init__(self, params: ParamsT, *args: Any, **options: Any) -> None:
        given = self._bound(args, options)
        for name, why in REFUSED.items():
            if given.get(name):
                raise ValueError(
                    f"{name}: expected False or None, since {why}, got {given[name]!r}"
                )
        policy = {name: given.pop(name) for name in _POLICY if name in given}
        Policy.take(dict(policy))
        self._policy = policy
        self._engine: Engine | None = None
        self._is_odd = False
        self._result = StepResult(applied=False, grad_norm=None)
        self._check(given)
        super().__init__(params, {**given, **self._fixed})

    @classmethod
    def _bound(cls, args: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, with defaults."""
        try:
            bound = cls._signature.bind(None, *args, **options)
        except TypeError:
            known = [*cls._signature.parameters][1:]
            if unknown := [name for name in options if name not in known]:
                raise TypeError(
                    f"{cls.__name__}: got {', '.join(map(repr, unknown))}; expected options among "
                    f"{', '.join(known)}"
                ) from None
            raise
        bound.apply_defaults()
        return {name: value for name, value in bound.arguments.items() if name != "params"}

    def _check(self, values: Mapping[str, Any]) -> None:
        """Raise where the options of a group are not valid."""
        for name, fixed in self._fixed.items():
            if values.get(name, fixed) != fixed:
                raise ValueError(f"{name}: expected {fixed}, got {shown(values[name])}")
        for name in self.rule.options:
            value = values[name]
            for one in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(one, torch.Tensor) and one.numel() != 1:
                    raise ValueError(f"{name}: expected one number, got {shown(one)}")
        self.rule.definition.check({name: plain(values[name]) for name in self.rule.options})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """See ``torch.optim.Optimizer``; options are checked."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check(group)
            refuse_shards(self.rule.definition, self._policy, self.param_groups)
        except (TypeError, ValueError):
            del self.param_groups[-1]
            raise
        self._engine = None

    @property
    def result(self) -> StepResult:
        """Of the latest step: whether it was applied, and the norm of its gradients if measured."""
        return self._result

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients; returns what `closure` returns.

        Parameters
        ----------
        closure
            Computes the loss and its gradients anew. It is called once.
        """
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or _profiler_enabled()
        ):
            return self._hooked_step(closure)
        return self._plain_step(closure)

    step.hooked = True  # type: ignore[attr-defined] # else torch puts more around it than it costs

    def _plain_step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found_inf = getattr(self, "found_inf", None)  # by GradScaler's protocol, as grad_scale
        if found_inf is not None and found_inf.item():
            self._result = StepResult(applied=False, grad_norm=None)
            return loss
        grad_scale = getattr(self, "grad_scale", None)
        self._update(1.0 if grad_scale is None else check_grad_scale(grad_scale.item()))
        return loss

    # What torch makes of a step: hooks around it, and a name for the profiler.
    _hooked_step = torch.optim.Optimizer.profile_hook_step(_plain_step)

    def _update(self, scale: float) -> None:
        engine = self._engine
        grads = None if engine is None else engine.gradients(self.param_groups, self.state)
        if engine is None or grads is None:
            present = [p.grad is not None for group in self.param_groups for p in group["params"]]
            if not any(present):
                return
            engine = self._renewed(present)
            grads = [engine.params[i].grad for i in engine.numbers]
        has_none = _core.has_none(grads)
        if has_none and all(grad is None for grad in grads):
            return
        try:
            if not (self._is_odd or self.is_sparse):
                self._step(engine, grads, scale, has_none)
                return
        except ArrayChangedError:
            engine, grads = self._moved(engine)
        except (TypeError, ValueError):
            pass  # a gradient lies otherwise than its parameter, or is sparse
        try:
            self._step_with_care(engine, grads, scale)
        except ArrayChangedError:
            self._step_with_care(*self._moved(engine), scale)

    def _moved(self, engine: Engine) -> tuple[Engine, list[Any]]:
        """An engine after parameters were moved, and their gradients; nothing has been written."""
        engine = self._renewed([param.grad is not None for param in engine.params])
        return engine, [engine.params[i].grad for i in engine.numbers]

    def _renewed(self, present: list[bool]) -> Engine:
        """An engine for the parameters and the state as they are now."""
        self._engine = None
        with torch.no_grad():
            engine = self._engine_class(
                self.rule, self._policy, self.param_groups, self.state, present
            )
        self._engine = engine
        self._is_odd = not engine.is_plain
        return engine

    def _step(self, engine: Engine, grads: Any, scale: float, has_none: bool) -> None:
        self._take(engine, engine.core.step(grads, scale), grads, has_none)

    def _take(self, engine: Engine, result: Any, grads: Any, has_none: bool) -> None:
        """Note what a step has written, and count it."""
        if engine.tensors is not None:
            engine.tensors.after_step(result, grads)
        self._result = _APPLIED if result is None else StepResult(*result)
        if result is None or result[0]:
            engine.counted(grads, has_none)

    @torch.no_grad()
    def _step_with_care(self, engine: Engine, grads: Any, scale: float) -> None:
        """A step with gradients that lie otherwise than their parameters, or are sparse."""
        tables = tables_of(self, engine, grads)
        whole = [
            None if grad is None or i in tables else form.gradient(grad)
            for i, (form, grad) in enumerate(zip(engine.forms, grads, strict=True))
        ]
        for form in engine.forms:
            form.refresh()
        if tables:
            parts = [(i, *tables[i]) for i in sorted(tables)]
            result = engine.core.step_together(whole, parts, scale)
        else:
            result = engine.core.step(whole, scale)
        for form in engine.forms:
            form.write_back()
        self._take(engine, result, grads, True)
        if any(len(rows) == 0 for rows, _ in tables.values()):
            engine.set_counters()  # torch counts a gradient without entries; the core does not
        self._is_odd = (
            not engine.is_plain
            or any(
                one is not grad for one, grad in zip(whole, grads, strict=True) if one is not None
            )
            or bool(tables)
        )

    def _repr_html_(self) -> str:
        from fusedstep.torch._repr import card_of  # which most programs never need

        return card_of(self)

    def state_dict(self) -> dict[str, Any]:
        """As torch has it; the optimizer of the same name in ``torch.optim`` loads it."""
        return as_torch_has_it(self, super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state_dict, of this class or of the same name in ``torch.optim``.

        Tensors are copied, and not cast to the dtype of the parameter.
        """
        with keep_dtypes(self):
            super().load_state_dict(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_policy": self._policy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        unwrap(self)
        self._engine = None
        self.__dict__.setdefault("_is_odd", False)
        self.__dict__.setdefault("_result", StepResult(applied=False, grad_norm=None))
        for group in self.param_groups:
            for name, default in self._defaults.items():
                group.setdefault(name, default)
            group.update(self._fixed)

    @property
    def _defaults(self) -> dict[str, Any]:
        parameters = self._signature.parameters.values()
        return {p.name: p.default for p in parameters if p.name not in ("params", *_POLICY)}


_APPLIED = StepResult(applied=True, grad_norm=None)


class StepsOverRows(Optimizer):
    """Takes sparse gradients alone, and leaves the other rows, and their state, as they are."""

    is_sparse = True
    _engine_class = RowEngine

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """See ``torch.optim.Optimizer``."""
        super().add_param_group(param_group)
        for param in self.param_groups[-1]["params"]:
            if param.is_sparse or param.is_complex():
                del self.param_groups[-1]
                raise ValueError(
                    "params: expected dense tensors of real numbers, got "
                    f"{param.layout}, {param.dtype}"
                )


class DecaysDecoupled(Optimizer):
    """Says so in its groups, as torch's AdamW does: Adam goes by it where it loads them."""

    _fixed = MappingProxyType({"decoupled_weight_decay": True})


class SwitchesToAverage(Optimizer):
    """Its parameters are not those to evaluate: those are their average.

    While they hold it, the state keeps what they were trained to, as ``"y"``: what is saved then
    can be trained further too.
    """

    @torch.no_grad()
    def eval(self) -> None:
        """Write the averages to the parameters, to evaluate or save them; steps are refused then.

        A second call changes nothing.
        """
        if not self.state or self._in_eval():
            return
        engine = self._renewed([False for group in self.param_groups for _ in group["params"]])
        for form in engine.forms:
            self.state[form.param]["y"] = form.param.detach().clone()
        engine.inner.eval()  # type: ignore[attr-defined]
        for form in engine.forms:
            form.write_back()
        self._engine = None

    @torch.no_grad()
    def train(self) -> None:
        """Undo :meth:`eval`, bit for bit. A second call changes nothing."""
        for param, own in self.state.items():
            if "y" in own:
                param.copy_(own.pop("y"))

    def _in_eval(self) -> bool:
        return any("y" in own for own in self.state.values())

    def _update(self, scale: float) -> None:
        if self._in_eval():
            raise RuntimeError("cannot call step() between eval() and train()")
        super()._update(scale)


@cache  # so that there is one class for a rule
def optimizer_class(
    rule: type[Rules], base: type[Optimizer] = Optimizer, name: str = ""
) -> type[Optimizer]:
    """The optimizer for torch of a rule."""
    kind = inspect.Parameter
    parameters = [
        kind(o.name, kind.POSITIONAL_OR_KEYWORD, default=o.default) for o in rule.options.values()
    ]
    keywords = {**dict.fromkeys(REFUSED), "differentiable": False, "capturable": False}
    keywords |= {name: default for name, default in vars(Policy()).items() if name in _POLICY}
    signature = inspect.Signature(
        [
            kind("params", kind.POSITIONAL_OR_KEYWORD),
            *parameters,
            *(kind(n, kind.KEYWORD_ONLY, default=d) for n, d in keywords.items()),
        ]
    )
    doc = rule.__doc__ or ""
    as_torch = [n for n in rule.options if n not in (*described(doc), *GROUP_OPTIONS)]
    entries = {
        ", ".join(GROUP_OPTIONS): "As for every rule: help(fusedstep.Optimizer).",
        **{f"{n} : bool, default False": "As torch's class of this name has it." for n in as_torch},
        f"{', '.join(REFUSED)} : False or None": "Accepted because torch's optimizers take it.",
        ", ".join(n for n in keywords if n in _POLICY): "As for every rule.",
    }
    return type(
        name or rule.__name__,
        (base,),
        {
            "__module__": "fusedstep.torch",
            "__doc__": with_keywords(doc, entries) or None,
            "rule": rule,
            "_signature": signature,
            "__signature__": signature,
        },
    )
