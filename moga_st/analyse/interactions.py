"""Multi-order interactions (arXiv 2111.06236; 2211.03295 section 3): between how large contexts two parts of an input
act together in what a network says.

The parts of an input are the players of a game; what is left out of a set of players has the value of a baseline, and
the network's score is the game's value f.  Two players i and j interact in a context S of m others by

    f(S + i + j) - f(S + i) - f(S + j) + f(S)

whose mean over contexts is the interaction of order m, I(m, i, j).  The strength J(m) is the mean of its size |I| over
pairs and inputs, divided by the mean of that over the orders, so that networks with scores of any scale compare.

Shape legend: ``n`` players, ``k`` sets of them; ``b`` inputs, ``t`` frames, ``c`` channels, ``h w`` size, ``j`` joints.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from moga_st.errors import BadInput

SHARES = tuple(i / 10 for i in range(11))
RESAMPLES = 2000


class Game(NamedTuple):
    """One input of one network."""

    players: int
    value: Callable[[Tensor], Tensor]
    """Which players are there, (k, n) bool -> the score of each such input, (k,)."""


@dataclass(frozen=True)
class Interactions:
    """Strengths by order, with 95 % intervals."""

    players: int
    orders: list[int]
    """m: players in the context, 0 to n - 2."""
    strength: list[float]
    """J(m); their mean over the orders is 1, or all are 0 where nothing interacts."""
    low: list[float]
    high: list[float]
    """Ends of the interval: a bootstrap over the inputs, or over the pairs where there is one input."""
    inputs: int
    pairs: int
    """Measured, of all inputs together."""
    contexts: int
    """Most of them for a pair and an order."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def interactions(
    games: Sequence[Game],
    *,
    shares: Sequence[float] = SHARES,
    pairs: int = 10,
    contexts: int = 16,
    seconds: float = math.inf,
    batch: int = 64,
    seed: int = 0,
) -> Interactions:
    """Measure J(m) on some inputs.

    Pairs and contexts follow from (seed, the input's number), so that networks are asked the same questions.  Contexts
    of a pair are drawn without repetition; where there are no more of an order than ``contexts`` all of them are taken,
    and I is exact.  Otherwise the mean over so few has an error of its own, which |I| turns into strength: compare
    networks at equal ``contexts``.

    Args:
        games: the inputs; all of them with as many players.
        shares: the orders, as shares of n - 2.
        pairs: for each input; fewer where there are not so many.
        contexts: for each pair and order.
        seconds: begin no pair after so many; at least one pair of every input is measured.
        batch: sets that ``value`` is asked at once.
        seed: of the choices.

    Raises:
        BadInput: numbers out of range, no inputs, or inputs that differ in their players.
    """
    if not games or len({g.players for g in games}) != 1 or games[0].players < 3:
        raise BadInput("interactions: expected inputs of one number of parts, at least 3")
    if min(pairs, contexts, batch) < 1 or not seconds > 0 or not shares or not all(0 <= s <= 1 for s in shares):
        raise BadInput(
            "interactions: expected pairs, contexts and batch of at least 1, a positive time, and orders in [0, 1]"
        )
    n, started = games[0].players, time.monotonic()
    orders = sorted({round(s * (n - 2)) for s in shares})
    rngs = [np.random.default_rng((seed, number)) for number in range(len(games))]
    chosen = [_pairs(rng, n, pairs) for rng in rngs]
    found: list[list[np.ndarray]] = [[] for _ in games]
    for turn in range(len(chosen[0])):
        for game, rng, its_pairs, rows in zip(games, rngs, chosen, found, strict=True):
            if turn and time.monotonic() - started > seconds:
                break
            i, j = its_pairs[turn]
            sets = [subsets(rng, n - 2, m, contexts) for m in orders]
            rows.append(np.array([d.mean() for d in differences(game, i, j, sets, batch)]))
    strength, low, high = strengths([np.abs(np.stack(rows)) for rows in found], seed)
    return Interactions(
        n, orders, strength.tolist(), low.tolist(), high.tolist(), len(games), sum(map(len, found)), contexts,
        time.monotonic() - started,
    )  # fmt: skip


def differences(game: Game, i: int, j: int, sets: list[np.ndarray], batch: int) -> list[np.ndarray]:
    """f(S + i + j) - f(S + i) - f(S + j) + f(S) of the contexts S in each of ``sets``, (k, n - 2) bool over the players
    but i and j: (k,) each."""
    others = np.setdiff1d(np.arange(game.players), (i, j))
    context = np.concatenate(sets)
    kept = np.zeros((4, len(context), game.players), bool)
    kept[:, :, others] = context
    kept[[0, 1], :, i] = True
    kept[[0, 2], :, j] = True
    asked = torch.from_numpy(kept.reshape(-1, game.players))
    with torch.no_grad():
        values = torch.cat([game.value(part).double().cpu() for part in asked.split(batch)])
    both, one, other, none = values.view(4, -1).numpy()
    return np.split(both - one - other + none, np.cumsum([len(s) for s in sets])[:-1])


def subsets(rng: np.random.Generator, n: int, size: int, most: int) -> np.ndarray:
    """Different sets of ``size`` of n players, (k, n) bool: all of them where there are at most ``most``."""
    if math.comb(n, size) <= most:
        from itertools import combinations

        picked = list(combinations(range(n), size))
    else:
        drawn: set[tuple[int, ...]] = set()
        while len(drawn) < most:
            drawn.add(tuple(sorted(rng.permutation(n)[:size].tolist())))
        picked = sorted(drawn)
    out = np.zeros((len(picked), n), bool)
    for row, members in zip(out, picked, strict=True):
        row[list(members)] = True
    return out


def strengths(sizes: list[np.ndarray], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """J(m) and the ends of its 95 % interval, (orders,) each, of |I| (pairs, orders) for each input."""
    rng = np.random.default_rng(seed)
    units = sizes[0] if len(sizes) == 1 else np.stack([s.mean(0) for s in sizes])
    again = units[rng.integers(len(units), size=(RESAMPLES, len(units)))].mean(1)

    def over_mean(x: np.ndarray) -> np.ndarray:
        mean = x.mean(-1, keepdims=True)
        return np.divide(x, mean, out=np.zeros_like(x), where=mean > 0)

    low, high = np.quantile(over_mean(again), (0.025, 0.975), axis=0)
    return over_mean(units.mean(0)), low, high


def _pairs(rng: np.random.Generator, n: int, most: int) -> list[tuple[int, int]]:
    numbers = rng.permutation(n * (n - 1) // 2)[:most]
    first, second = np.triu_indices(n, 1)
    return list(zip(first[numbers].tolist(), second[numbers].tolist(), strict=True))


# what the games are


def grid_for(height: int, width: int) -> int:
    """Patches along a side: 14 as published, or as many as leave them 4 pixels."""
    return max(2, min(14, min(height, width) // 4))


def without(x: Tensor, kept: Tensor, grid: int) -> Tensor:
    """x (..., c, h, w) with the patches of a grid x grid that ``kept`` (k, grid^2) leaves out at 0: (k, ..., c, h, w).
    Where the grid does not divide the size, patches differ by a pixel."""
    height, width = x.shape[-2:]
    if not 2 <= grid <= min(height, width):
        raise BadInput(f"grid: expected 2 to {min(height, width)} patches along a side, got {grid}")
    rows, columns = (torch.arange(side, device=x.device) * grid // side for side in (height, width))
    there = kept.to(x.device)[:, rows[:, None] * grid + columns]
    return x * there.view(len(kept), *(1,) * (x.ndim - 2), height, width)


def log_odds(scores: Tensor, label: int) -> Tensor:
    """log(p / (1 - p)) of a class by a softmax over scores (k, classes): (k,) float64.

    Raises:
        BadInput: fewer than two classes, or none of this number.
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or not 0 <= label < scores.shape[1]:
        raise BadInput(f"interactions: no class {label} among scores of shape {tuple(scores.shape)}")
    scores = scores.double()
    others = torch.cat([scores[:, :label], scores[:, label + 1 :]], 1)
    return scores[:, label] - others.logsumexp(1)


def image_game(net: nn.Module, image: Tensor, label: int, grid: int | None = None) -> Game:
    """Patches of an image (c, h, w), as the network takes it; the score is the log-odds of the true class.  What is
    left out is 0, which is the mean of the data where the network's input is standardised, as published."""
    side = grid or grid_for(*image.shape[-2:])
    return Game(side * side, lambda kept: log_odds(net(without(image, kept, side)), label))


def clip_game(net: nn.Module, past: Tensor, truth: Tensor, frame: int = 1, grid: int | None = None) -> Game:
    """Patches of a clip (t, c, h, w), each with all its frames; the score is the mean squared error of predicted frame
    ``frame``, counted from 1, against ``truth`` (t_out, c, h, w).  What is left out has its channel's mean over the
    clip.

    Raises:
        BadInput: no such frame.
    """
    if not 1 <= frame <= len(truth):
        raise BadInput(f"frame: expected 1 to {len(truth)}, got {frame}")
    side = grid or grid_for(*past.shape[-2:])
    mean = past.mean((0, 2, 3)).view(-1, 1, 1)

    def error(kept: Tensor) -> Tensor:
        out = net(without(past - mean, kept, side) + mean)[:, frame - 1]
        return (out.double() - truth[frame - 1].double()).square().mean((1, 2, 3))

    return Game(side * side, error)


def pose_game(net: nn.Module, keypoints: Tensor, truth: Tensor, joint: int, pieces: int = 1) -> Game:
    """Joints of a window of keypoints (t, j, 2 or 3), each in ``pieces`` of its time; the score is the error of joint
    ``joint`` in the window's centre, a distance in the unit of ``truth`` (t, j, 3).  What is left out lies in the
    middle of the keypoints that are seen, with confidence 0.

    Raises:
        BadInput: no such joint, or more pieces than frames.
    """
    frames, joints = keypoints.shape[:2]
    if not 0 <= joint < joints or not 1 <= pieces <= frames:
        raise BadInput(
            f"joint, pieces: expected a joint below {joints} and 1 to {frames} pieces, got {joint}, {pieces}"
        )
    middle = keypoints.mean((0, 1))
    if len(middle) == 3:
        middle[2] = 0.0
    piece = torch.arange(frames, device=keypoints.device) * pieces // frames

    def error(kept: Tensor) -> Tensor:
        there = kept.to(keypoints.device).view(-1, pieces, joints)[:, piece, :, None]
        out = net(torch.where(there, keypoints, middle))
        return (out[:, out.shape[1] // 2, joint].double() - truth[frames // 2, joint].double()).norm(dim=-1)

    return Game(pieces * joints, error)
