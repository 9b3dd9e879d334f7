"""Which cases of a test the fast lane keeps: few, in which every value occurs with every rule.

A test of many cases is a grid of rules, dtypes, faults, lengths. The fast lane runs some of its points,
`pytest -m "not long"` all of them. They are chosen, not listed, so that a new rule,
fault or dtype is in both lanes. Of each rule's points, those are chosen that together show every value
of every other parameter, and of every option; in tests that go through no rules, those that show every
pair of values of any two parameters; in tests marked `each_value_once`, those that show every value,
and every rule. What needs the project's own build of minutes is left out whole.
"""

from collections import Counter
from itertools import combinations

import pytest

PLAIN = (str, int, float, type(None))


def values(case):
    """What a case is made of, beside its rule."""
    found = []
    for name, value in case.params.items():
        if isinstance(value, dict):
            found += [(name, key, repr(one)) for key, one in value.items()]
        elif name != "rule":
            # Other objects are the same where they are one object.
            found.append((name, repr(value) if isinstance(value, PLAIN) else id(value)))
    return found


def choose(cases, is_once=False):
    """Some of these cases that together show what the fast lane is to show."""
    groups, times_met = {}, Counter()
    for case in cases:
        rule, made_of = case.params.get("rule"), values(case)
        pairs = set(combinations(made_of, 2))
        shows = {*made_of, rule} if rule else pairs or {*made_of}
        groups.setdefault(None if is_once else rule, []).append((case, shows, pairs))
    for group in groups.values():
        missing = set().union(*(shows for _, shows, _ in group))
        while missing:
            # Of those that show most that is new, the first whose values have met least.
            case, shows, pairs = max(
                group,
                key=lambda one: (len(one[1] & missing), -sum(times_met[pair] for pair in one[2])),
            )
            missing -= shows
            times_met.update(pairs)
            yield case


def needs_a_long_build(item):
    """Whether it needs the project's own build, itself or for the device that the CPU plays."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return "native_tree" in item.fixturenames or parameters.get("library") == "emulated"


def mark(items):
    """Mark what the fast lane leaves out as exhaustive."""
    grids = {}
    for item in items:
        if needs_a_long_build(item):
            item.add_marker(pytest.mark.exhaustive)
        elif hasattr(item, "callspec"):
            name = item.nodeid.removesuffix(f"[{item.callspec.id}]")
            grids.setdefault(name, []).append(item)
    for grid in grids.values():
        is_once = grid[0].get_closest_marker("each_value_once") is not None
        kept = {id(case) for case in choose([item.callspec for item in grid], is_once)}
        for item in grid:
            if id(item.callspec) not in kept:
                item.add_marker(pytest.mark.exhaustive)
