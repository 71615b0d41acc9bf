"""What paired scores say of those that run beside the champion: who leads, trails, wakes, wins or is over."""

from collections.abc import Sequence

from streammix.auto.evidence import Paired

__all__ = ["MATTERS", "SUDDEN", "is_certain", "is_over", "leads", "matters", "shown", "trails", "wakes", "wins"]

Gain = tuple[float, float]  # nats a record, and z

RECENT = 6  # ticks over which experts are judged
LEADS, TRAILS, LEAST = 2.5, -3.0, 0.0005  # an expert takes over at z and nats a record, or starts again at z
MATTERS = 0.01  # nats a record by which a champion was wrong: slow drift, which experts follow, brings less for ever
SHOWN = 1.0  # z at which the average or an expert is published
SOONEST = 2  # ticks that say so, at least: under steady drift there are never many between two restarts
FAMILIAR = 1 / 4_000  # nats a record and parameter that records which come again give what learnt them before
WINS = 2.0  # z at which a challenger becomes champion
SUDDEN = 0.02  # nats a record that matter at once
CERTAIN = 5.0  # z
EARLY = ((1, 5.0), (2, 3.5))  # (ticks, z) that are enough before
YOUNG = 4_000  # records up to which four ticks say it
LONG = 8  # ticks that a challenger has to run where nothing chases the present
OLD = 20_000  # records after which a challenger goes
HOPELESS = -4.0  # z
ALIKE = 2e-4  # nats a record: as good as at the same optimum


def leads(scores: Paired) -> Gain | None:
    """Return by how much an expert leads that is to take over; None where it is not."""
    mean, z = scores.last(RECENT)
    if z > LEADS and mean > LEAST:
        return mean, z
    return _early(scores, SUDDEN)


def matters(scores: Paired) -> bool:
    """Tell whether the champion was wrong by more than slow drift makes it, which experts follow for ever."""
    mean, z = scores.last(RECENT)
    return (mean > MATTERS and z > LEADS) or _early(scores, MATTERS) is not None


def trails(scores: Paired) -> bool:
    """Tell whether an expert is to start again from the champion."""
    return scores.last(RECENT)[1] < TRAILS


def is_certain(mean: float, z: float) -> bool:
    """Tell whether a gain is so large and sure that the champion must have been wrong."""
    return mean > SUDDEN and z > CERTAIN


def wakes(scores: Paired, n_parameters: int) -> Gain | None:
    """Return by how much a champion of the past leads that is to be champion again; None where it is not."""
    return _early(scores, max(SUDDEN, n_parameters * FAMILIAR))


def wins(scores: Paired, age: int, is_long: bool) -> Gain | None:
    """Return by how much a challenger leads that is to be champion; None where it is not."""
    recent, long_run = _recent(scores, age, is_long)
    if recent[1] > WINS or (long_run[1] > WINS and scores.n_ticks >= 4):
        return recent if recent[1] >= long_run[1] else long_run
    return None


def is_over(scores: Paired, age: int, is_long: bool) -> bool:
    """Tell whether a challenger is to go: too old, at the same optimum, or hopeless."""
    recent, (long_mean, long_z) = _recent(scores, age, is_long)
    is_alike = scores.n_ticks >= 10 and abs(long_z) < 1.0 and abs(long_mean) < ALIKE
    return age > OLD or is_alike or min(recent[1], long_z) < HOPELESS


def shown(rivals: Sequence[Paired]) -> int:
    """Return who is published: 0 for the champion, 1 for the first of the rivals, and so on."""
    best, found = 0.0, 0
    for i, scores in enumerate(rivals, 1):
        mean, z = scores.last(min(max(scores.n_ticks, SOONEST), RECENT))
        if z > SHOWN and mean > best:
            best, found = mean, i
    return found


def _early(scores: Paired, enough: float) -> Gain | None:
    """Return a gain over so few ticks that it has to be clear; None where it is not."""
    for ticks, least in EARLY:
        mean, z = scores.last(ticks)
        if z > least and mean > enough:
            return mean, z
    return None


def _recent(scores: Paired, age: int, is_long: bool) -> tuple[Gain, Gain]:
    """Return a challenger's gain of late, and in the long run."""
    long_run = scores.long_run()
    if is_long:  # records that follow one another say less than their number
        mean, z = scores.by_ticks()
        z = z if scores.n_ticks >= LONG else 0.0
        return (mean, z), (long_run[0], z)
    recent = scores.last(4 if age <= YOUNG else 8)
    for ticks, least in EARLY:
        early, early_z = scores.last(ticks)
        if early_z > max(least, recent[1]):
            recent = early, early_z
    return recent, long_run
