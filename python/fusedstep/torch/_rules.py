"""Rules with the options that torch's optimizers of the same name have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import fusedstep
from fusedstep._options import Number, Option, Switch
from fusedstep._rule import Rule
from fusedstep._specs import GroupOptions

__all__ = ["SGD", "Adam", "DeepSpeedAdam"]


class SGD(fusedstep.SGD):
    """See :class:`fusedstep.SGD`. torch allows any momentum >= 0."""

    options = MappingProxyType(
        {**fusedstep.SGD.options, "momentum": Option("momentum", Number(), 0.0)}
    )


SGD.definition = replace(SGD.definition, options=SGD.options)


class _EitherDecay(Rule):
    """AdamW, whose decay is coupled where a group does not decouple it: to the bit, Adam."""

    def group_options(self, values: Mapping[str, Any], lr: float) -> GroupOptions:
        if values["decoupled_weight_decay"]:
            return super().group_options(values, lr)
        result = super().group_options({**values, "weight_decay": 0.0}, lr)
        result.coupled_weight_decay = values["weight_decay"]
        return result


class Adam(fusedstep.AdamW):
    """See :class:`fusedstep.Adam`, and :class:`fusedstep.AdamW` for `decoupled_weight_decay`."""

    _decoupled = Option("decoupled_weight_decay", Switch(), False)
    options = MappingProxyType({**fusedstep.Adam.options, _decoupled.name: _decoupled})


Adam.definition = _EitherDecay(
    **{
        **{field.name: getattr(Adam.definition, field.name) for field in fields(Rule)},
        "options": Adam.options,
    }
)


class DeepSpeedAdam(Adam):
    """:class:`Adam` of which a group may leave the moments uncorrected: its engine sees to that."""

    _corrected = Option("bias_correction", Switch(), True)
    options = MappingProxyType({**Adam.options, _corrected.name: _corrected})


DeepSpeedAdam.definition = replace(Adam.definition, options=DeepSpeedAdam.options)
for _own in (SGD, Adam):
    _own.__doc__ = getattr(fusedstep, _own.__name__).__doc__
