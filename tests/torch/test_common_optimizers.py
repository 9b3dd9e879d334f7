"""The inputs with which PyTorch tests its optimizers, from torch.testing, given to ours beside torch's."""

import copy
import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="torch.testing's own tests need expecttest")

import fusedstep.torch as ft

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal import common_optimizers as common

OURS = {info.name: info for info in common.optim_db if hasattr(ft, info.name)}
CHOICES = ("foreach", "fused", "capturable")
INPUTS = [
    (name, given) for name, info in OURS.items() for given in info.optim_inputs_func(device="cpu")
]
# Numbers and tensors may be mixed here.
MIXED = "betas must be either both floats or both Tensors"
ERRORS = [
    (name, given)
    for name, info in OURS.items()
    for given in info.optim_error_inputs_func("cpu", torch.float32)
    if given.error_regex != MIXED
]


def test_all_of_torch_that_we_have_is_there():
    assert OURS.keys() >= {"Adam", "AdamW", "SGD", "Adagrad", "RMSprop", "SparseAdam"}
    missing = {info.name for info in common.optim_db} - OURS.keys()
    assert missing <= {"Adafactor", "LBFGS", "Muon"}


def parameters(kwargs, dtype):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(s, dtype=dtype)) for s in ((5, 4), (3,), (2, 3, 2))]
    if "param_groups" in kwargs:
        return params, [{"params": params[:1], **kwargs["param_groups"]}]
    return params, params


@pytest.mark.filterwarnings("ignore:Sparse invariant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("name", "given"), INPUTS, ids=lambda it: getattr(it, "desc", it))
def test_results_are_torchs(name, given, dtype):
    kwargs = {k: v for k, v in given.kwargs.items() if k not in CHOICES}
    sides = []
    for library in (ft, torch.optim):
        params, handed = parameters(kwargs, dtype)
        sides.append((params, getattr(library, name)(handed, **copy.deepcopy(kwargs))))
    for i in range(7):
        for params, opt in sides:
            torch.manual_seed(i)
            for param in params:
                grad = torch.randn_like(param)
                is_sparse = OURS[name].only_supports_sparse_grads
                param.grad = grad.to_sparse() if is_sparse else grad
            opt.step()
    for ours, theirs in zip(*(params for params, _ in sides), strict=True):
        # torch's SparseAdam adds eps before it corrects the root.
        loose = {"rtol": 1e-5, "atol": 1e-6} if name == "SparseAdam" else {}
        torch.testing.assert_close(ours, theirs, **loose)


@pytest.mark.parametrize(("name", "given"), ERRORS, ids=lambda it: getattr(it, "error_regex", it))
def test_what_torch_refuses_is_refused(name, given):
    kwargs = dict(given.optimizer_error_input.kwargs)
    params = given.optimizer_error_input.params
    if params is None:
        params = [torch.nn.Parameter(torch.randn(2))]
    with pytest.raises((given.error_type, TypeError, ValueError)):
        getattr(ft, name)(params, **kwargs)
