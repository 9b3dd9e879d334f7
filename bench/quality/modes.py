"""The modes of storage that are compared."""

from typing import Any, NamedTuple


class Mode(NamedTuple):
    name: str
    narrow: bool = False  # parameters and gradients in bfloat16
    state: str = "float32"
    options: dict[str, Any] = {}  # how the parameters are rounded  # noqa: RUF012

    def optimizer_options(self, seed: int) -> dict[str, Any]:
        """Every array has narrow state, even biases: harder than the default of 4,096 elements."""
        state = {} if self.state == "float32" else {"state_dtype": self.state}
        least = {"min_8bit_size": 1} if self.state == "8bit" else {}
        random = {"seed": seed} if self.options.get("rounding") == "stochastic" else {}
        return {**state, **least, **self.options, **random}


STOCHASTIC, KAHAN = {"rounding": "stochastic"}, {"rounding": "kahan"}
SPLIT_32 = {"master": "split", "master_bits": 32}
SPLIT_24 = {"master": "split", "master_bits": 24}

FP32 = Mode("fp32")
MODES = (
    FP32,
    Mode("state-bf16", state="bfloat16"),
    Mode("state-8bit", state="8bit"),
    Mode("nearest", narrow=True),
    Mode("stochastic", narrow=True, options=STOCHASTIC),
    Mode("kahan", narrow=True, options=KAHAN),
    Mode("split-32", narrow=True, options=SPLIT_32),
    Mode("split-24", narrow=True, options=SPLIT_24),
    Mode("stochastic-8bit", narrow=True, state="8bit", options=STOCHASTIC),
    Mode("kahan-bf16", narrow=True, state="bfloat16", options=KAHAN),
    Mode("split-32-bf16", narrow=True, state="bfloat16", options=SPLIT_32),
    Mode("split-24-8bit", narrow=True, state="8bit", options=SPLIT_24),
)
