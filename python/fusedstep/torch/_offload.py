"""Parameters on a device, their optimizer on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

import fusedstep
from fusedstep._engine import HoldsEngine
from fusedstep._options import Number
from fusedstep._pipeline import StepResult
from fusedstep.torch._loading import as_torch_has_it, keep_dtypes, unwrap
from fusedstep.torch._optimizer import DecaysDecoupled, Optimizer
from fusedstep.torch._optimizer import optimizer_class as class_of

__all__ = ["CPUOffload"]

_AdamW = class_of(fusedstep.AdamW, DecaysDecoupled)

_MASTER = "master"
# Options with which a step depends on all gradients.
_OF_ALL = ("skip_nonfinite", "error_if_nonfinite")


class CPUOffload(HoldsEngine, torch.optim.Optimizer):
    """An optimizer on the host of parameters that are on a device.

    Steps are made in host memory, on float32 copies of the parameters (the masters) with their
    state; on the device there is neither. Gradients are copied to the host and parameters back, on
    streams of their own and bucket by bucket, so that one bucket is updated while others travel.

    Parameters
    ----------
    params : iterable
        Tensors on any device, or groups of them. Those in bfloat16 and float16 get float32 masters
        and are their masters rounded to nearest; others have masters of their own dtype.
    optimizer_class : type, default fusedstep.torch.AdamW
        The optimizer of the masters: of this library, or any of torch's.
    offload_gradients : bool, default False
        Copy each gradient to the host during the backward pass, as soon as it is complete, and
        free it on the device. Further backward passes before a step are added up, as usual. What
        needs gradients on the device (``clip_grad_norm_``, GradScaler) does not find any:
        `max_grad_norm` of the optimizer clips on the host.
    bucket_cap_mb : float, default 25
        How many MiB of masters are in a bucket. With options that need all gradients before the
        first update (`max_grad_norm`, `skip_nonfinite`, `error_if_nonfinite`), updates begin when
        all of them have come.
    **kwargs
        The options of `optimizer_class`.

    Notes
    -----
    Host memory, beside the state: a master and a gradient for each parameter, pinned where CUDA is.
    ``zero_grad``, schedulers, ``add_param_group`` and hooks are those of any optimizer of torch;
    ``param_groups`` has the parameters on the device, ``state`` the tensors on the host.

    ``state_dict`` has the state as `optimizer_class` saves it, and in it the ``master`` of bfloat16
    and float16 parameters. The parameters are what counts: where someone else has written to them
    between two steps (``model.load_state_dict``, before or after the optimizer's), the master takes
    those elements over that it does not round to. Writes through ``.data`` go unnoticed.
    """

    def __init__(
        self,
        params: ParamsT,
        optimizer_class: Callable[..., torch.optim.Optimizer] = _AdamW,
        *,
        offload_gradients: bool = False,
        bucket_cap_mb: float = 25.0,
        **kwargs: Any,
    ) -> None:
        self._capacity = int(Number().check("bucket_cap_mb", bucket_cap_mb) * 2**20)
        self._offload_gradients = bool(offload_gradients)
        self._make: Callable[..., torch.optim.Optimizer] = partial(optimizer_class, **kwargs)
        self._inner: torch.optim.Optimizer | None = None
        self._buckets: list[_Bucket] = []
        self._copies: dict[torch.device, _Copies] = {}
        super().__init__(params, {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """See ``torch.optim.Optimizer``."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        pairs = [_Pair(param, self._copies_of(param.device)) for param in group["params"]]
        own = {**group, "params": [pair.master for pair in pairs]}
        if names := own.pop("param_names", None):
            own["params"] = [*zip(names, own["params"], strict=True)]
        try:
            if self._inner is None:
                self._inner = self._make([own])
                self.defaults: dict[str, Any] = self._inner.defaults
            else:
                self._inner.add_param_group(own)
        except BaseException:
            del self.param_groups[-1]
            raise
        self.param_groups[-1] = {**self._inner.param_groups[-1], **group}
        self._fill(pairs)
        if self._offload_gradients:
            for pair in pairs:
                if pair.param.requires_grad:
                    register: Any = pair.param.register_post_accumulate_grad_hook
                    register(pair.take_gradient)

    def _copies_of(self, device: torch.device) -> _Copies:
        if device not in self._copies:
            self._copies[device] = _Copies(device)
        return self._copies[device]

    def _fill(self, pairs: Sequence[_Pair]) -> None:
        """Put more parameters into buckets, each of one device."""
        for pair in pairs:
            last = self._buckets[-1] if self._buckets else None
            if last is None or last.copies is not pair.copies or last.bytes >= self._capacity:
                last = _Bucket(pair.copies)
                self._buckets.append(last)
            last.pairs.append(pair)

    @property
    def _pairs(self) -> Iterator[_Pair]:
        return (pair for bucket in self._buckets for pair in bucket.pairs)

    @property
    def result(self) -> StepResult:
        """Of the latest step, or of its last bucket; see :class:`Optimizer`."""
        result: StepResult = self._optimizer.result  # type: ignore[attr-defined]
        return result

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        assert self._inner is not None
        return self._inner

    @property
    def _step_supports_amp_scaling(self) -> bool:
        return getattr(self._inner, "_step_supports_amp_scaling", False)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients; returns what `closure` returns.

        Parameters
        ----------
        closure
            Computes the loss and its gradients anew. It is called once.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found_inf = getattr(self, "found_inf", None)  # which GradScaler sets
        if found_inf is not None and found_inf.item():
            for pair in self._pairs:
                pair.has_gradient = False
            return loss
        scale = getattr(self, "grad_scale", None)
        with _attribute(self._optimizer, "grad_scale", None if scale is None else scale.cpu()):
            self._update()
        return loss

    @torch.no_grad()
    def _update(self) -> None:
        inner, buckets = self._optimizer, self._buckets
        for group, own in zip(self.param_groups, inner.param_groups, strict=True):
            own.update({name: group[name] for name in group if name not in _OF_PARAMS})
        for copies in self._copies.values():
            copies.begin()
        for bucket in buckets:
            bucket.fetch()
        for part in [buckets] if self._needs_all() else [[bucket] for bucket in buckets]:
            pairs = [pair for bucket in part for pair in bucket.arrived()]
            if not pairs:
                continue
            try:
                for pair in pairs:
                    pair.lend_gradient(widened=not isinstance(inner, Optimizer))
                inner.step()
            finally:
                for pair in pairs:
                    pair.master.grad = None
            for pair in pairs:
                self.state[pair.param] = inner.state[pair.master]
                pair.write_back()
        for copies in self._copies.values():
            copies.end()

    def _needs_all(self) -> bool:
        """Whether an update depends on all gradients."""
        policy = getattr(self._inner, "_policy", {})
        return any(policy.get(name) for name in _OF_ALL) or any(
            group.get("max_grad_norm") is not None for group in self.param_groups
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """See ``torch.optim.Optimizer``; forgets gradients that are on the host, too."""
        super().zero_grad(set_to_none)
        for pair in self._pairs:
            pair.has_gradient = False

    def state_dict(self) -> dict[str, Any]:
        """As `optimizer_class` has it, with the masters of parameters of less precision."""
        result: dict[str, Any] = super().state_dict()
        if isinstance(self._inner, Optimizer):
            result = as_torch_has_it(self._inner, result)
        numbers = [number for group in result["param_groups"] for number in group["params"]]
        for number, pair in zip(numbers, self._in_order(), strict=True):
            if pair.is_rounded and number in result["state"]:
                pair.follow()
                own = result["state"][number]
                result["state"][number] = {**own, _MASTER: pair.master}
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state_dict, of this class or of `optimizer_class`."""
        with keep_dtypes(self):
            super().load_state_dict(state_dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        unwrap(self)
        inner = self._optimizer
        for pair in self._in_order():
            own = self.state.get(pair.param, {})
            master = own.pop(_MASTER, None)
            if master is not None:
                pair.master.copy_(master)
            pair.seen = None
            inner.state.pop(pair.master, None)
            if own:
                inner.state[pair.master] = own
        for group, own in zip(self.param_groups, inner.param_groups, strict=True):
            for name, value in own.items():
                group.setdefault(name, value)

    def _in_order(self) -> list[_Pair]:
        """The pairs in the order of the groups."""
        pairs = {pair.param: pair for pair in self._pairs}
        return [pairs[param] for group in self.param_groups for param in group["params"]]


_OF_PARAMS = ("params", "param_names")


class _Copies:
    """Copies between the host and a device, on two streams where it has streams."""

    def __init__(self, device: torch.device) -> None:
        self.pins = device.type == "cuda"
        self._module: Any = torch.get_device_module(device) if self.pins else None
        self._device = device
        if self._module is not None:
            self.down, self.up = self._module.Stream(device), self._module.Stream(device)

    def begin(self) -> None:
        """Copy nothing before what the device has been told to do so far."""
        if self.pins:
            current = self._module.current_stream(self._device)
            self.down.wait_stream(current)
            self.up.wait_stream(current)

    def end(self) -> None:
        """Let the device go on once parameters are there."""
        if self.pins:
            self._module.current_stream(self._device).wait_stream(self.up)

    def to_host(self, host: torch.Tensor, tensor: torch.Tensor) -> None:
        """Begin to copy to the host."""
        if not self.pins:
            host.copy_(tensor)
            return
        with self._module.stream(self.down):
            host.copy_(tensor, non_blocking=True)
        tensor.record_stream(self.down)

    def to_device(self, tensor: torch.Tensor, host: torch.Tensor) -> None:
        """Begin to copy to the device."""
        if not self.pins:
            tensor.copy_(host)
            return
        with self._module.stream(self.up):
            tensor.copy_(host, non_blocking=True)

    def mark(self) -> Any:
        """What to wait for, so that all copies to the host that have begun are done."""
        return self.down.record_event() if self.pins else None


class _Pair:
    """A parameter, its master, and the buffer that takes the gradient and brings the parameter."""

    def __init__(self, param: torch.Tensor, copies: _Copies) -> None:
        self.param = param
        self.copies = copies
        self.is_rounded = param.is_floating_point() and param.dtype.itemsize < 4
        dtype = torch.float32 if self.is_rounded else param.dtype
        self.master = torch.empty_like(
            param, dtype=dtype, device="cpu", pin_memory=copies.pins, requires_grad=False
        )
        self.master.copy_(param.detach())
        self.master.grad_dtype = None  # that of the parameter: steps widen it
        self.buffer: torch.Tensor | None = None
        self.has_gradient = False
        self.seen: Any = self._version

    @property
    def _version(self) -> tuple[int, int]:
        return self.param._version, self.param.data_ptr()

    def follow(self) -> None:
        """Have the master take over what others have written to the parameter."""
        if self.seen == self._version:
            return
        now = self.param.detach().cpu()
        ours = self.master.to(now.dtype) == now
        self.master.copy_(torch.where(ours, self.master, now.to(self.master.dtype)))
        self.seen = self._version

    def fetch(self, grad: torch.Tensor) -> None:
        """Begin to copy the gradient to the host."""
        if grad.is_sparse:
            raise TypeError(
                f"gradient of a parameter of shape {tuple(self.param.shape)}: expected a dense one "
                "with CPUOffload, got a sparse one"
            )
        if self.buffer is None or self.buffer.dtype != grad.dtype:
            self.buffer = torch.empty_like(
                self.master, dtype=grad.dtype, pin_memory=self.copies.pins
            )
        self.copies.to_host(self.buffer, grad.detach())
        self.has_gradient = True

    @torch.no_grad()
    def take_gradient(self, param: torch.Tensor) -> None:
        """Move the gradient to the host, added to what is there: a hook of the backward pass."""
        grad = param.grad
        if grad is None:
            return
        self.copies.begin()
        if self.has_gradient and self.buffer is not None:
            event = self.copies.mark()
            if event is not None:
                event.synchronize()
            grad = self.buffer.to(grad.device) + grad
        self.fetch(grad)
        param.grad = None

    def lend_gradient(self, *, widened: bool) -> None:
        """Have the optimizer find the gradient at the master."""
        self.follow()
        grad = self.buffer
        self.master.grad = grad.to(self.master.dtype) if widened and grad is not None else grad
        self.has_gradient = False

    def write_back(self) -> None:
        """Begin to copy the master to the parameter."""
        source = self.master
        if self.buffer is not None and self.buffer.dtype == self.param.dtype != source.dtype:
            source = self.buffer.copy_(source)  # half the bytes, and no conversion on the way
        self.copies.to_device(self.param, source)
        self.seen = self._version


class _Bucket:
    """Parameters whose gradients are waited for together."""

    def __init__(self, copies: _Copies) -> None:
        self.copies = copies
        self.pairs: list[_Pair] = []
        self._event: Any = None

    @property
    def bytes(self) -> int:
        """How much memory the masters take."""
        return sum(pair.master.nbytes for pair in self.pairs)

    def fetch(self) -> None:
        """Begin to copy the gradients to the host."""
        for pair in self.pairs:
            if pair.param.grad is not None:
                pair.fetch(pair.param.grad)
        self._event = self.copies.mark()

    def arrived(self) -> list[_Pair]:
        """Wait for the gradients: the parameters that have one."""
        if self._event is not None:
            self._event.synchronize()
        return [pair for pair in self.pairs if pair.has_gradient]


@contextmanager
def _attribute(holder: Any, name: str, value: Any) -> Iterator[None]:
    """Let the holder have an attribute in the block."""
    setattr(holder, name, value)
    try:
        yield
    finally:
        delattr(holder, name)
