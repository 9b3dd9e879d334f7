"""The base class of every rule: an optimizer of arrays in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fusedstep._definition import DefinesRule, registry
from fusedstep._group import Group, replace, set_lr
from fusedstep._messages import no_parameter, shown
from fusedstep._one_step import OneStep
from fusedstep._options import Schedule
from fusedstep._pipeline import StepResult
from fusedstep._repr import HasRepr
from fusedstep._setup import Setup
from fusedstep._slips import refuse_swapped
from fusedstep._state import HasState
from fusedstep._steps import Bound, Steps
from fusedstep.ema import Averages

if TYPE_CHECKING:
    from fusedstep._lent import LentState
    from fusedstep.typing import Array, Gradients, Params

__all__ = ["Optimizer"]


class Optimizer(HasRepr, DefinesRule, HasState):
    """Base class of the rules, which update arrays in place from their gradients.

    Every rule takes the arguments below and options of its own. The options of a rule,
    `max_grad_norm`, `max_grad_value`, `decay_mask` and those from `state_dtype` to `master_bits`
    may be set per group: ``{"params": ..., "lr": 0.1}``.

    Parameters
    ----------
    params
        The arrays to update: one array, a list or tuple, a mapping from names, any nesting of
        these, or a list of groups ``{"params": ..., "lr": ...}``. Arrays are NumPy's, or of a
        library that supports DLPack on the CPU (torch: ``model.parameters()``); or all on one CUDA
        device (torch, CuPy, Numba: docs/cuda.md). float32, float64, bfloat16 (torch's or
        ``ml_dtypes``') or float16, writeable, native byte order, contiguous: in C order, Fortran
        order or any other of the axes, as torch's ``channels_last``. They are never copied: an array that cannot be updated in place is an error.
    max_grad_norm : float, optional
        Clip by norm: gradients are multiplied by ``min(1, max_grad_norm / (norm + 1e-6))``, as
        ``torch.nn.utils.clip_grad_norm_`` does. The norm is that of all gradients of the step; a
        group's own value is compared with the same norm. It costs one more read of the gradients.
        With ``inf`` the norm is measured and nothing is clipped.
    max_grad_value : float, optional
        Clip by value, after the norm: each element to ``[-max_grad_value, max_grad_value]``.
    clip_per_group : bool, default False
        Compare each group's ``max_grad_norm`` with the norm of its own gradients.
    skip_nonfinite : bool, default False
        A step whose gradients contain NaN or infinity changes nothing, not even counters, zeroes
        nothing, and returns ``applied=False``.
    error_if_nonfinite : bool, default False
        The same, but it raises a FloatingPointError that names the parameter.
    ema_decay : float, optional
        Keep the moving average of every parameter in the same sweep: see :attr:`ema`.
    ema_bias_correction : bool, default False
        Start the averages at 0 and correct for it, instead of starting at the parameters.
    working_copy : mapping, optional
        Arrays by the names of float32 parameters, of the same shapes and in bfloat16
        (``ml_dtypes``, torch, or the bits as uint16). Each step writes the parameters to them in
        the same sweep, rounded to nearest even.
    state : mapping, optional
        State that you own, as ``{"w": {"exp_avg": m}}``: steps update these arrays, with what they
        hold, and never copy them. They are as :attr:`state` shows those of an optimizer without
        this: the names, dtypes and, but for rows and scales, the parameter's shape and memory
        order. What is not given is made and starts as usual; a ``step`` is the parameter's counter.
    decay_mask : callable or list of str, optional
        The parameters that `weight_decay` is for: a function of name and array, as
        ``lambda name, array: array.ndim > 1`` for matrices alone, or patterns of names, as
        ``["*.weight"]``. A group is divided into two, the second of which, with the others, has
        ``weight_decay=0`` (and with `clip_per_group` a norm of its own). A group may set its own
        mask; None is for all parameters.
    state_dtype : {"float32", "bfloat16", "8bit"}, default "float32"
        How state is stored that may lose bits (docs/low-precision.md says which may): in half or a
        quarter of the bytes. Steps are computed in float32 all the same. Not beside float64
        parameters. This and the four options below are fixed at construction.
    min_8bit_size : int, default 4096
        With ``state_dtype="8bit"``, the state of arrays with fewer elements stays float32.
    rounding : {"nearest", "stochastic", "kahan"}, default "nearest"
        How bfloat16 and float16 parameters are rounded. To nearest they lose updates that are small
        beside them; stochastic rounding is right on average; Kahan's keeps what was lost in another
        array of the same format. For groups of such parameters only.
    master : {"split"}, optional
        Keep the bits that such parameters lose in a `correction` beside the state: steps are then
        made on both together.
    master_bits : {32, 24}, default 32
        With `master`, the bits of a parameter and its correction together. With 32, a bfloat16
        parameter and its correction are a float32.
    seed : int, default 0
        Of ``rounding="stochastic"``, from 0 to 2**64 - 1. The same seed gives the same bits,
        whatever the threads and the instruction set; after a resume, too.

    Raises
    ------
    TypeError
        A parameter is not an array or not floating-point; an option is unknown.
    ValueError
        An array is read-only, not contiguous, misaligned, or overlaps another; an option is
        out of range.

    Notes
    -----
    A step does the following, in this order and in one sweep (LAMB and LARS: two): unscale
    (``grad_scale``), check for NaN and infinity, clip by norm, clip by value, negate
    (``maximize``), add coupled ``weight_decay``, apply the rule with any decay of its own, update
    the average, write the working copy, zero the gradients. The check for NaN and infinity and the
    norm read the gradients once more, before the sweep. Unused options cost nothing.
    """

    def __init__(self, params: Params, **options: Any) -> None:  # noqa: ARG002
        raise TypeError(
            f"{type(self).__name__} is abstract: use a rule such as fs.Adam(...), or "
            "fs.create(name, ...)"
        )

    def _construct(self, params: object, arguments: Mapping[str, Any]) -> None:
        """Construct from the arguments of a rule's constructor: its `locals()`."""
        refuse_swapped(type(self).__name__, params, arguments["lr"])
        given = {name: arguments[name] for name in self.options if name in arguments}
        self._setup = Setup.of(self.definition, {**given, **arguments["pipeline"]})
        self._engine = self._setup.build(params)
        self._steps: Steps | OneStep = Steps(self._engine)

    def add_group(
        self,
        group: Mapping[str, object],
        working_copy: Mapping[str, Array] | None = None,
        state: LentState | None = None,
    ) -> None:
        """Add more parameters: all or nothing.

        Gradients then come as a list with one structure per group, or as a mapping by name. Bound
        gradients are released.

        Parameters
        ----------
        group
            ``{"params": ..., "lr": ...}``, as at construction. Options that it does not set have
            the values that were given at construction.
        working_copy
            Working copies of these parameters by name, as at construction.
        state
            State of these parameters that you own, by name, as at construction.
        """
        self._check_unswapped("add_group")
        self._setup.extend(self._engine, group, working_copy, state)

    def __setattr__(self, name: str, value: object) -> None:
        # Python would accept a mistake such as `opt.weight_decay = 0.1`, which no step would use.
        if not (name.startswith("_") or hasattr(type(self), name)):
            self.definition.refuse_attribute(name, is_own=type(self) is registry[self.rule])
        super().__setattr__(name, value)

    def step(
        self,
        grads: Gradients | Bound = Bound.GRADIENTS,
        *,
        grad_scale: float | Array = 1.0,
        zero_grads: bool = False,
        allow_empty: bool = False,
    ) -> StepResult:
        """Update every parameter that has a gradient, in one sweep over memory.

        Parameters
        ----------
        grads
            Gradients in the structure of the parameters (a generator may stand for a list), or a
            mapping from parameter names; with the parameters' shapes and memory order, and their
            dtypes (of parameters that are not float64 also float32, bfloat16 or float16).
            Where one is None or missing, the parameter, its state and its counter do not change;
            with a gradient of zeros they do. They are only read. Without `grads`, the gradients
            passed to :meth:`bind` are used.
        grad_scale
            Gradients are divided by this first (loss scaling, or the number of accumulated
            batches). With parameters on a CUDA device, it may be an array of one float32 or float64
            there, for which the step does not wait.
        zero_grads
            Set the gradients to zero in the same sweep, those of frozen parameters too. They must
            then be writeable and must not share memory. A step that is not applied zeroes nothing.
        allow_empty
            Whether a step without any gradient is allowed, which only counts. Mostly it is a
            mistake, such as ``zero_grad()`` before the step.

        Returns
        -------
        StepResult
            ``applied``, and ``grad_norm`` if an option needs it; in that case both are arrays on
            the device where the parameters are on a CUDA device, and have not been waited for.

        Raises
        ------
        TypeError, ValueError
            A gradient does not fit its parameter, or overlaps memory that the step writes; or there
            is none.
        ArrayChangedError
            A parameter, or an array that goes with it, is no longer the one that was handed over.
        FloatingPointError
            A gradient contains NaN or infinity, with ``error_if_nonfinite``.
        RuntimeError
            There are neither `grads` nor bound gradients, or another step is being made.
        OverflowError
            A step counter has reached 2**63 - 1.

        Notes
        -----
        All or nothing: every check comes before the first write. Without ``skip_nonfinite`` or
        ``error_if_nonfinite``, NaN and infinity in a gradient affect only the elements at their
        position, unless a norm spreads them.

        A step may cover only some of the parameters, for example as gradients become ready in a
        backward pass (while they are still in cache). Only those parameters and their counters
        change, the norm is that of the given gradients, and ``step_count``, which schedules follow,
        counts every call.
        """
        return self._steps.step(grads, grad_scale, zero_grads, allow_empty)

    def bind(self, grads: Gradients | None) -> None:
        """Check `grads` once and use them for every :meth:`step` without gradients.

        The arrays are kept and read again at each step: write the next gradients into them. An
        array that replaces one of them in a dict is not noticed. ``bind(None)`` releases them.

        With torch, bind the parameters themselves, ``opt.bind(model.parameters())``: each step then
        uses what their ``grad`` is at the time. Where their ``grad`` was bound and is another
        tensor at a step, as after ``zero_grad()``, it raises a RuntimeError.
        """
        self._steps.bind(grads)

    def step_mean(
        self,
        grad_sets: Iterable[Gradients],
        weights: Iterable[float] | None = None,
        *,
        grad_scale: float | Array = 1.0,
        zero_grads: bool = False,
        allow_empty: bool = False,
    ) -> StepResult:
        """Average several gradient sets and apply the mean, in one sweep.

        Parameters
        ----------
        grad_sets
            At least one set of gradients, each as for :meth:`step`. A parameter that has a
            gradient in one set must have one in all.
        weights
            One finite number >= 0 per set, not all 0; all 1 by default. The gradient is
            ``(w[0] * g[0] + w[1] * g[1] + ...) / sum(w)``, added in the order given, in the
            parameter's dtype.
        grad_scale, zero_grads, allow_empty
            As for :meth:`step`; all sets are zeroed.
        """
        return self._steps.step_combined(
            grad_sets, weights, grad_scale, zero_grads, allow_empty, mean=True
        )

    def step_sum(
        self,
        grad_sets: Iterable[Gradients],
        weights: Iterable[float] | None = None,
        *,
        grad_scale: float | Array = 1.0,
        zero_grads: bool = False,
        allow_empty: bool = False,
    ) -> StepResult:
        """Add several gradient sets and apply the sum: :meth:`step_mean` without the division.

        Parameters
        ----------
        grad_sets, weights, grad_scale, zero_grads, allow_empty
            As for :meth:`step_mean`.
        """
        return self._steps.step_combined(
            grad_sets, weights, grad_scale, zero_grads, allow_empty, mean=False
        )

    def step_rows(
        self,
        name: str,
        indices: Array | Sequence[int],
        rows: Array,
        *,
        grad_scale: float | Array = 1.0,
        advance: bool | None = None,
    ) -> StepResult:
        """Update some rows of one parameter, from the gradients of these rows.

        Parameters
        ----------
        name
            The parameter: an array of rows (its first axis) in C order.
        indices
            The indices of the rows: a one-dimensional int32 or int64 array (on the CPU also a
            list), in any order. If an index is repeated, its gradients are added first, in the
            order given. With parameters on a CUDA device, a NumPy array, or an array there, for
            which the step waits.
        rows
            One gradient per index: shape ``(len(indices), *param.shape[1:])``.
        grad_scale
            As for :meth:`step`.
        advance
            Whether ``step_count``, and with it schedules, advance: False by default, since a dense
            step of the same batch does that (or :meth:`one_step` makes one step of both).

        Raises
        ------
        IndexError
            An index is negative, or at least the number of rows.
        RuntimeError
            The learning rate is a schedule that no step has ever advanced, and `advance` is None.

        Notes
        -----
        The update is lazy: only these rows of the parameter, its state and its average change, and
        the parameter's counter grows by one. For rules with state the result differs from that of a
        dense gradient with zeros (lazy Adam is not dense Adam: the moments of other rows do not
        decay). The norm is that of the summed rows. Without indices, or if the parameter is frozen,
        nothing happens, but that `advance` counts a step.
        """
        index = self._engine.tree.index
        if not isinstance(name, str):
            raise TypeError(f"name: expected the name of a parameter, got {shown(name)}")
        if name not in index:
            raise ValueError(f"name: {no_parameter([name], index)}")
        return self._steps.step_rows(index[name], indices, rows, grad_scale, advance)

    @contextmanager
    def one_step(self, *, grad_scale: float | Array = 1.0) -> Iterator[OneStep]:
        """Make one step of the calls in the block: of rows, and of the gradients of the rest::

            with opt.one_step() as one:
                opt.step_rows("embedding", tokens, rows)
                opt.step(grads)
            one.result  # StepResult(applied=True, grad_norm=0.73)

        The step is made at the end of the block, all or nothing, and not at all if the block raises
        an error; until then the calls return ``applied=False``. There is one norm, over all
        gradients and summed rows, and ``step_count`` grows by one. A parameter takes part once:
        :meth:`step` and :meth:`step_rows` of a parameter are called at most once.

        Parameters
        ----------
        grad_scale
            As for :meth:`step`, for all calls in the block.
        """
        steps = self._steps
        if isinstance(steps, OneStep):
            raise RuntimeError("cannot nest one_step() blocks")  # noqa: TRY004
        self._steps = one = OneStep(self._engine, steps, grad_scale)
        try:
            yield one
        finally:
            self._steps = steps
        one.make()

    @property
    def lr(self) -> float:
        """The learning rate of the next step; set a number or a schedule for all groups.

        Rprop's is fixed at construction: its step sizes started from it.
        """
        rates = {group.lr for group in self._engine.groups}
        if len(rates) > 1:
            raise ValueError(
                f"lr: the groups have different rates ({', '.join(map(str, rates))}): "
                "read groups[i].lr"
            )
        return rates.pop()

    @lr.setter
    def lr(self, value: float | Schedule) -> None:
        groups = self._engine.groups
        if set_lr(groups, value):
            return
        values = [group.check({"lr": value}) for group in groups]
        replace(groups, values, self._engine.core.set_groups)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The parameter groups; ``groups[0]["lr"] = 0.01`` sets an option."""
        return tuple(self._engine.groups)

    @property
    def ema(self) -> Averages:
        """The moving averages of the parameters by name; needs ``ema_decay``."""
        policy = self._setup.policy
        if policy.ema_decay is None:
            raise AttributeError("ema: pass ema_decay=... at construction")
        return Averages(self._engine, policy.ema_decay, bias_correction=policy.ema_bias_correction)
