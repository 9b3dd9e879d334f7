"""The tables of the learning quality."""

import math
from typing import Any

from ..harness.processes import Result
from ..harness.report import paragraphs, table, versions_of
from .modes import FP32
from .statistics import Interval, Run, differences, is_outside, is_worse, typical_angle, values

Case = dict[str, Any]  # a training with a rule: "modes" has the runs of each

EXPLANATION = """\
Means over the seeds ± half their 95 % confidence interval. *fp32* has what it reached, the other modes
the difference to fp32 from the same seed, which begins with the same parameters and sees the same
batches. *training loss* is that of the last twentieth of the batches, *loss* and *metric* are of held-out
data. *outside*: the mean is worse than fp32 from every seed. *worse*: it is not, but the difference's
interval excludes 0, which happens by chance in one comparison of 40. The angles are those between the
update and the one that float32 makes of the same gradients: of one step, and of a twentieth of the
training; medians."""

# What is compared: the column, its factor, and digits behind the point.
MEASURES = {
    "training_loss": ("training loss", 1, 4),
    "loss": ("loss", 1, 4),
    "metric": ("metric, %", 100, 2),
}
HEAD = ["mode", *(head for head, _, _ in MEASURES.values()), "angle of a step", "of a stretch", ""]


def number(value: float, digits: int, sign: str = "") -> str:
    rounded = round(value, digits) + 0.0  # no -0
    return f"{rounded:{sign}.{digits}f}".replace("-", "−")


def with_interval(found: Interval, digits: int, sign: str = "") -> str:
    middle = number(found.mean, digits, sign)
    return middle if math.isnan(found.half) else f"{middle} ± {number(found.half, digits)}"


def row(name: str, runs: list[Run], reference: list[Run]) -> list[str]:
    """fp32's row has what it reached, the others their differences."""
    cells = [name]
    for what, (_, factor, digits) in MEASURES.items():
        is_fp32 = name == FP32.name
        found = values(runs, what) if is_fp32 else differences(runs, reference, what)
        interval = Interval.of([factor * value for value in found])
        cells.append(with_interval(interval, digits, "" if is_fp32 else "+"))
    if name == FP32.name:
        return [*cells, "", "", ""]
    stretches = ("angle_of_a_step", "angle_of_a_stretch")
    angles = [f"{typical_angle(runs, stretch):.2g}°" for stretch in stretches]
    return [*cells, *angles, remark(runs, reference)]


def remark(runs: list[Run], reference: list[Run]) -> str:
    """What is worse, if anything; one seed cannot tell."""
    if len(runs) == 1:
        return ""
    words = {what: head.removesuffix(", %") for what, (head, _, _) in MEASURES.items()}
    outside = [what for what in words if is_outside(runs, reference, what)]
    worse = [what for what in words if what not in outside and is_worse(runs, reference, what)]
    parts = [f"**outside: {', '.join(words[what] for what in outside)}**"] if outside else []
    parts += [f"worse: {', '.join(words[what] for what in worse)}"] if worse else []
    return "; ".join(parts)


def section(case: Case) -> str:
    reference = case["modes"][FP32.name]
    rows = [row(name, runs, reference) for name, runs in case["modes"].items()]
    ranges = []
    for what, (head, factor, digits) in MEASURES.items():
        found = [factor * value for value in values(reference, what)]
        ranges.append(f"{head} {number(min(found), digits)} to {number(max(found), digits)}")
    return paragraphs(
        f"### {case['title']}, {case['rule']}",
        f"{case['steps']:,} steps; the metric is the {case['metric']}. fp32's {len(reference)} seeds: "
        f"{', '.join(ranges)}.",
        table(HEAD, rows),
    )


def markdown(result: Result) -> str:
    about = result["machine"]
    return paragraphs(
        f"`{result['command']}`, {result['minutes']:.0f} minutes. {about['cpu']}, "
        f"{versions_of(about)}; {about['date']}.",
        EXPLANATION,
        *(section(case) for case in result["cases"]),
    )
