"""The stubs of what is made at run time, for type checkers and editors; run as a script to commit them.

Of each rule there is a function in fusedstep.functional, and a class in fusedstep.torch.
"""

import importlib
import inspect
from pathlib import Path

import fusedstep as fs
from fusedstep._definition import registry
from fusedstep._options import Choice, Count, Limit, Number, Numbers, Rate, Switch

PACKAGE = Path(__file__).parents[2] / "python" / "fusedstep"
FUNCTIONAL, TORCH = PACKAGE / "functional.pyi", PACKAGE / "torch" / "__init__.pyi"

HEAD = '"""Written by tests/helpers/face_stubs.py."""\n\n'


def type_of(kind, number="float"):
    """What an option may be, as an annotation."""
    if isinstance(kind, Choice):
        return f"Literal[{', '.join(map(repr, kind.values))}]"
    if isinstance(kind, Numbers):
        return f"tuple[{', '.join([number] * kind.count)}]"
    plain = {Number: number, Rate: number, Switch: "bool", Count: "int", Limit: "float | None"}
    return plain[type(kind)]


def parameters(signature, options, numbers, others):
    """Those of a signature after its first, of which `others` are no options of a rule."""
    known = {name: type_of(option.kind, numbers) for name, option in options.items()} | others
    own = [p for p in signature.parameters.values() if p.name in known]
    keywords = [p for p in own if p.kind is p.KEYWORD_ONLY]
    written = [f"{p.name}: {known[p.name]} = {p.default!r}" for p in own]
    if len(keywords) < len(own):
        written.insert(len(own) - len(keywords), "*")
    return ", ".join(written)


def functional():
    """The stub of fusedstep.functional."""
    lines = [
        HEAD + "from collections.abc import Sequence\n",
        "from fusedstep.typing import Array\n",
        "_Arrays = Array | Sequence[Array]\n",
    ]
    for name in dir(fs.functional):
        signature = inspect.signature(getattr(fs.functional, name))
        own = parameters(signature, registry[name].options, "float", {})
        first = "param: _Arrays, grad: _Arrays, /, *states: _Arrays, step: int | Sequence[int]"
        lines.append(f"def {name}({first}, {own}) -> None: ...")
    return "\n".join(lines) + "\n"


def torch():
    """The stub of fusedstep.torch, whose classes follow the rules of the core."""
    module = importlib.import_module("fusedstep.torch")
    optimizers = importlib.import_module("fusedstep.torch._optimizer")
    others = dict.fromkeys(("skip_nonfinite", "error_if_nonfinite", "clip_per_group"), "bool")
    others |= {"ema_decay": "float | None", "ema_bias_correction": "bool", "seed": "int"}
    others |= dict.fromkeys(optimizers.REFUSED, "Literal[False] | None")
    imported: dict[str, list[str]] = {}
    classes = []
    for name in module.__all__:
        value = getattr(module, name)
        if not hasattr(value, "_signature") or name == "DeepSpeedCPUAdam":
            made = value if inspect.isfunction(value) else value.__init__
            imported.setdefault(Path(made.__code__.co_filename).stem, []).append(name)
            continue
        base = value.__bases__[0].__name__
        imported.setdefault("_optimizer", []).append(base)
        own = parameters(value._signature, value.rule.options, "float | Tensor", others)
        classes.append(
            f"class {name}({base}):\n"
            f'    """See :class:`fusedstep.{registry[value.rule.rule].__name__}`."""\n\n'
            f"    def __init__(self, params: ParamsT, {own}) -> None: ..."
        )
    lines = [
        HEAD + "from typing import Literal\n",
        "from torch import Tensor",
        "from torch.optim.optimizer import ParamsT\n",
    ]
    for stem, names in sorted(imported.items()):
        lines.append(f"from fusedstep.torch.{stem} import {', '.join(sorted({*names}))}")
    lines.append(f"\n__all__ = {module.__all__!r}\n")
    return "\n".join([*lines, "\n\n".join(classes)]) + "\n"


if __name__ == "__main__":
    FUNCTIONAL.write_text(functional())
    TORCH.write_text(torch())
