"""Steps over parameters and states of narrow formats: computed in float32, stored as codes."""

import numpy as np

from cases import ROWWISE
from formats import (
    Bfloat16,
    Float16,
    Signed8,
    Unsigned8,
    decode,
    decode_blocks,
    encode,
    encode_blocks,
    join,
    split,
)
from fusedstep._definition import registry
from reference import Run
from rounding import random_bits, weyl

CODECS = {codec.name: codec for codec in (Bfloat16, Float16)}

# What 8 bits are enough for, by what a state holds; the rest gets bfloat16 at best.
EIGHT_BITS = {"average": Signed8, "square": Unsigned8}


def state_codec(content, state_dtype):
    """The codec of a state; None keeps it in float32."""
    if content == "exact" or state_dtype == "float32":
        return None
    return EIGHT_BITS.get(content, Bfloat16) if state_dtype == "8bit" else Bfloat16


def flat(array):
    """A view of all elements in memory's order."""
    view = array.ravel(order="K")
    assert view.size == 0 or np.shares_memory(view, array)
    return view


def like(array, elements):
    """An array of these elements, given in memory's order."""
    result = np.empty_like(array, dtype=elements.dtype)
    flat(result)[...] = elements
    return result


def decoded(array):
    """In the dtype that steps compute in; float32 for narrow formats."""
    codec = CODECS.get(array.dtype.name)
    return array if codec is None else decode(codec, array.view(np.uint16))


class States(dict):
    """States as they are stored: what is read of them is what their codes stand for."""

    def __init__(self, codecs, numbers):
        super().__init__()
        self.codecs, self.codes = codecs, {}
        self.uniform = None  # what a state starts at is rounded to nearest
        for name, value in numbers.items():
            self[name] = value

    def __setitem__(self, name, numbers):
        codec = self.codecs[name]
        if codec is None:
            self.codes[name] = numbers
        elif codec is Bfloat16:
            self.codes[name] = encode(codec, numbers, self.uniform)
            numbers = decode(codec, self.codes[name])
        else:
            halves = np.full_like(numbers, 2**31, np.uint32)
            uniform = flat(halves if self.uniform is None else self.uniform)
            codes, scales = encode_blocks(codec, flat(numbers), uniform)
            self.codes[name], self.codes[f"{name}_scale"] = like(numbers, codes), scales
            numbers = like(numbers, decode_blocks(codec, codes, scales))
        super().__setitem__(name, numbers)

    def __deepcopy__(self, memo):
        other = States(self.codecs, {})
        other.codes = {name: codes.copy() for name, codes in self.codes.items()}
        dict.update(other, {name: numbers.copy() for name, numbers in self.items()})  # as they are
        return other


class NarrowRun(Run):
    """One array of any format followed through its steps, with the options of its group.

    `number` is that of the array among the optimizer's.
    """

    def __init__(
        self,
        rule,
        options,
        param,
        number=0,
        state_dtype="float32",
        min_8bit_size=4096,
        rounding="nearest",
        master=None,
        master_bits=32,
        seed=0,
    ):
        self.codec = CODECS.get(param.dtype.name)
        super().__init__(rule, options, decoded(param))
        self.bits, self.rounding = param.copy(order="K"), master or rounding
        self.correction_bits = master_bits - 16
        self.seed, self.number, self.second = seed, number, {}
        self.elements = like(self.param, np.arange(param.size))
        if self.codec is not None:
            self.bits = self.bits.view(np.uint16)
            if self.rounding == "split":
                self.second = {
                    "correction": np.zeros_like(self.bits, f"i{self.correction_bits // 8}")
                }
            elif self.rounding == "kahan":
                self.second = {"compensation": np.zeros_like(self.bits)}
        native = rule in ROWWISE or (state_dtype == "8bit" and param.size < min_8bit_size)
        contents = registry[rule].info.contents[self.variant]
        codecs = [None if native else state_codec(content, state_dtype) for content in contents]
        codecs = dict(zip(self.state, codecs, strict=True))
        self.state = States(codecs, self.state)

    def step(self, grad, scale=1.0, clip=1.0):
        self.state.uniform = weyl(self.t + 1, self.elements)
        super().step(grad, scale, clip)
        with np.errstate(all="ignore"):
            self.store()

    def store(self):
        """Store the parameter; from here on it is what was stored."""
        codec, number = self.codec, self.param
        if codec is None:
            self.bits = number
        elif self.rounding == "split":
            uniform = weyl(self.t, self.elements)
            self.bits, correction = split(codec, self.correction_bits, number, uniform)
            self.second = {"correction": correction}
            self.param = join(codec, self.correction_bits, self.bits, correction)
        elif self.rounding == "kahan":
            self.bits = encode(codec, number)
            missing = number - decode(codec, self.bits)
            missing = np.where(np.isfinite(missing), missing, np.float32(0))
            self.second = {"compensation": encode(codec, missing)}
            self.param = decode(codec, self.bits) + decode(codec, self.second["compensation"])
        else:
            uniform = None
            if self.rounding == "stochastic":
                uniform = random_bits(self.seed, self.t, self.number, self.elements)
            self.bits = encode(codec, number, uniform)
            self.param = decode(codec, self.bits)

    def stored(self):
        """All arrays that the optimizer holds, by their names in its state."""
        return {**self.state.codes, **self.second}

    def rows(self, named):
        part = super().rows(named)
        part.elements = self.elements[named]
        values, part.state = part.state, States(self.state.codecs, {})
        dict.update(part.state, values)  # as they are: a step of these rows stores them
        return part

    def put(self, named, part):
        super().put(named, part)
        self.bits[named] = part.bits
        theirs = part.stored()
        for name, array in self.stored().items():  # scales too, where a row is whole blocks
            array.reshape(len(self.bits), -1)[named] = theirs[name].reshape(len(named), -1)
