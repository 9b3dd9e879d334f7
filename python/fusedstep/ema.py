"""Exponential moving averages: of the parameters of an optimizer, or of any arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fusedstep._checks import require_keys
from fusedstep._core import Block
from fusedstep._engine import Engine, HoldsEngine
from fusedstep._messages import shown
from fusedstep._options import Number, Switch
from fusedstep._snapshot import Snapshot
from fusedstep._spaces.choose import space_of
from fusedstep._specs import GroupOptions
from fusedstep._tree import Nest, Tree

if TYPE_CHECKING:
    from fusedstep.typing import Gradients, Params

__all__ = ["EMA", "Averages"]


def _read(engine: Engine, name: str, array: str, decay: float, *, bias_correction: bool) -> Any:
    """The average of a parameter: the live array, or a copy corrected for its start at 0."""
    i = engine.number_of(name)
    average = engine.buffers[i][array]
    if not bias_correction:
        return average
    values, t = engine.space.to_numpy(average), engine.core.steps_of(i)
    return engine.space.like(_corrected(values, t, decay), average)


def _corrected(values: NDArray[Any], t: int, decay: float) -> NDArray[Any]:
    """New values of an average that started at 0, after `t` updates; at first 0."""
    divisor = 1.0 - decay**t if t > 0 else 1.0
    return np.asarray(values / values.dtype.type(divisor))


class Averages(Mapping[str, Any]):
    """Averages of an optimizer's parameters by name, as ``ema_decay`` keeps them::

        ema = ema_decay * ema + (1 - ema_decay) * p     (after every update of p)

    They start at the parameters that were passed in, and are NumPy views of the live arrays (on a
    CUDA device, arrays of the parameters' library): float64 of float64 parameters, float32 of all
    others. With ``ema_bias_correction`` they start at 0
    and are read as ``ema / (1 - ema_decay**t)`` (copies; zeros before the first update). ``t`` is
    the number of updates of the parameter, so rows that :meth:`~fusedstep.Optimizer.step_rows`
    updated less often are divided by too much.
    """

    def __init__(self, engine: Engine, decay: float, *, bias_correction: bool) -> None:
        self._engine = engine
        self._decay = decay
        self._bias_correction = bias_correction

    def __getitem__(self, name: str) -> Any:
        bias_correction = self._bias_correction
        return _read(self._engine, name, "ema", self._decay, bias_correction=bias_correction)

    def __iter__(self) -> Iterator[str]:
        return iter(self._engine.tree.index)

    def __len__(self) -> int:
        return len(self._engine.tree.index)

    def __repr__(self) -> str:
        return f"Averages({len(self)} arrays, decay={self._decay!r})"

    def swapped_in(self) -> AbstractContextManager[None]:
        """Within the block the parameters hold their averages, for an evaluation::

            with opt.ema.swapped_in():
                evaluate(model)

        It begins after a step that another thread is making. Afterwards the parameters hold the same
        bits as before, of which a copy is kept during the block, or all of them still hold their
        averages, if one cannot be written (it was locked in the block): then the next step that
        finds it writeable restores them first. bfloat16 and float16 parameters hold the averages
        rounded to nearest. Steps within the block raise RuntimeError. Working
        copies do not change: they remain copies of the parameters.
        """
        enter = self._engine.swap_in(
            "enter ema.swapped_in()",
            "inside ema.swapped_in(), where the parameters hold their averages",
            self._copies,
        )
        return Block(enter, self._engine.core.swap_out)

    def _copies(self, steps: Sequence[int]) -> list[Any]:
        """New arrays with the averages of parameters that were updated so often."""
        space = self._engine.space
        averages = [own["ema"] for own in self._engine.buffers]
        if self._bias_correction:
            averages = [
                space.like(_corrected(space.to_numpy(average), t, self._decay), average)
                for average, t in zip(averages, steps, strict=True)
            ]
        leaves = self._engine.tree.leaves
        return [space.as_parameter(a, leaf) for a, leaf in zip(averages, leaves, strict=True)]


class EMA(Mapping[str, Any], HoldsEngine):
    """Averages arrays over time, in one sweep per update::

        v = decay * v + (1 - decay) * x

    A mapping from names to the current averages.

    Parameters
    ----------
    values
        The arrays to average, in any form in which an optimizer takes parameters (one array, a
        list, a mapping, any nesting; on the CPU or on a CUDA device). They are only read. Averages
        of bfloat16 and float16 are float32.
    decay : float
        0 <= decay < 1; the average reaches back about ``1 / (1 - decay)`` updates.
    bias_correction : bool
        Read averages as ``v / (1 - decay**t)``, which corrects the bias of the start at 0, as Adam
        does. Needs ``init="zeros"``.
    init : {"zeros", "copy"}
        ``"zeros"`` starts at 0, as is usual for a time series; ``"copy"`` starts at the present
        values, as is usual for weights (which an optimizer with ``ema_decay`` averages in its own
        sweep).

    Examples
    --------
    >>> import numpy as np
    >>> weights = {"w": np.array([0.1])}
    >>> ema = EMA(weights, decay=0.9)
    >>> ema.update()
    >>> float(round(ema["w"][0], 12))
    0.01
    """

    def __init__(
        self,
        values: Params,
        decay: float = 0.999,
        *,
        bias_correction: bool = False,
        init: Literal["zeros", "copy"] = "zeros",
    ) -> None:
        self._decay = Number(high=1.0).check("decay", decay)
        if init not in ("zeros", "copy"):
            raise ValueError(f"init: expected 'zeros' or 'copy', got {shown(init)}")
        self._bias_correction = Switch().check("bias_correction", bias_correction)
        if bias_correction and init == "copy":
            raise ValueError("bias_correction: expected init='zeros' with it, got init='copy'")
        tree = Tree([Nest("", values)], what="values", each="average")
        space = space_of(tree.names, tree.leaves, "value")
        native = [["native"]] * len(tree.names)
        zeros = space.zeros("value", tree.names, tree.leaves, native)
        averages = [average for (average,) in zeros]
        if init == "copy":
            space.fill_with(averages, tree.leaves)
        self._engine = Engine(
            "ema",
            space,
            "value",
            "average",
            fixed={"decay": self._decay},
            averaging=True,
        )
        buffers = [{"average": average} for average in averages]
        self._engine.add(tree, [GroupOptions(scalars=[self._decay])], buffers)
        self._engine.core.bind(tree.leaves)

    def update(self, values: Gradients | None = None) -> None:
        """Update with the present contents of the constructor's arrays, or with `values`.

        `values` have the same structure; where one is None or missing, its average does not change.
        """
        engine = self._engine
        engine.begin()
        flat = None if values is None else tuple(engine.tree.flatten(values, "values"))
        if flat is not None and all(value is None for value in flat):
            raise ValueError("values: expected at least one array, got none")
        engine.core.step(flat)

    @property
    def decay(self) -> float:
        """The weight of the previous average in an update."""
        return self._decay

    @property
    def step_count(self) -> int:
        """The number of updates so far."""
        return self._engine.core.step_count

    def __getitem__(self, name: str) -> Any:
        bias_correction = self._bias_correction
        return _read(self._engine, name, "average", self._decay, bias_correction=bias_correction)

    def __iter__(self) -> Iterator[str]:
        return iter(self._engine.tree.index)

    def __len__(self) -> int:
        return len(self._engine.tree.index)

    def __repr__(self) -> str:
        return (
            f"EMA({len(self)} arrays, decay={self._decay!r}, "
            f"bias_correction={self._bias_correction}, step {self.step_count})"
        )

    def state_dict(self) -> dict[str, Any]:
        """The decay, and the uncorrected averages (copied) and counters by name."""
        saved = self._engine.snapshot()
        return {**saved.fixed, "step_count": saved.step_count, "state": saved.state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; ValueError with the differences if it does not fit."""
        require_keys(state_dict, "decay", "step_count", "state")
        saved = Snapshot(
            rule="ema",
            fixed={"decay": state_dict["decay"]},
            step_count=state_dict["step_count"],
            groups=[],
            state=state_dict["state"],
        )
        self._engine.restore(saved, type(self).__name__)
