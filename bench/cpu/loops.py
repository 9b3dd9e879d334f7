"""Training loops of an MLP in NumPy and in torch, and the optimizers that run in them."""

import importlib
import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import (
    LR,
    OURS,
    Arrays,
    Contestant,
    numpy_textbook,
    torch_parameters,
)

from ..harness.gate import Maker, admit
from .names import (
    DEEPSPEED,
    DROP_IN,
    FOREACH,
    FUSED,
    IN_BACKWARD,
    NUMBA,
    ONE_THREAD,
    OPTAX,
    TEXTBOOK,
)
from .opponents import numba_parallel, optax_adam

BATCH = 64
NETWORKS = {
    "109k": (784, 128, 64, 10),
    "1.3M": (784, 1024, 512, 10),
    "11M": (784, 3072, 2816, 10),
}


def nothing() -> None:
    """Back-to-back steps do nothing between steps."""


class Loop(NamedTuple):
    """What one contestant does in every iteration."""

    step: Callable[[Any], Any]
    # Computes what the step is given.
    backward: Callable[[], Any] = nothing
    # Threads of fusedstep; 0: all.
    threads: int = 0
    # Called before a stretch: puts the parameters back to their start.
    restart: Callable[[], Any] = nothing


Build = Callable[[], Loop]
# From parameters, which it may replace by others, to the step on new gradients.
NumpyRule = Callable[[Arrays], Callable[[Arrays], Any]]
# From torch's parameters to the step on their `.grad`.
TorchRule = Callable[[Any], Callable[[], Any]]


def threads_of(name: str) -> int:
    return 1 if name == ONE_THREAD else 0


# The network -------------------------------------------------------------------------------------


def shapes(layers: Sequence[int]) -> list[tuple[int, ...]]:
    """Of a weight and a bias per layer."""
    return [s for n_in, n_out in itertools.pairwise(layers) for s in ((n_in, n_out), (n_out,))]


def parameters(layers: Sequence[int]) -> int:
    return sum(math.prod(shape) for shape in shapes(layers))


@cache
def start_of(layers: Sequence[int]) -> Arrays:
    """Initial weights (He et al. 2015), the same for every contestant."""
    rng = np.random.default_rng(0)
    return [
        np.sqrt(2 / shape[0], dtype=np.float32) * rng.standard_normal(shape, np.float32)
        if len(shape) == 2
        else np.zeros(shape, np.float32)
        for shape in shapes(layers)
    ]


@cache
def batches(layers: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inputs that are repeated, with every other label drawn anew each time.

    So there is something to learn, but never everything: gradients do not vanish.
    """
    rng = np.random.default_rng(1)
    inputs = np.float32(0.3) * rng.standard_normal((64, BATCH, layers[0]), np.float32)
    truth, noise = (rng.integers(0, layers[-1], (n, 64, BATCH)) for n in (1, 16))
    labels = np.where(rng.random(noise.shape) < 0.5, truth, noise)
    return [(x, y) for own in labels for x, y in zip(inputs, own, strict=True)]


def gradients(params: Arrays, x: np.ndarray, y: np.ndarray) -> Arrays:
    """Gradients of the mean cross-entropy, as people write it: every array is a new one."""
    weights, biases = params[::2], params[1::2]
    inputs = [x]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        inputs.append(np.maximum(inputs[-1] @ w + b, 0))
    logits = inputs[-1] @ weights[-1] + biases[-1]
    d = np.exp(logits - logits.max(axis=1, keepdims=True))
    d /= d.sum(axis=1, keepdims=True)
    d[np.arange(len(y)), y] -= 1
    d /= len(y)
    grads: Arrays = []
    for i in reversed(range(len(weights))):
        grads[:0] = inputs[i].T @ d, d.sum(axis=0)
        if i:
            d = (d @ weights[i].T) * (inputs[i] > 0)
    return grads


def torch_model(layers: Sequence[int]) -> Any:
    """The same network with the same start."""
    torch = importlib.import_module("torch")
    start, parts = start_of(layers), []
    for w, b in zip(start[::2], start[1::2], strict=True):
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.copy_(torch.from_numpy(b))
        parts += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


# The optimizers ---------------------------------------------------------------------------------


def fusedstep_on_numpy(params: Arrays) -> Callable[[Arrays], Any]:
    return fs.Adam(params, lr=LR).step


def reads_its_list(make: Callable[[Arrays, Arrays], Contestant]) -> NumpyRule:
    """An opponent that reads its list of gradients at every step."""

    def rule(params: Arrays) -> Callable[[Arrays], Any]:
        grads = [np.zeros_like(p) for p in params]
        step, *_ = make(params, grads)

        def on(new: Arrays) -> None:
            grads[:] = new
            step()

        return on

    return rule


def numba_on_numpy(params: Arrays) -> Callable[[Arrays], Any]:
    """Its loops run over one axis: everything is flattened, without a copy."""
    on = reads_its_list(numba_parallel)([p.reshape(-1) for p in params])
    return lambda grads: on([g.reshape(-1) for g in grads])


def torch_on_numpy(rule: TorchRule) -> NumpyRule:
    """On tensors that share the memory of NumPy's parameters and gradients."""

    def on_arrays(params: Arrays) -> Callable[[Arrays], Any]:
        torch = importlib.import_module("torch")
        own = torch_parameters(params, params)
        step = rule(own)

        def on(grads: Arrays) -> None:
            for tensor, grad in zip(own, grads, strict=True):
                tensor.grad = torch.from_numpy(grad)
            step()

        return on

    return on_arrays


def optax_on_numpy(params: Arrays) -> Callable[[Arrays], Any]:
    """It keeps its own arrays, which the loop reads: only its state can be donated."""
    jax = importlib.import_module("jax")
    opt, compiled = optax_adam(donated=(1,))
    own = [jax.numpy.array(p) for p in params]
    state = opt.init(own)

    def on(grads: Arrays) -> None:
        nonlocal own, state
        own, state = compiled(own, state, grads)
        params[:] = [np.asarray(p) for p in own]

    return on


def fusedstep_on_torch(params: Any) -> Callable[[], Any]:
    opt = fs.Adam(params, lr=LR)
    return lambda: opt.step([p.grad for p in params])


def torch_adam(**options: Any) -> TorchRule:
    def rule(params: Any) -> Callable[[], Any]:
        return importlib.import_module("torch").optim.Adam(params, lr=LR, **options).step

    return rule


def drop_in(params: Any) -> Callable[[], Any]:
    return importlib.import_module("fusedstep.torch").Adam(params, lr=LR).step


def in_backward(rule: TorchRule) -> TorchRule:
    """Steps while a gradient is in cache, so that there is nothing left to do at the end."""

    def each(params: Any) -> Callable[[], Any]:
        def step_with(step: Callable[[], Any]) -> Callable[[Any], None]:
            def hook(param: Any) -> None:
                step()
                param.grad = None

            return hook

        for param in params:
            param.register_post_accumulate_grad_hook(step_with(rule([param])))
        return lambda: None

    return each


def deepspeed_adam(params: Any) -> Callable[[], Any]:
    adam = importlib.import_module("deepspeed.ops.adam")
    return adam.DeepSpeedCPUAdam(params, lr=LR, adamw_mode=False).step


TORCH_RULES: dict[str, TorchRule] = {
    OURS: fusedstep_on_torch,
    ONE_THREAD: fusedstep_on_torch,
    DROP_IN: drop_in,
    FUSED: torch_adam(fused=True),
    FOREACH: torch_adam(foreach=True),
    DEEPSPEED: deepspeed_adam,
}

NUMPY_RULES: dict[str, NumpyRule] = {
    OURS: fusedstep_on_numpy,
    ONE_THREAD: fusedstep_on_numpy,
    TEXTBOOK: reads_its_list(numpy_textbook),
    FUSED: torch_on_numpy(TORCH_RULES[FUSED]),
    DEEPSPEED: torch_on_numpy(deepspeed_adam),
    NUMBA: numba_on_numpy,
    OPTAX: optax_on_numpy,
}


# The gate ----------------------------------------------------------------------------------------


def _in_rows(arrays: Arrays) -> Arrays:
    """The gate's flat arrays as matrices, if their lengths are even."""
    return [a.reshape(-1, 2) if a.size % 2 == 0 else a for a in arrays]


def _numpy_maker(rule: NumpyRule) -> Maker:
    def make(params: Arrays, grads: Arrays) -> Contestant:
        own, given = _in_rows(params), _in_rows(grads)
        step = rule(own)
        return Contestant(lambda: step(given), lambda: [p.reshape(-1) for p in own])

    return Maker(make)


def _torch_maker(rule: TorchRule) -> Maker:
    def make(params: Arrays, grads: Arrays) -> Contestant:
        step = rule(torch_parameters(_in_rows(params), _in_rows(grads)))
        return Contestant(step, lambda: params)

    return Maker(make)


_NUMPY_MAKERS = {name: _numpy_maker(rule) for name, rule in NUMPY_RULES.items()}
_TORCH_MAKERS = {name: _torch_maker(rule) for name, rule in TORCH_RULES.items()}

# Who may be timed, and who may not and why.
Admitted = tuple[dict[str, Build], dict[str, str]]


def admitted(makers: dict[str, Maker], tensors: int, with_peers: bool) -> Admitted:
    """The makers that pass the gate."""
    alone = (OURS, ONE_THREAD, TEXTBOOK)
    asked = {name: maker for name, maker in makers.items() if with_peers or name in alone}
    able, left_out = admit(asked, numpy_textbook, tensors)
    return able, left_out | {name: "--peers none" for name in makers if name not in asked}


def numpy_loop(layers: Sequence[int], rule: NumpyRule, threads: int) -> Loop:
    params = [p.copy() for p in start_of(layers)]
    step, data = rule(params), itertools.cycle(batches(layers))

    def restart() -> None:
        for p, start in zip(params, start_of(layers), strict=True):
            if p.flags.writeable:  # those of JAX are not
                np.copyto(p, start)

    return Loop(step, lambda: gradients(params, *next(data)), threads, restart)


def torch_loop(
    layers: Sequence[int], rule: TorchRule, threads: int, dtype: str = "float32"
) -> Loop:
    """A model in this format; the loss, a mean over its outputs, is in float32."""
    torch = importlib.import_module("torch")
    cross_entropy, kind = torch.nn.functional.cross_entropy, getattr(torch, dtype)
    model = torch_model(layers).to(kind)
    params = list(model.parameters())
    start = [p.detach().clone() for p in params]
    step = rule(params)
    data = itertools.cycle(
        [(torch.from_numpy(x).to(kind), torch.from_numpy(y)) for x, y in batches(layers)]
    )

    def backward() -> None:
        x, y = next(data)
        model.zero_grad()
        cross_entropy(model(x).float(), y).backward()

    @torch.no_grad()
    def restart() -> None:
        for p, own in zip(params, start, strict=True):
            p.copy_(own)

    return Loop(lambda _: step(), backward, threads, restart)


def numpy_loops(layers: Sequence[int], with_peers: bool) -> Admitted:
    able, left_out = admitted(_NUMPY_MAKERS, len(shapes(layers)), with_peers)
    return {
        name: partial(numpy_loop, layers, NUMPY_RULES[name], threads_of(name)) for name in able
    }, left_out


def torch_loops(layers: Sequence[int], with_peers: bool) -> Admitted:
    importlib.import_module("torch")
    able, left_out = admitted(_TORCH_MAKERS, len(shapes(layers)), with_peers)
    rules = {name: TORCH_RULES[name] for name in able}
    for name in (DROP_IN, FUSED):
        if name in able:
            rules[IN_BACKWARD.format(name)] = in_backward(TORCH_RULES[name])
    return {
        name: partial(torch_loop, layers, rule, threads_of(name)) for name, rule in rules.items()
    }, left_out
