"""What notebooks show of the optimizers for torch."""

import pytest

torch = pytest.importorskip("torch")
import fusedstep.torch as fst
from notebook_html import parsed, table, words

NAMES = [name for name in fst.__all__ if hasattr(getattr(fst, name), "rule")]


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_says_what_it_is_and_holds(name):
    weight = torch.zeros(100, 20, requires_grad=True)
    bias = torch.zeros(20, dtype=torch.bfloat16, requires_grad=True)
    sets = [{"params": [weight]}, {"params": [bias], "lr": torch.tensor(0.5)}]
    opt = getattr(fst, name)(sets, lr=0.25)
    assert words(parsed(opt)[0]).split(" · ")[2:4] == ["state 0 B", "step 0"]
    for param in (weight, bias):
        grad = torch.ones_like(param)
        param.grad = grad.to_sparse(1) if name == "SparseAdam" else grad
    opt.step()
    opt.step()
    before = opt.state_dict()
    document = parsed(opt)
    held = [v for own in opt.state.values() for v in own.values() if torch.is_tensor(v)]
    size = sum(tensor.numel() * tensor.element_size() for tensor in held)
    state = f"{size / 1024:.3g} KiB" if size >= 1024 else f"{size:.3g} B"
    facts = words(document[0]).split(" · ")
    assert facts[:2] == [name, f"2 arrays, 2,020 parameters ({8040 / 1024:.3g} KiB)"]
    assert facts[2:4] == [f"state {state}", "step 2"]
    shown = table(document)
    assert shown[""] == ["group 0", "group 1"]
    assert (shown["arrays"], shown["parameters"]) == (["1", "1"], ["2,000", "20"])
    assert shown["lr"] == ["0.25", "0.5"]
    assert "weight_decay=" in words(document[2]) or name == "SparseAdam"
    assert str(opt.state_dict()) == str(before)
