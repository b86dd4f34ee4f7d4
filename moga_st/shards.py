"""Shards: the equal parts of a batch, each computed on a thread of its own, together only where they must be.

Threads that share every operator wait for each other at the end of each, by spinning: on two cores the second adds a
quarter, and when another program takes one of them, most of the time is lost.  A shard is computed whole on one thread.
It waits, asleep, where the batch as a whole matters: for the statistics of a batch norm, forward and backward, and at
the end.  torch's operators release Python's lock, so the threads run at once.

What shards exchange, each sees in the order of the shards, and gradients are summed in that order.  So the bits depend
on how many shards there are, but not on how many cores, nor on which of them is busy.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from moga_st.errors import BadInput

T = TypeVar("T")
R = TypeVar("R")


class Shards:
    """``count`` threads.  Within a ``with`` statement they live, and the caller's own operators have one thread too."""

    def __init__(self, count: int):
        self.count = count
        self._change = threading.Condition()
        self._jobs: list[Callable[[], None] | None] = [None] * count
        self._left = 0
        self._values: dict[int, tuple[Any, Any]] = {}
        self._shared: list[Any] = []
        self._rounds = 0
        self._broken = self._closed = False
        self._drawn: Tensor | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Shards:
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(1)
        self._closed = False
        self._threads = [threading.Thread(target=self._work, args=(i,), daemon=True) for i in range(self.count)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
        torch.set_num_threads(self._threads_before)

    def run(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """``[function(part) for part in parts]``, each on its shard's thread; at most ``count`` parts.

        What one of them raises is raised here, once all have ended.
        """
        results: list[Any] = [None] * len(parts)
        errors: list[BaseException] = []

        def job(i: int) -> None:
            try:
                results[i] = function(parts[i])
            except BaseException as error:
                with self._change:
                    errors.append(error)
                    self._broken = True
                    self._change.notify_all()

        with self._change:
            self._values, self._broken, self._left = {}, False, len(parts)
            for i in range(len(parts)):
                self._jobs[i] = lambda i=i: job(i)
            self._change.notify_all()
            self._change.wait_for(lambda: not self._left)
        if errors:
            raise errors[0]  # the others come from waiting for it
        return results

    def gradients(
        self, loss_of: Callable[[Any], Tensor], batch: Any, parameters: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The mean of ``loss_of(part)`` over the shards' parts of ``batch`` (tensors with the examples first, in
        tuples, lists or dicts), and its gradients.

        Raises:
            BadInput: the batch does not divide, or the network draws random numbers of its own.
        """

        def of_part(part: Any) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            loss = loss_of(part) / self.count
            return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

        self._drawn = torch.get_rng_state()
        found = self.run(of_part, self.split(batch))
        if not torch.equal(torch.get_rng_state(), self._drawn):
            raise BadInput(
                "shards: the network or its loss draws random numbers itself, in no fixed order; use 1 shard"
            )

        def total(chosen: range) -> list[Tensor | None]:
            return [_sum([gradients[i] for _, gradients in found]) for i in chosen]

        n = len(parameters)
        sums: list[Tensor | None] = [None] * n
        chosen = [range(i, n, self.count) for i in range(self.count)]
        for places, values in zip(chosen, self.run(total, chosen), strict=True):
            sums[places.start :: self.count] = values
        return torch.stack([loss for loss, _ in found]).sum(), sums

    def split(self, batch: Any) -> list[Any]:
        """Each shard's part of ``batch``."""
        leaves, form = tree_flatten(batch)
        pieces = []
        for leaf in leaves:
            if not isinstance(leaf, Tensor) or not leaf.ndim:
                pieces.append([leaf] * self.count)
            elif len(leaf) % self.count:
                raise BadInput(f"shards: {len(leaf)} examples cannot be divided among {self.count}")
            else:
                pieces.append(leaf.chunk(self.count))
        return [tree_unflatten(list(part), form) for part in zip(*pieces, strict=True)]

    def exchange(self, shard: int, what: Any, value: T) -> list[T]:
        """Every shard's ``value``, in order, once all have called this; ``what`` must be the same for all."""
        with self._change:
            self._values[shard] = what, value
            if len(self._values) == self.count:
                if any(other != what for other, _ in self._values.values()):
                    raise RuntimeError("shards of one batch compute different operators")
                self._shared = [self._values[i][1] for i in range(self.count)]
                self._values = {}
                self._rounds += 1
                self._change.notify_all()
            else:
                rounds = self._rounds
                self._change.wait_for(lambda: self._rounds > rounds or self._broken)
                if self._rounds == rounds:
                    raise RuntimeError("another shard failed")
            return self._shared  # the next round cannot end, and replace it, without this thread

    def rand(self, shard: int, size: int) -> Tensor:
        """This shard's ``size`` of uniform draws for the whole batch: those that the batch would get undivided."""
        draws = torch.rand(size * self.count) if shard == 0 else torch.empty(0)
        if shard == 0:
            self._drawn = torch.get_rng_state()
        return self.exchange(shard, "rand", draws)[0][shard * size : (shard + 1) * size]

    def _work(self, i: int) -> None:
        torch.set_num_threads(1)
        _here.shard = self, i
        while True:
            with self._change:
                self._change.wait_for(lambda: self._jobs[i] is not None or self._closed)
                job, self._jobs[i] = self._jobs[i], None
            if job is None:
                return
            job()
            del job  # with what it holds
            with self._change:
                self._left -= 1
                if not self._left:
                    self._change.notify_all()


_here = threading.local()


def current() -> tuple[Shards, int] | None:
    """The shards that this thread is one of, and its number among them."""
    return getattr(_here, "shard", None)


def _sum(gradients: list[Tensor | None]) -> Tensor | None:
    """In order, and never in place: autograd may give one tensor to two parameters."""
    there = [g for g in gradients if g is not None]
    return functools.reduce(torch.add, there) if there else None


class Spread(nn.Module):
    """A network that computes each batch in shards where nothing is learnt (evaluation).  What else is asked of it,
    such as its ``config``, the network itself answers."""

    def __init__(self, net: nn.Module, shards: Shards):
        super().__init__()
        self.net, self.shards = net, shards

    def forward(self, *inputs: Tensor) -> Tensor:
        def part(piece: tuple[Tensor, ...]) -> Tensor:
            with torch.no_grad():
                return self.net(*piece)

        pieces = zip(*(x.chunk(self.shards.count) for x in inputs), strict=True)
        return torch.cat(self.shards.run(part, list(pieces)))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("net"), name)
