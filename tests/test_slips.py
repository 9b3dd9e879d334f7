"""What a first-time user gets wrong is refused, in words that say what to do instead."""

import numpy as np
import pytest

import fusedstep as fs


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (("a", "c"), ValueError, r"expected names of parameters \(a, b\), came 'c'"),
        # No selection is no selection, not all.
        (
            (),
            ValueError,
            r"expected at least one name, came none \(of all: opt.{}\(\*opt.params\)\)",
        ),
        ((["a"],), TypeError, r"expected names \(str\), came \['a'\] \(of a list: opt.{}\(\*names"),
        (("a", 0), TypeError, r"expected names \(str\), came 0"),
    ],
)
def test_names_that_cannot_be_frozen(names, error, words):
    opt = fs.SGD({"a": np.ones(3), "b": np.ones(3)})
    opt.freeze("b")
    for verb in ("freeze", "unfreeze"):
        with pytest.raises(error, match=f"^{verb}: {words.format(verb)}"):
            getattr(opt, verb)(*names)
        assert opt.frozen == {"b"}
