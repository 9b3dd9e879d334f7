"""Which cases of a test the fast lane keeps: few, in which every value occurs with every rule.

A test of many cases is a grid of rules, dtypes, faults, lengths. The fast lane runs some of its points,
`pytest -m "exhaustive or not exhaustive"` all of them. They are chosen, not listed, so that a new rule,
fault or dtype is in both lanes. Of each rule's points, those are chosen that together show every value
of every other parameter, and of every option; in tests that go through no rules, those that show every
pair of values of any two parameters.
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


def choose(cases):
    """Some of these cases, for each rule and in all."""
    by_rule, times_shown = {}, Counter()
    for case in cases:
        by_rule.setdefault(case.params.get("rule"), []).append(case)
    for rule, own in by_rule.items():
        made_of = [values(case) for case in own]
        pairs = [set(combinations(each, 2)) for each in made_of]
        facts = [set(each) or {rule} for each in made_of] if rule else pairs
        facts = [fact or set(each) for fact, each in zip(facts, made_of, strict=True)]
        missing = set().union(*facts)
        while missing:
            # Of those that show most that is new, the one whose values have met least.
            meetings = [sum(times_shown[pair] for pair in each) for each in pairs]
            best = max(range(len(own)), key=lambda i: (len(facts[i] & missing), -meetings[i]))
            missing -= facts[best]
            times_shown.update(pairs[best])
            yield own[best]


def mark(items):
    """Mark what the fast lane leaves out as exhaustive."""
    grids = {}
    for item in items:
        if hasattr(item, "callspec"):
            name = item.nodeid.removesuffix(f"[{item.callspec.id}]")
            grids.setdefault(name, {})[id(item.callspec)] = item
    for items_of in grids.values():
        kept = {id(case) for case in choose([item.callspec for item in items_of.values()])}
        for key, item in items_of.items():
            if key not in kept:
                item.add_marker(pytest.mark.exhaustive)
