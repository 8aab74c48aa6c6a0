"""Each figure beside its goal, and whether it is met."""

import math


def say(what, value, goal, is_met, digits=2):
    """One line: what was seen, what was wished for."""
    seen = "nothing" if math.isnan(value) else f"{value:.{digits}f}"
    print(f"goal: {what}: {seen}, {goal}: {'met' if is_met else 'missed'}", flush=True)


def at_most(what, value, goal, digits=2):
    say(what, value, f"at most {goal}", value <= goal, digits)


def at_least(what, value, goal, digits=2):
    say(what, value, f"at least {goal}", value >= goal, digits)
