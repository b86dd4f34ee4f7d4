"""``make fuzz``: thousands of damaged files for every reader, in processes with limits on time and memory.

python -m tests.fuzz [--inputs N] [--seed S] [--record FILE] [READER...]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from moga_st.record import provenance
from moga_st.storage import write_json
from tests.fuzz_edits import Edit, Reader, outcome, spoilt
from tests.fuzz_readers import READERS

SECONDS, BYTES = 10, 2 * 2**30
"""What one input may take: of a processor, and beyond what Python and torch have taken before."""
AT_ONCE = 40  # inputs a process


def random_edits(rng: random.Random) -> list[Edit]:
    return [(rng.randrange(7), rng.random(), rng.randrange(10_000)) for _ in range(rng.choice((1, 1, 1, 2, 3, 6)))]


def _run_some(reader: Reader, seeds: list[int], report: Any) -> None:
    """In a process of its own: a line of JSON for each input."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            rng = random.Random(seed)
            content = spoilt(reader, rng.randrange(1000), random_edits(rng))
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # which kills
            signal.alarm(20 * SECONDS)  # also what waits for ever; a busy machine may need some time
            start = time.monotonic()
            result = "unwritable" if content is None else outcome(reader, content, Path(folder))
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            report.write(json.dumps([seed, result, time.monotonic() - start]) + "\n")
            report.flush()


def run_reader(name: str, seeds: list[int]) -> tuple[Counter[str], list[str], float]:
    """Outcomes of a reader, by kind; what went wrong, for people; and the longest time of one input."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    longest, left = 0.0, list(seeds)
    while left:
        some = left[:AT_ONCE]
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(ours)
            with os.fdopen(theirs, "w") as report:
                _run_some(READERS[name], some, report)
            os._exit(0)
        os.close(theirs)
        with os.fdopen(ours) as lines:
            done = [json.loads(line) for line in lines]
        _, status = os.waitpid(child, 0)
        for seed, result, seconds in done:
            kind = result if result in ("accepted", "refused", "unwritable") else "error"
            counts[kind] += 1
            longest = max(longest, seconds)
            if kind == "error":
                wrong.append(f"{name} seed {seed}: {result[:300]}")
        left = left[len(done) :]
        if len(done) < len(some):
            late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGPROF)
            kind = "too long" if late else f"killed ({status})"
            counts[kind] += 1
            wrong.append(f"{name} seed {some[len(done)]}: {kind}")
            left = left[1:]
    return counts, wrong, longest


def run_readers(names: list[str], seeds: list[int], jobs: int) -> Iterator[tuple[str, Counter[str], list[str], float]]:
    """What :func:`run_reader` gives for each, so many at once."""
    ours, theirs = os.pipe()
    workers = []
    for job in range(jobs):
        workers.append(os.fork())
        if not workers[-1]:
            os.close(ours)
            with os.fdopen(theirs, "w") as report:
                for name in names[job::jobs]:
                    report.write(json.dumps([name, *run_reader(name, seeds)]) + "\n")
                    report.flush()
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as lines:
        for line in lines:
            name, counts, wrong, longest = json.loads(line)
            yield name, Counter(counts), wrong, longest
    for worker in workers:
        os.waitpid(worker, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("readers", nargs="*", default=list(READERS))
    parser.add_argument("--inputs", type=int, default=7200, help="files in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="readers at once")
    parser.add_argument("--record", type=Path, help="write the counts here, as JSON")
    args = parser.parse_args()
    each, counts, wrong = -(-args.inputs // len(args.readers)), {}, []
    first = args.seed * 10**9
    seeds = list(range(first, first + each))
    for name, found, bad, longest in run_readers(args.readers, seeds, args.jobs):
        counts[name] = {**dict(sorted(found.items())), "longest_s": round(longest, 2)}
        wrong += bad
        print(f"{name:16} {counts[name]}", *bad, sep="\n  ", flush=True)
    total = sum(v for c in counts.values() for k, v in c.items() if k != "longest_s")
    print(f"{total} files, {len(wrong)} of them neither read nor refused")
    if args.record:
        made_by = provenance(torch.device("cpu"))
        record = {
            "files": total,
            "wrong": len(wrong),
            "readers": counts,
            "limits": {"seconds": SECONDS, "bytes": BYTES},
        }
        write_json(
            args.record, {**record, "seed": args.seed, "argv": [Path(sys.argv[0]).name, *sys.argv[1:]], **made_by}
        )
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
