"""One number of components: a champion, its average, experts, challengers, and the challenge that is being prepared."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix import average
from streammix.auto.alarm import Alarm
from streammix.auto.beat import BEAT
from streammix.auto.challenge import Challenge
from streammix.auto.climb import ROW
from streammix.auto.dwell import Dwell
from streammix.auto.events import Events
from streammix.auto.evidence import Paired, add_paired
from streammix.auto.fading import Fading
from streammix.auto.findings import Findings
from streammix.auto.labels import Labels
from streammix.auto.matching import arranged, shared
from streammix.auto.member import Member
from streammix.auto.past import Past
from streammix.auto.reservoir import Kept
from streammix.auto.resolution import Atom
from streammix.auto.settings import Settings
from streammix.auto.succession import heirs
from streammix.auto.verdicts import SUDDEN, is_certain, is_over, leads, matters, shown, trails, wakes, wins
from streammix.core.table import Table
from streammix.running import joined
from streammix.schema import Schema
from streammix.state import State
from streammix.stepsize import RunningMean

__all__ = ["Line"]

FloatArray = NDArray[np.float64]

EXPERTS = (0.02, 0.1)  # steps of the experts, times the number of parameters
FASTEST = 0.01  # step of an expert
SLEEPERS = 3
ENOUGH = 4_000  # records of the stream's beginning that a challenge has to be held on
ANEW = 1_500  # likewise, since an epoch began
SPARED = 4  # times `first`: a champion of the past has been challenged before
LONG_GROWTH = 1.25  # from a challenge to the next, of a stream that dwells
SOON = 500  # records after an alarm until the challenge
TELLING = 5  # parameters of a component and its weight: with fewer, laws that differ can hardly be told from one
THINNER, THIN = 0.005, 0.01  # nats a record that matter, or are too many, where an outlier made the background thinner
PACE = 750_000  # (rows x parameters) that a challenger learns at once of what came meanwhile
SPARE = 2.0  # alarms that have to be left where a challenge's records change
CHALLENGERS = 2


class Line:
    """What runs for one number of components."""

    def __init__(
        self, schema: Schema, champion: State, n_parameters: int, first: int, settings: Settings, n_seen: int
    ) -> None:
        self.schema = schema
        self.settings = settings
        self.n_parameters = n_parameters
        self.champion = Member(schema, champion, settings.step, settings.spread)
        self.average = Member(schema, champion.copy(), settings.step, settings.spread)
        self.times = 0
        steps = self._steps() if settings.experts else []
        self.experts = [Member(schema, champion.copy(), step, settings.spread) for step in steps]
        self.dwell = Dwell()
        self.fading = Fading()
        self.crowns = False  # whether what comes out of the next challenge is champion at once
        self.challengers: list[Member] = []
        self.past = Past()  # of the average
        self.sleepers: list[Member] = []  # champions of the past: they learn nothing, in case it comes back
        self.challenge: Challenge | None = None
        self.alarm = Alarm()
        self.first = first  # records from an epoch's beginning to its first challenge
        self.epoch = 0
        self.next_challenge = n_seen
        self.shown = 0  # 0: the champion, 1: the average, 2 and 3: experts
        self.renewed = n_seen  # when the champion came that is much better than the one before
        self.unit = 1.0  # what a record weighs, by now
        self.surplus = 0.0  # nats a record by which narrow components overstated values, at the end of the last tick
        self.is_young = False  # whether it is so early that each challenge makes the champion, and comes soon
        self.has_started = False  # the first challenge makes the first champion, its labels and all
        self.shaken = n_seen  # when the stream began, or showed that the champion was wrong
        self.tried = -1  # when the last challenge began that is over
        self.findings = Findings()  # of challenges, about the champion
        self.present = 1.0  # the share of cells that are not missing, among the records of the last challenge
        self.labels = Labels(champion.n_components)

    @property
    def n_components(self) -> int:
        """K."""
        return self.champion.state.n_components

    @property
    def members(self) -> list[Member]:
        """All of them."""
        return [self.champion, self.average, *self.experts, *self.challengers, *self.sleepers]

    @property
    def published(self) -> Member:
        """The member that predicts."""
        return self.members[self.shown]

    @property
    def is_long(self) -> bool:
        """Whether all records weigh the same, and nothing chases the present."""
        return not self.settings.alarms or self.dwell.is_on

    @property
    def is_proven(self) -> bool:
        """Whether a challenge of enough records was held since the stream began, or showed the champion to be wrong."""
        return self.tried >= max(self.shaken, ENOUGH, self.epoch + ANEW)

    def _shake(self, n_seen: int) -> None:
        """Take down that the champion was wrong, and hold a challenge soon."""
        self.shaken = n_seen
        self.next_challenge = min(self.next_challenge, n_seen + SOON)

    def _steps(self) -> list[tuple[int, float]]:
        """The experts' steps."""
        return [(1, min(e / max(self.n_parameters, 1), FASTEST)) for e in EXPERTS]

    def look_at_background(self, wider: float, n_seen: int) -> None:
        """Take in that the background's density fell by so many nats; what it made the components should have now."""
        cost = wider * self.published.engine.background
        if not self.is_young and cost > THINNER:
            self.next_challenge = min(self.next_challenge, n_seen + SOON)
            self.shaken = n_seen if cost > THIN else self.shaken

    def come_of_age(self, n_parameters: int, first: int, n_seen: int) -> None:
        """Hold a challenge now, which makes the champion; from now on they become rare, and have to win."""
        self.n_parameters, self.first, self.is_young = n_parameters, first, False
        for expert, step in zip(self.experts, self._steps(), strict=False):
            expert.set_step(step)
        self.challenge, self.next_challenge, self.crowns = None, n_seen, self.has_started

    def set_pace(self) -> None:
        """Let the champion forget, or not, as the stream has it."""
        self.champion.set_step(RunningMean().core if self.dwell.is_on else self.settings.step)

    def _look_for_dwelling(self, n_seen: int, events: Events, dwells: bool | None) -> None:
        before = self.dwell.is_on
        self.dwell.close(may_be=self.settings.experts)
        if dwells is not None:
            self.dwell.is_on = dwells
        if self.dwell.is_on == before:
            return
        events.note(n_seen, "dwells" if self.dwell.is_on else "dwells no more", persistence=self.dwell.look()[0])
        self.set_pace()
        self.challenge, self.challengers, self.shown = None, [], 0
        self.epoch, self.next_challenge = 0 if self.dwell.is_on else n_seen, n_seen
        self.crowns = self.dwell.is_on

    def states(self) -> list[State]:
        """Return all statistics."""
        prepared = [] if self.challenge is None else list(self.challenge.states().values())
        return [member.state for member in self.members] + self.past.states + self.labels.former.states + prepared

    def bind(self) -> None:
        """Bind all engines anew, after arrays were replaced."""
        for member in self.members:
            member.bind()
        if self.challenge is not None:
            self.challenge.bind()

    def halve(self) -> None:
        """Let all records so far weigh half of what they did; those of a challenge keep theirs until it is over."""
        self.unit *= 0.5
        for member in self.members:
            member.state.halve()
        self.past.halve()
        self.labels.former.halve()
        if self.challenge is not None:
            self.challenge.halvings += 1

    def join(self, old: Schema, schema: Schema, part: State, settings: Settings, n_seen: int) -> None:
        """Take in a field, of which `part` is what a single component knows; a challenge in preparation is dropped."""
        self.schema, self.settings = schema, settings
        self.drop_challenge(n_seen)
        for member in self.members:
            member.schema, member.spread = schema, settings.spread
            member.state = joined(member.state, old, schema, shared(part, member.state))
            member.bind()
        self.past.join(old, schema, part)
        self.labels.former.join(old, schema, part)

    def drop_challenge(self, n_seen: int) -> None:
        """Drop the challenge that is being prepared, if there is one, and hold another soon."""
        if self.challenge is not None:
            self.challenge, self.next_challenge = None, n_seen + SOON

    def step(self, table: Table, n: int, weights: FloatArray, averages: bool) -> tuple[FloatArray, FloatArray]:
        """Learn the first n rows; return log densities by the published member, and the champion's responsibilities."""
        members = self.members
        scores, scratch = np.empty((len(members), n)), np.empty((n, self.n_components))
        champion, responsibilities = scores[0], np.empty_like(scratch)
        self.champion.learn(table, n, weights, responsibilities, champion)
        self.unit = float(weights[:n].max()) if self.settings.by_time else 1.0
        self.alarm.add(champion)
        self.dwell.add(responsibilities)
        for member, own in zip(members[1:], scores[1:], strict=True):
            if member is self.average or member in self.sleepers:
                member.engine.accumulate(table, 0, n, out_lp=own)
            else:
                member.learn(table, n, weights, scratch, own)
        add_paired([member.scores for member in members[1:]], scores[1:] - champion)
        if averages:
            self._average()
        return scores[self.shown], responsibilities

    def _average(self) -> None:
        self.times += 1
        own = self.average
        if not self.settings.averages or own.state.mass_units != self.champion.state.mass_units:
            own.state = self.champion.state.copy()
            own.bind()
        else:
            average.take_in(own.engine, own.state, self.champion.state, self.times)

    def judge(self, n_seen: int, tick: int, events: Events, kept: Kept, dwells: bool | None) -> None:
        """End a tick: experts, alarm, challengers, who is published, and whether it dwells, where nobody has said."""
        for member in self.members[1:]:
            member.scores.close()
        z = self.alarm.close(n_seen, tick, self.is_long)
        self._look_for_dwelling(n_seen, events, dwells)
        if self.is_long and not z and self.challenge is None and self.dwell.is_left:
            z = self.alarm.sound(n_seen)
        if not self.is_long:
            z = 0.0 if self._wake(n_seen, events, kept) else z
            self._judge_experts(n_seen, events)
        if z:
            self._lay_down(n_seen, events)
            if not self.is_long:
                self._begin_epoch(n_seen, n_seen - self.alarm.since())
            self._shake(n_seen)
            events.note(n_seen, "alarm", z=z, since=self.epoch)
        self._judge_challengers(n_seen, events, kept)
        self.findings.settle(n_seen, self.challengers)
        self.past.take(n_seen, tick, self.labels.own, self.average.state)
        self._publish()
        if self._look_who_starves(n_seen) and self.challenge is None:
            self.next_challenge = min(self.next_challenge, n_seen + SOON)

    def _look_who_starves(self, n_seen: int) -> bool:
        """Take in how many records each component rests on; tell whether one starves and nobody has looked why."""
        counts = self.champion.state.counts[0, : self.n_components]
        return self.fading.look(self.labels.own, counts.tolist(), n_seen)

    def effective_records(self, n_seen: int) -> float:
        """How many records of the epoch the champion rests on: those its statistics hold, or its step remembers."""
        kind, step = self.settings.step
        state = self.champion.state
        n = min(float(n_seen - self.epoch), float(state.starts[0] + state.clocks[0]) / self.unit)
        return min(n, 2 / step - 1) if kind == 1 and not self.settings.by_time else n

    def _begin_epoch(self, n_seen: int, epoch: int) -> None:
        """Let what is known of the stream begin at a record, and challenge the champion soon."""
        self.epoch = max(epoch, 0)
        self.next_challenge = n_seen + SOON
        self.challenge, self.findings = None, Findings()

    def _judge_experts(self, n_seen: int, events: Events) -> None:
        ranked = sorted(enumerate(self.experts), key=lambda one: -one[1].scores.last(1)[0])
        for number, expert in ranked:
            found = leads(expert.scores)
            if found is not None:
                mean, z = found
                state = expert.state.copy()
                state.starts[:] = np.minimum(1.0 / expert.step[1], state.starts + state.clocks)
                state.clocks[:] = 0.0
                self._lay_down(n_seen, events)
                is_grave = matters(expert.scores)
                self._crown(state, expert.scores, n_seen, mean)
                if is_grave:
                    self._shake(n_seen)
                events.note(n_seen, "restart", expert=number, z=z, gain=mean)
                return
            if trails(expert.scores):
                expert.become(self.champion.state)

    def _lay_down(self, n_seen: int, events: Events) -> None:
        """Keep what the champion was: its average before it was wrong, where it has had time to become one."""
        law = self.past.oldest
        if law is not None and not events.is_silent:
            self.labels.former.add(*law)
        if law is not None and self.settings.averages and not self.is_long:
            sleeper = self.member(law.state.copy(), n_seen, {"proven": self.is_proven, "labels": law.labels})
            self.sleepers = [*self.sleepers, sleeper][-SLEEPERS:]

    def _wake(self, n_seen: int, events: Events, kept: Kept) -> bool:
        """Let a champion of the past be the champion again where it predicts clearly better; tell whether one is."""
        for sleeper in sorted(self.sleepers, key=lambda one: -one.scores.last(1)[0]):
            found = wakes(sleeper.scores, self.n_parameters)
            if found is not None:
                self.sleepers.remove(sleeper)
                self._lay_down(n_seen, events)
                self.challengers = []  # they are of what is over
                self._succeed(sleeper, sleeper.about["labels"], found[0], n_seen, events, kept)
                self._begin_epoch(n_seen, n_seen - self.alarm.since())
                if sleeper.about["proven"]:
                    self.next_challenge = n_seen + SPARED * self.first
                self.alarm.forget()
                events.note(n_seen, "recurrence", since=sleeper.born, z=found[1], gain=found[0])
                return True
        return False

    def member(self, state: State, n_seen: int, about: Any = None) -> Member:
        """Return a member that steps as the champion does, born now."""
        return Member(self.schema, state, self.champion.step, self.settings.spread, n_seen, about)

    def _judge_challengers(self, n_seen: int, events: Events, kept: Kept) -> None:
        for challenger in list(self.challengers):
            age = n_seen - challenger.born
            found = wins(challenger.scores, age, self.is_long)
            if found is not None:
                self._take_over(challenger, n_seen, found[1], found[0], events, kept)
                return
            if is_over(challenger.scores, age, self.is_long):
                self.challengers.remove(challenger)

    def _take_over(self, challenger: Member, n_seen: int, z: float, gain: float, events: Events, kept: Kept) -> None:
        """Let a challenger be the champion, its components in the places of those that they go on from."""
        self.challengers.remove(challenger)
        events.note(n_seen, "take-over", by=challenger.about, z=z, gain=gain)
        self._succeed(challenger, [], gain, n_seen, events, kept)
        self._look_who_starves(n_seen)
        self.fading.settle(n_seen)  # a challenge has put them there
        if gain > SUDDEN:  # else what is usual is nearly the same
            self.alarm.forget()
        if is_certain(gain, z) and not self.is_young and not self.is_long:
            self._shake(n_seen)

    def _succeed(
        self, member: Member, mine: Sequence[int], gain: float, n_seen: int, events: Events, kept: Kept
    ) -> None:
        """Let a member be the champion, its components in the places of those that they go on from."""
        order, found = heirs(self, member.engine, mine, kept)
        if not events.is_silent and not set(self.labels.own) <= set(found):
            self.labels.former.add(self.labels.own, self.champion.state)
        self.labels.take_over(found, n_seen, events)
        self._crown(arranged(member.state, order), member.scores, n_seen, gain)

    def _crown(self, state: State, scores: Paired, n_seen: int, gain: float) -> None:
        """Make a state, which had these scores against the champion, the champion's; experts begin anew from it."""
        self.champion.become(state)
        self.average.become(state)
        self.times = 0
        if gain > SUDDEN:
            self.past, self.renewed, self.findings = Past(), n_seen, Findings()
        for expert in self.experts:
            expert.become(state)
        for other in [*self.challengers, *self.sleepers]:
            other.scores = other.scores.against(scores)
        self.shown = 0
        self.findings.forget()

    def _publish(self) -> None:
        self.shown = 0 if self.is_long else shown([member.scores for member in (self.average, *self.experts)])

    def is_due(self, n_seen: int) -> bool:
        """Tell whether a challenge begins now."""
        return self.challenge is None and n_seen >= self.next_challenge

    def prepare(
        self, n_seen: int, kept: Kept, rng: np.random.Generator, events: Events, atoms: Sequence[Atom] = ()
    ) -> None:
        """Do a slice of the work on a challenge, where there is one or it is time for one."""
        made = self.challenge
        if made is None:
            if self.is_due(n_seen):
                self._set_out(n_seen, kept, rng, atoms)
        elif made.stage != "over":
            made.work()
            if (
                self.has_started
                and not (self.is_young or self.is_long)
                and made.since > self.epoch
                and self.alarm.tokens >= SPARE
            ):
                self._begin_again(made.since, n_seen, events)
        elif self.is_young or self._catch_up(made, n_seen, kept):
            self.challenge = None
            self._let_run(made, n_seen, events, kept)

    def _set_out(self, n_seen: int, kept: Kept, rng: np.random.Generator, atoms: Sequence[Atom]) -> None:
        """Begin a challenge."""
        self._schedule(n_seen)
        rows, weights = (kept.sample if self.is_long else kept.last).last(n_seen - self.epoch)
        if len(rows) < 2 * self.n_components + 20:
            return
        self.present = float(1.0 - np.isnan(rows).mean())
        state, spread, seed = self.published.state, self.settings.spread, int(rng.integers(2**31))
        self.challenge = Challenge(self.schema, state, rows, weights, self.n_parameters, spread, seed, atoms)
        self.challenge.born = self.challenge.learnt = n_seen
        self.challenge.labels = list(self.labels.own)

    def _begin_again(self, since: int, n_seen: int, events: Events) -> None:
        """Let an epoch begin where the records of a challenge change: it proves nothing, and another comes after it."""
        self.alarm.tokens -= 1.0
        self.epoch, self.shaken, self.next_challenge, self.findings = since, n_seen, n_seen, Findings()
        events.note(n_seen, "change", since=since)

    def _catch_up(self, made: Challenge, n_seen: int, kept: Kept) -> bool:
        """Let what came out of a challenge learn records that came meanwhile; tell whether those were the last."""
        made.settle()
        if self.is_long and made.learnt == made.born:
            made.state.starts *= max(1.0, made.born / made.n)
        pace = max(PACE // (self.n_parameters + ROW) // BEAT, 1) * BEAT
        end = min(made.learnt + pace, n_seen)
        rows, weights = kept.last.between(made.learnt, end)
        self.member(made.state, n_seen).catch_up(rows, weights, BEAT)
        made.learnt = end
        return end == n_seen

    def _let_run(self, made: Challenge, n_seen: int, events: Events, kept: Kept) -> None:
        """Let what came out of a challenge run beside the champion; of the first one, be the champion."""
        made.settle()
        gain, z, move = made.chosen
        if made.born >= self.renewed:  # else it says nothing of the champion that there is
            self.findings.take((gain, z), made.lag, n_seen)
        self.fading.settle(made.born)
        self.tried = made.born
        merged, _, merger = made.merger
        pair = (
            [made.labels[k] for k in merger[1:]] if merger and self.n_parameters >= TELLING * self.n_components else []
        )
        self.findings.compare(pair, merged, made.n_training)
        about = {"move": "refresh" if move is None else move[0], "gain": round(gain, 6), "z": round(z, 3)}
        if not self.has_started:
            self.has_started = True
            self._crown(made.state, Paired(), n_seen, np.inf)
            self.alarm.forget()
            return
        if len(self.challengers) == CHALLENGERS:
            self.challengers.pop(0)
        self.challengers.append(self.member(made.state, n_seen, about))
        if self.crowns or self.is_young or (self.is_long and is_certain(gain + made.lag[0], max(z, made.lag[1]))):
            self.crowns = False
            self._take_over(self.challengers[-1], n_seen, z, gain, events, kept)

    def _schedule(self, n_seen: int) -> None:
        """Set the next challenge: an epoch's are at `first`, twice, four times, … as many records, not soon again."""
        distance, n = float(self.first), n_seen - self.epoch
        while distance <= (n if self.is_long else n + n // 4):
            distance *= LONG_GROWTH if self.is_long else 2.0
        self.next_challenge = self.epoch + round(distance)
