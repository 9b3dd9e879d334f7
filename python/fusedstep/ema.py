"""The exponential moving average, of weights or of any arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from fusedstep import _core
from fusedstep.averages import corrected
from fusedstep.options import Number, Switch
from fusedstep.params import Structure
from fusedstep.resume import (
    HoldsMemory,
    check_keys,
    compare_counter,
    compare_state,
    differs,
    refuse,
)
from fusedstep.spaces import space_of

__all__ = ["EMA"]


class EMA(Mapping[str, Any], HoldsMemory):
    """Averages arrays over time, in one sweep an update::

        v = decay * v + (1 - decay) * x

    A mapping from names to the current averages.

    Parameters
    ----------
    values
        The arrays to average, as an optimizer takes its parameters (float32 or float64, one array,
        a list, a mapping, any nesting; on the CPU or on a CUDA device). Read, never written.
    decay : float
        0 <= decay < 1; the average reaches back about ``1 / (1 - decay)`` updates.
    bias_correction : bool
        Read averages as ``v / (1 - decay**t)``, which makes up for the start at 0 (as Adam does).
        Needs ``init="zeros"``.
    init : {"zeros", "copy"}
        ``"zeros"`` starts at 0, as a series does; ``"copy"`` at the values as they are now, as
        averages of weights should. An optimizer with ``ema_decay`` keeps those in its own sweep.

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
        values: object,
        decay: float = 0.999,
        *,
        bias_correction: bool = False,
        init: Literal["zeros", "copy"] = "zeros",
    ) -> None:
        self._decay = Number(high=1.0).check("decay", decay)
        if init not in ("zeros", "copy"):
            raise ValueError(f"init: expected 'zeros' or 'copy', got {init!r}")
        self._bias_correction = Switch().check("bias_correction", bias_correction)
        if bias_correction and init == "copy":
            raise ValueError("bias_correction: expected init='zeros' with it, got init='copy'")
        self._structure = Structure([("", values)])
        names, leaves = self._structure.names, self._structure.leaves
        self._index = self._structure.index
        self._space = space_of(names, leaves, "value")
        zeros = self._space.zeros("value", names, leaves, 1)
        self._averages = [average for (average,) in zeros]
        if init == "copy":
            self._space.fill_with(self._averages, leaves)
        self._core = self._space.stepper("ema", "value of", "its average")
        self._core.add(
            [_core.GroupOptions(scalars=[self._decay])],
            [_core.TensorSpec(name=n, param=a) for n, a in zip(names, self._averages, strict=True)],
        )
        self._core.bind(leaves)

    def update(self, values: object = None) -> None:
        """Take in the arrays that the average was made for, as they are now, or other `values`.

        `values` are in the same structure; where one is None or missing, its average stays.
        """
        self._core.step(None if values is None else self._structure.flatten(values, "values"))

    @property
    def decay(self) -> float:
        """The weight of the past."""
        return self._decay

    @property
    def step_count(self) -> int:
        """How many updates were made."""
        return self._core.step_count

    def __getitem__(self, name: str) -> Any:
        i = self._index[name]
        average = self._averages[i]
        if not self._bias_correction:
            return average
        values = self._space.to_numpy(average)
        return self._space.like(corrected(values, self._decay, self._core.steps_of(i)), average)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return (
            f"EMA({len(self)} arrays, decay={self._decay!r}, "
            f"bias_correction={self._bias_correction}, step {self.step_count})"
        )

    def state_dict(self) -> dict[str, Any]:
        """Raw averages (copied) and counters, by name, and the decay."""
        step_count, steps, copies = self._core.snapshot(of_params=True)
        return {
            "decay": self._decay,
            "step_count": step_count,
            "state": {
                name: {"step": step, "average": average}
                for name, step, average in zip(self._index, steps, copies, strict=True)
            },
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; ValueError with every difference if it does not fit."""
        differences: list[str] = []
        check_keys(state_dict, ("decay", "step_count", "state"))
        if differs(state_dict["decay"], self._decay):
            differences.append(f"decay: expected {self._decay}, got {state_dict['decay']}")
        compare_counter("step_count", state_dict["step_count"], differences)
        saved = state_dict["state"]
        buffers = [{"average": self._space.kind_of(average)} for average in self._averages]
        compare_state(dict(zip(self._index, buffers, strict=True)), saved, differences)
        refuse(type(self).__name__, differences)
        self._core.restore(
            int(state_dict["step_count"]),
            [int(saved[name]["step"]) for name in self._index],
            [saved[name]["average"] for name in self._index],
            [],
            of_params=True,
        )
