"""``python -m benchmarks.quality [KIND ...]``: learn streams in one pass, judge them by batch fits, write tables."""

import argparse
import functools
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from benchmarks.quality.kinds import KINDS
from benchmarks.quality.runs import MODELS, Run, runs
from benchmarks.quality.tables import line, to_json, to_markdown

RESULTS = Path(__file__).parents[1] / "results" / "quality"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 2 where a name is unknown."""
    options = _parser().parse_args(arguments)
    unknown = set(options.kinds) - set(KINDS)
    if options.list or unknown:
        print("\n".join(f"{name:<15}{kind.title}" for name, kind in KINDS.items()))
        return 2 if unknown else 0
    chooses = {"given": (False,), "chosen": (True,), "both": (False, True)}[options.components]
    one = functools.partial(
        _one, n=options.records, model=options.model, chooses=chooses, directory=options.output / "references"
    )
    tasks = [
        (name, seed)
        for seed in range(options.first_seed, options.first_seed + options.seeds)
        for name in options.kinds or KINDS
    ]
    done: list[Run] = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for future in as_completed([pool.submit(one, *task) for task in tasks]):
            done += future.result()
            print("\n".join(map(line, future.result())), flush=True)
            text = _write(done, options.model, options.output)
    print(text)
    return 0


def _write(done: list[Run], model: str, directory: Path) -> str:
    """Write what is done so far, as tables and as JSON; return the tables."""
    order = list(KINDS)
    done.sort(key=lambda run: (order.index(run.kind), run.seed, run.order, run.chooses))
    text = to_markdown(done, model)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{model}.md").write_text(text, encoding="utf-8")
    (directory / f"{model}.json").write_text(to_json(done), encoding="utf-8")
    return text


def _one(name: str, seed: int, n: int, model: str, chooses: tuple[bool, ...], directory: Path) -> list[Run]:
    return list(runs(name, seed, n, model, chooses, directory))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("kinds", nargs="*", help="kinds of streams; all where left out")
    parser.add_argument("--list", action="store_true", help="list the kinds")
    parser.add_argument("--seeds", type=int, default=12, help="streams of each kind (12)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--records", type=int, default=30_000, help="records of a stream (30000)")
    parser.add_argument("--model", choices=MODELS, default="auto", help="AutoMixture or plain Mixture (auto)")
    parser.add_argument(
        "--components",
        choices=("given", "chosen", "both"),
        default="given",
        help="whether K is given or chosen (given)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where to write (benchmarks/results/quality)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
