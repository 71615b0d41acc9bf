"""``python -m benchmarks.quality.broken``: streams that end where a model can't be right yet; does it say so?"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.quality.__main__ import RESULTS
from benchmarks.quality.kinds import KINDS
from benchmarks.quality.reference import mean_log_density, reference
from benchmarks.quality.runs import LIMIT, drawn, make
from benchmarks.quality.streams import sorted_start
from benchmarks.quality.tables import table

__all__ = ["WAYS", "Judgement", "Way", "judgements", "main", "summary"]

RECORDS = 30_000
AFTER = (250, 500, 1_000, 2_000, 4_000)  # records after what breaks a stream, at which the model is judged
STILL = ("near_singular", "unit_square", "iris", "wine", "close", "rare", "poisson", "levels", "gaps")


class Way(NamedTuple):
    """A way to break streams: kinds, whether the start is sorted, and when it is over."""

    kinds: tuple[str, ...]
    is_sorted: bool
    over: int


WAYS = {
    "few records": Way(STILL, False, 750),
    "a sorted start is over": Way(STILL, True, RECORDS // 5),
    "the law has changed": Way(("abrupt", "appears"), False, RECORDS // 2),
    "the law has changed back": Way(("recurs",), False, RECORDS // 4 * 3),
}


class Judgement(NamedTuple):
    """What a model is, and says, at a place in a stream."""

    way: str
    kind: str
    seed: int
    at: int
    gap: float
    signs: tuple[str, ...]


def judgements(way: str, kind: str, seed: int, directory: Path) -> Iterator[Judgement]:
    """Learn a stream by default settings, and judge the model at the places after what breaks it."""
    stream, (_, is_sorted, over) = drawn(kind, seed, RECORDS), WAYS[way]
    best = max(reference(kind, KINDS[kind], stream, seed, directory))
    model = make("auto", KINDS[kind].n_components, KINDS[kind].fields, seed)
    ordered = (sorted_start(stream) if is_sorted else stream).table.slice(0, over + AFTER[-1])
    for n, record in enumerate(ordered.to_pylist(), 1):
        model.learn_one(record)
        if n - over in AFTER:
            gap = best - mean_log_density(model, stream.held_out)
            yield Judgement(way, kind, seed, n, gap, tuple(one["sign"] for one in model.warnings))


def summary(found: Sequence[Judgement]) -> Iterable[tuple[str, ...]]:
    """Return a line for each way, and one for all."""
    for way in [*WAYS, "all"]:
        own = [one for one in found if way in (one.way, "all")]
        failures = [one for one in own if one.gap > LIMIT]
        missed = [one for one in failures if not one.signs]
        worst = f"{max(one.gap for one in missed):.3f}" if missed else ""
        share = f" ({len(missed) / len(failures):.1%})" if failures else ""
        warned = sum(bool(one.signs) for one in own if one.gap <= LIMIT)
        yield way, str(len(own)), str(len(failures)), f"{len(missed)}{share}", worst, str(warned)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every failure that went unsaid, and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.broken", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="streams of each kind (4)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the batch fits are kept")
    options = parser.parse_args(arguments)
    found: list[Judgement] = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for name, way in WAYS.items():
            for kind in way.kinds:
                for one in judgements(name, kind, seed, options.output / "references"):
                    found.append(one)
                    if one.gap > LIMIT and not one.signs:
                        print(
                            f"unsaid: {name}, {kind}, seed {seed}, after {one.at} records: gap {one.gap:.3f}",
                            flush=True,
                        )
    head = ("", "judged", "failures", "unsaid", "worst of these", "right, but in doubt")
    print("\n".join(table(head, summary(found))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
