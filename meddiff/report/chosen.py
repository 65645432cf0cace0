"""Which of hundreds of cases the report shows, so that it stays a page that opens."""

import math
from collections.abc import Mapping


def chosen(values: Mapping[str, float], what: str) -> dict[str, str]:
    """Return the cases to show by their ids, with the reason: the lowest, the median and the highest value of all.

    Choice: three of each kind (a region, a dataset) by a number that the run has measured, so that neither luck nor
    taste picks them. Of equal ones the id decides; cases without the number are shown where none has it.

    Args:
        values: a number per case; nan where there is none.
        what: names the number in the reason, such as `LPIPS`.
    """
    known = {case: value for case, value in values.items() if not math.isnan(value)} or values
    ordered = sorted(known, key=lambda case: (known[case], case))
    if not ordered:
        return {}
    if len(values) == 1:
        return {ordered[0]: "the only one"}
    median = ordered[(len(ordered) - 1) // 2]
    picked = {ordered[0]: "lowest", median: "median", ordered[-1]: "highest"} | {ordered[0]: "lowest"}
    return {case: f"{word} {what} of {len(values)}" for case, word in picked.items()}
