"""The same run here and in torch.optim, from the same start and with the same gradients."""

import numpy as np
import torch

import fusedstep as fs

SHAPES = {"layer.w": (7, 5), "layer.b": (11,), "scale": ()}


class Ours:
    """A run here."""

    def __init__(self, name, dtype=np.float32, order="C", **options):
        rng = np.random.default_rng(0)
        self.params = {
            name: np.asarray(rng.standard_normal(shape), dtype, order=order)
            for name, shape in SHAPES.items()
        }
        self.opt = getattr(fs, name)(self.params, **options)

    def step(self, i, only=SHAPES):
        rng = np.random.default_rng(i + 1)
        grads = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
        self.opt.step(
            {
                name: np.asarray(grads[name], param.dtype, order="F" if param.flags.fnc else "C")
                for name, param in self.params.items()
                if name in only
            }
        )


class Theirs:
    """The same run in torch."""

    def __init__(self, name, dtype=np.float32, named=False, **options):
        self.params = {
            n: torch.nn.Parameter(torch.from_numpy(v)) for n, v in Ours("SGD", dtype).params.items()
        }
        params = self.params.items() if named else self.params.values()
        self.opt = getattr(torch.optim, name)(params, **options)

    def step(self, i, only=SHAPES):
        rng = np.random.default_rng(i + 1)
        for name, param in self.params.items():
            grad = rng.standard_normal(SHAPES[name])
            param.grad = (
                torch.from_numpy(np.asarray(grad)).to(param.dtype) if name in only else None
            )
        self.opt.step()


def give_parameters(source, target):
    for one, other in zip(source.params.values(), target.params.values(), strict=True):
        torch.as_tensor(other).data.copy_(torch.as_tensor(one).detach())


def steps(numbers, *runs, **which):
    for i in numbers:
        for run in runs:
            run.step(i, **which)


def bits(value):
    return np.asarray(value).tobytes(), np.asarray(value).dtype, np.asarray(value).shape


def saved_bits(opt):
    """All that state_dict() has, to the bit."""
    saved = opt.state_dict()
    return {
        **saved,
        "state": {
            name: {key: bits(value) for key, value in own.items()}
            for name, own in saved["state"].items()
        },
    }


def assert_same_run(one, other):
    assert saved_bits(one.opt) == saved_bits(other.opt)
    for name, param in one.params.items():
        assert bits(param) == bits(other.params[name])


def assert_close(ours, theirs, rtol):
    for name, param in ours.params.items():
        twin = theirs.params[name].detach().numpy()
        np.testing.assert_allclose(param, twin, rtol=rtol, atol=rtol)
