"""The moving averages of the parameters that an optimizer keeps in its own sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fusedstep.optimizer import Optimizer

__all__ = ["Averages", "corrected"]


def corrected(average: NDArray[Any], decay: float, t: int) -> NDArray[Any]:
    """An average that started at 0, without the weight of its start after `t` updates."""
    return average if t == 0 else np.asarray(average / average.dtype.type(1.0 - decay**t))


class Averages(Mapping[str, Any]):
    """Averages of the parameters by name, as ``ema_decay`` keeps them::

        ema = ema_decay * ema + (1 - ema_decay) * p     (after every update of p)

    They start at the parameters as they were handed over, and are NumPy views of the live
    buffers (on a CUDA device, arrays of the parameters' library); or, with ``ema_bias_correction``, at 0, and are read as ``ema / (1 - ema_decay**t)``
    (copies; zeros before the first update), ``t`` being the parameter's number of updates: too
    much for a row that :meth:`~fusedstep.Optimizer.step_rows` names more rarely.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    def __getitem__(self, name: str) -> Any:
        opt = self._optimizer
        i = opt._index[name]
        average, policy = opt._buffers[i]["ema"], opt._policy
        if not policy.ema_bias_correction or policy.ema_decay is None:
            return average
        values, t = opt._space.to_numpy(average), opt._core.steps_of(i)
        return opt._space.like(corrected(values, policy.ema_decay, t), average)

    def __iter__(self) -> Iterator[str]:
        return iter(self._optimizer._index)

    def __len__(self) -> int:
        return len(self._optimizer._index)

    def __repr__(self) -> str:
        return f"Averages({len(self)} arrays, decay={self._optimizer._policy.ema_decay!r})"

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within the block the parameters hold their averages, for an evaluation::

            with opt.ema.swapped_in():
                evaluate(model)

        Afterwards they hold, bit for bit, what they held before; that is kept in memory meanwhile.
        Steps within the block are refused. Working copies stay as the last step left them: copies of
        the parameters, not of the averages.
        """
        opt = self._optimizer
        space, params = opt._space, opt.params
        kept = {name: space.copy_of(leaf) for name, leaf in params.items()}
        values = {name: self[name] for name in params}
        with opt._swapped():
            try:
                for name, leaf in params.items():
                    space.copy(leaf, values[name])
                yield
            finally:
                for name, leaf in params.items():
                    space.copy(leaf, kept[name])
