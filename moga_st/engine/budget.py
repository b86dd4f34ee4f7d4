"""How many updates fit into a time budget: decided once, before a run's first update."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from moga_st import dist
from moga_st.engine.update import Update
from moga_st.errors import BadInput

WARM_UP = Update.EAGER + 2  # updates before those that are timed: until kernels are chosen and graphs captured
TIMED = 7  # updates
TRIES = 0.2  # of the budget, in time
SHARE = 0.95  # of the budget: the rest is for checkpoints and whatever else is not timed


def timed(
    update: Callable[[int], object],
    validate: Callable[[], object],
    device: torch.device,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Seconds of an update, the median of a few after warm-up, and of a validation; on the slowest rank.  Where the
    tries have used up a share of the budget, the last of them counts.

    Args:
        update: runs the update of a number.
        validate: scores once.
        device: where they run.
        budget_s: seconds that the run may take.
        clock: says the time in seconds.
    """

    def seconds(step: Callable[[], object]) -> float:
        _wait(device)
        start = clock()
        step()
        _wait(device)
        return clock() - start

    each: list[float] = []
    while len(each) < WARM_UP + TIMED and dist.max_over_ranks(sum(each), device) <= TRIES * budget_s:
        each.append(seconds(lambda: update(len(each))))
    settled = statistics.median(each[WARM_UP:] or each[-1:])
    return dist.max_over_ranks(settled, device), dist.max_over_ranks(seconds(validate), device)


def steps_within(budget_s: float, update_s: float, validation_s: float, validate_every: int) -> int:
    """The most updates that fit with their validations, one every ``validate_every`` updates and one at the end, and
    with the time of one more validation for the score at the end; at least 1.

    Raises:
        BadInput: the budget is not even enough for one update.
    """
    left = SHARE * budget_s - validation_s
    whole = int(left // (validate_every * update_s + validation_s))  # rounds of updates and their validation
    rest = left - whole * (validate_every * update_s + validation_s)
    steps = whole * validate_every + max(0, min(validate_every - 1, int((rest - validation_s) // update_s)))
    if steps < 1:
        raise BadInput(
            f"minutes: {budget_s / 60:.3g} are too few for one update ({update_s:.3g} s) and its validation "
            f"({validation_s:.3g} s); give at least {(update_s + 2 * validation_s) / SHARE / 60:.3g}"
        )
    return steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
