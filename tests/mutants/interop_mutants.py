"""Mistakes in what is carried to torch.optim and optax, and back."""

from mutant import Mutant

TORCH = ("tests/interop/test_torch_state_dicts.py", "tests/interop/test_bad_torch_state_dicts.py")
OPTAX = ("tests/interop/test_optax_states.py", "tests/interop/test_bad_optax_states.py")


def torch(name, right, wrong, file="_state_dicts.py"):
    return Mutant(f"torch-{name}", f"python/fusedstep/torch/{file}", right, wrong, TORCH)


def optax(name, right, wrong):
    return Mutant(f"optax-{name}", "python/fusedstep/optax.py", right, wrong, OPTAX)


MUTANTS = [
    torch("counter-rounded", "torch.float32 if step <= 2**24 else torch.float64", "torch.float32"),
    torch("product-not-given", "{**counted, **derived(opt.rule, counted, options)}", "counted"),
    torch("options-of-ours-dropped", "if name not in peer.defaults and", "if False and"),
    torch(
        "state-of-nobody-ignored",
        'found += [f"state[{shown(number)}]: of no parameter" for number in rest]',
        "pass",
    ),
    torch(
        "option-of-another-rule",
        "if name in known and name not in group and name",
        "if False and name",
    ),
    torch("averages-made-up", "if name in states and", "if True and"),
    torch("counters-forgotten", "max(steps, default=0)", "0"),
    torch("first-step-of-sgd-twice", "return steps or 1 ", "return steps ", "_loading.py"),
    optax("dampening-dropped", "if form is _SGD and any(", "if False and any("),
    optax("other-states-ignored", 'if ".hyperparams" not in place:', "if False:"),
    optax("dtype-ignored", "if value.dtype != dtype or value.shape", "if value.shape"),
    optax("counters-that-differ", 'if slot.what == "step" and len({*values}) > 1:', "if False:"),
    optax("counts-of-schedules-ignored", "counts[0] if counts else step_count", "step_count"),
    optax("given-twice", "if slot.what in own:", "if False:"),
    optax("first-step-of-sgd-twice", '"step": 1 if has_moved', '"step": 1 if False'),
]
