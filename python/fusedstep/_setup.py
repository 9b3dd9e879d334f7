"""Construction of an optimizer: from parameters and options to an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fusedstep import _formats
from fusedstep._decay_mask import DecayMask, check_mask, masked_out
from fusedstep._engine import Engine
from fusedstep._group import Group, core_options
from fusedstep._lent import LentState, counter_of, lent_arrays
from fusedstep._messages import listed, no_parameter, shown
from fusedstep._pipeline import Policy
from fusedstep._rule import Rule
from fusedstep._spaces.choose import space_of
from fusedstep._spaces.space import Space
from fusedstep._tree import Tree, split_groups

__all__ = ["Setup"]


@dataclass
class Setup:
    """The options of an optimizer, and how parameters are added under them."""

    rule: Rule
    policy: Policy  # which loading replaces
    defaults: Mapping[str, object]  # options of groups that do not set their own

    @classmethod
    def of(cls, rule: Rule, given: dict[str, Any]) -> Setup:
        """Take the options given to a constructor, or raise TypeError or ValueError."""
        rule.refuse_unknown(given, {**rule.defaults, **vars(Policy())})
        return cls(rule, Policy.take(given), given)

    def build(self, params: object) -> Engine:
        """An engine for these parameters, with their state."""
        nests, overrides = split_groups(params)
        tree, policy = Tree(nests), self.policy
        norms = [own.get("max_grad_norm") for own in (self.defaults, *overrides)]
        if policy.clip_per_group and all(norm is None for norm in norms):
            raise ValueError(
                "clip_per_group: expected max_grad_norm with it, got none in any group"
            )
        engine = Engine(self.rule.name, space_of(tree.names, tree.leaves), autograd=True)
        self.set_policy(engine)
        self._add(engine, tree, overrides, policy)
        return engine

    def set_policy(self, engine: Engine) -> None:
        """Let the core have the options of the whole optimizer."""
        engine.core.set_policy(*self.policy.of_core())

    def policy_from(self, saved: Mapping[str, Any]) -> Policy:
        """The options of the whole optimizer with those that were saved, or TypeError or ValueError."""
        own = dict(saved)
        if (own.get("ema_decay") is None) != (self.policy.ema_decay is None):
            # Averages are only here, or only there, where no decay would go with them.
            own |= {
                name: getattr(self.policy, name) for name in ("ema_decay", "ema_bias_correction")
            }
        taken = Policy.take(own)
        if own:
            raise ValueError(
                f"expected {', '.join(Policy.saved_names())}, got {listed(own)} beside"
            )
        given = {name: getattr(taken, name) for name in Policy.saved_names()}
        return replace(self.policy, **given)

    def extend(self, engine: Engine, group: object, working_copy: object, state: object) -> None:
        """Add one more group, all or nothing."""
        if not (isinstance(group, Mapping) and "params" in group):
            raise TypeError(f"group: expected a mapping with the key 'params', got {shown(group)}")
        own = Policy.take({"working_copy": working_copy, "state": state})
        here, present = len(engine.tree.names), len(engine.tree.nests)
        nests, overrides = split_groups([group], present)
        tree = engine.tree.extended(nests)
        # Raises unless the new ones are where the first of all is.
        space_of([tree.names[0], *tree.names[here:]], [tree.leaves[0], *tree.leaves[here:]])
        self._add(engine, tree, overrides, own)

    def _add(
        self,
        engine: Engine,
        tree: Tree,
        overrides: Sequence[Mapping[str, Any]],
        policy: Policy,
    ) -> None:
        """Add the groups by which `tree` extends the engine's, with the options each one sets.

        Their working copies and the state that they have already are those of `policy`.
        """
        copies, state = policy.working_copy or {}, policy.state or {}
        here, first = len(engine.tree.names), len(engine.groups)
        new = dict.fromkeys(tree.names[here:])
        if not new:
            raise ValueError("params: expected at least one array, got none")
        for what, given in (("working_copy", copies), ("state", state)):
            if unknown := [name for name in given if name not in new]:
                raise ValueError(f"{what}: {no_parameter(unknown, new)}")
        counters = [counter_of(name, state.get(name, {})) for name in new]
        has_counters = any(count is not None for count in counters)
        if has_counters:  # now: memory may run out
            counters = [*([None] * here), *counters]
        groups: list[Group] = []
        buffers: list[dict[str, Any]] = [{}] * len(new)
        for own, numbers in self._parts(tree, overrides):
            names = [tree.names[i] for i in numbers]
            options = {**self.defaults, **own}
            group = Group(self.rule, engine.core, names, options, first + len(groups))
            leaves = [tree.leaves[i] for i in numbers]
            made = self._allocate(engine, group, leaves, state)
            for i, arrays in zip(numbers, made, strict=True):
                buffers[i - here] = arrays
                tree.group_of[i] = first + len(groups)
            groups.append(group)
        engine.add(tree, [core_options(group) for group in groups], buffers, copies, groups)
        if has_counters:
            engine.core.set_counters(None, counters)

    def _parts(
        self, tree: Tree, overrides: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[Mapping[str, Any], Sequence[int]]]:
        """The options and the parameters of each group: two groups where a mask divides a nest."""
        nests = tree.nests[-len(overrides) :]
        still = self._without_decay(tree, nests, overrides)
        for given, numbers in zip(overrides, nests, strict=True):
            own = {name: value for name, value in given.items() if name != "decay_mask"}
            rest = [i for i in numbers if i in still]
            decayed = [i for i in numbers if i not in still]
            if decayed or not rest:
                yield own, decayed
            if rest:
                yield {**own, "weight_decay": 0.0}, rest

    def _without_decay(
        self, tree: Tree, nests: Sequence[range], overrides: Sequence[Mapping[str, Any]]
    ) -> set[int]:
        """The new parameters that a decay mask leaves out: the group's own, or the optimizer's."""

        def left_out(mask: DecayMask | None, numbers: Iterable[int], *, may_miss: bool) -> set[int]:
            params = ((i, tree.names[i], tree.leaves[i]) for i in numbers)
            return set() if mask is None else masked_out(mask, params, may_miss=may_miss)

        result: set[int] = set()
        others: list[int] = []
        for own, numbers in zip(overrides, nests, strict=True):
            if "decay_mask" in own:
                result |= left_out(check_mask(own["decay_mask"]), numbers, may_miss=False)
            else:
                others += numbers
        # Which it needs not be for all groups, nor for one that is added later.
        later = len(nests) < len(tree.nests)
        return result | left_out(self.policy.decay_mask, others, may_miss=later or not others)

    def _allocate(
        self, engine: Engine, group: Group, leaves: Sequence[Any], state: LentState
    ) -> list[dict[str, Any]]:
        """The arrays beside each parameter of a group: those that are lent, others at their start."""
        space, rule, names = engine.space, self.rule, group.params
        layouts = self._layouts(space, group, leaves)
        given = [
            lent_arrays(name, state.get(name, {}), one)
            for name, one in zip(names, layouts, strict=True)
        ]

        def zeros(which: Callable[[str], bool], rowwise: str = "") -> list[dict[str, Any]]:
            own = [
                {name: one[name] for name in one if which(name) and name not in has}
                for one, has in zip(layouts, given, strict=True)
            ]
            arrays = space.zeros("parameter", names, leaves, [[*o.values()] for o in own], rowwise)
            return [dict(zip(o, a, strict=True)) for o, a in zip(own, arrays, strict=True)]

        contents = group.contents
        if rule.info.rowwise:  # but other arrays have the shape of their parameter
            states = zeros(lambda name: name in contents, rule.name)
            others = zeros(lambda name: name not in contents)
            made = [one | other for one, other in zip(states, others, strict=True)]
        else:
            made = zeros(lambda name: True)  # noqa: ARG005
        for array, value in rule.initial_state(group).items():
            new = [own for own in made if array in own]
            if value != 0.0:
                scales = [_formats.scales_of(own, array) for own in new]
                layout = _formats.code_of(contents[array])
                space.fill([own[array] for own in new], value, layout, scales)
        policy = self.policy
        has_copies = policy.ema_decay is not None and not policy.ema_bias_correction
        for name in (*rule.starts_at_parameter, *[_formats.AVERAGE] * has_copies):
            pairs = [
                (own[name], leaf) for own, leaf in zip(made, leaves, strict=True) if name in own
            ]
            space.fill_with([new for new, _ in pairs], [leaf for _, leaf in pairs])
        return [
            {name: has[name] if name in has else own[name] for name in one}
            for one, own, has in zip(layouts, made, given, strict=True)
        ]

    def _layouts(self, space: Space, group: Group, leaves: Sequence[Any]) -> list[dict[str, str]]:
        """How each array beside each parameter is stored, or TypeError where that cannot be."""
        names, average = group.params, self.policy.ema_decay is not None
        if _formats.is_plain(group):  # whatever the parameters are, which the core will check
            return [_formats.layouts(group, group.contents, "", 0, average=average)] * len(names)
        result = []
        for name, (own_format, size) in zip(
            names, space.formats("parameter", names, leaves), strict=True
        ):
            _formats.check_parameter(group, name, own_format)
            result.append(
                _formats.layouts(group, group.contents, own_format, size, average=average)
            )
        return result
