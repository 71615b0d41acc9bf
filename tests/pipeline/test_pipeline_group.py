"""Members of a consumer group that die, or are given up, between a checkpoint and the group's hearing of it."""

import json
import uuid

import pytest
from pipeline_tools import events, lines_of, run, state_of, write_config, write_ndjson

from streammix.errors import UnavailableError, UnheardError
from streammix.pipeline.commands import run as run_here
from streammix.pipeline.kafka_link import KafkaLink
from streammix.pipeline.sources.kafka import KafkaSource

SINKS = '[[sink]]\nkind = "parquet"\npath = "scored"\n[[sink]]\nkind = "ndjson"\npath = "scored.ndjson"\n'
SETTINGS = {"heartbeat.interval.ms": 200}


class Killed(BaseException):
    """A crash: nobody catches it."""


@pytest.fixture
def topic(kafka_server):
    """A topic of three partitions with 1,200 records."""
    name = f"events-{uuid.uuid4().hex[:12]}"
    kafka_server.fill(name, [json.dumps(record).encode() for record in events(1200)])
    return name


@pytest.fixture
def member(kafka_server, topic):
    """Return what opens members of one group, which are closed after the test."""
    group, opened = uuid.uuid4().hex, []

    def make(position=None):
        link = KafkaLink(kafka_server.brokers, SETTINGS)
        opened.append(KafkaSource(link, [topic], position, group, stop_at_end=True))
        return opened[-1]

    yield make
    for source in opened:
        source.close()


def read(source, n):
    """Read n records; return the position as a checkpoint holds it."""
    while n:
        n -= len(source.read(n))
    return json.loads(json.dumps(source.position()))


def is_at_end(source):
    """Tell whether no record comes before the end."""
    while (batch := source.read(10)) is not None:
        if len(batch):
            return False
    return True


def left_unheard(member):
    """Where a member stood that the group has heard of, and where it stood when it ended."""
    first = member()
    heard = read(first, 100)
    first.acknowledge()
    unheard = read(first, 50)
    first.close()
    return heard, unheard


def test_others_went_on_from_the_checkpoint_before(member):
    heard, unheard = left_unheard(member)
    second = member()
    rest = read(second, 1100)
    second.acknowledge()
    second.close()
    with pytest.raises(UnheardError, match="did not hear of the last checkpoint before others went on"):
        member(unheard)
    source = member(heard)
    assert is_at_end(source)
    assert source.position()["offsets"] == rest["offsets"]


def test_another_has_the_partition_and_has_read_nothing_yet(member):
    _, unheard = left_unheard(member)
    second = member()
    while not second._partitions:
        second._fetch()
    with pytest.raises(UnheardError):
        member(unheard)


def test_nobody_went_on(member):
    _, unheard = left_unheard(member)
    second = member()
    read(second, 70)  # of which no checkpoint knows
    second.close()
    source = member(unheard)
    assert read(source, 1050)
    assert is_at_end(source)


def test_a_member_that_was_given_up_hears_of_it(member, topic):
    first = member()
    read(first, 100)
    first._consumer.unsubscribe()
    second = member()
    while not second._partitions:
        second._fetch()
    with pytest.raises(UnavailableError, match="has given our partitions to others"):
        first.acknowledge()
    assert read(second, 1200)


def test_what_others_have_read_is_not_read_again_by_an_older_checkpoint(member):
    first = member()
    older = read(first, 100)
    first.acknowledge()
    first.close()
    second = member()
    read(second, 300)
    second.acknowledge()
    second.close()
    again = member(older)
    read(again, 50)  # after the others' 300
    again.close()
    rest = member(older)
    read(rest, 800)
    assert is_at_end(rest)


def test_a_member_whose_newest_checkpoints_are_gone(member, caplog):
    first = member()
    older = read(first, 100)
    first.acknowledge()
    read(first, 100)
    first.acknowledge()
    first.close()
    second = member()
    read(second, 50)
    second.acknowledge()
    second.close()
    source = member(older)
    while not source._partitions:
        source._fetch()
    assert "the checkpoints of 100 to 200 are gone, and others have gone on since" in caplog.text
    assert sum(source.position()["offsets"].values()) == 250


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_killed_before_the_group_heard_of_a_checkpoint(is_taken_over, topic, kafka_server, tmp_path, monkeypatch):
    source = kafka_server.source(topic, f'group = "{uuid.uuid4().hex}"\nstop_at_end = true')
    places = [tmp_path / name for name in ("first", "second")]
    for place in places:
        place.mkdir()
        write_config(place, source, SINKS, every=150)
    acknowledge, calls = KafkaSource.acknowledge, []

    def acknowledge_or_die(self):
        calls.append(self)
        if len(calls) == 4:
            raise Killed
        acknowledge(self)

    with monkeypatch.context() as patched:
        patched.setattr(KafkaSource, "acknowledge", acknowledge_or_die)
        with pytest.raises(Killed):
            run_here(places[0] / "pipeline.toml")
    for place in places[::-1] if is_taken_over else places[:1]:
        status, _, said = run(place)
        assert status == 0, said
    assert ("going back to the one before, after 300 records" in said) is is_taken_over
    assert "resuming after 450 records" in said
    rows = [lines_of(place / "scored.ndjson") for place in places]
    assert [len(part) for part in rows] == ([300, 900] if is_taken_over else [1200, 0])
    positions = [(row["position"]["source"], row["position"]["offset"]) for part in rows for row in part]
    assert len(set(positions)) == 1200

    status, _, said = run(places[0])
    assert status == 0
    assert "found nothing new" in said
    texts = dict(zip(positions_of(kafka_server, topic), events(1200), strict=True))
    write_ndjson(tmp_path / "whole" / "events.ndjson", [texts[position] for position in positions[: len(rows[0])]])
    write_config(tmp_path / "whole", 'kind = "file"\npath = "events.ndjson"', SINKS, every=150)
    assert run(tmp_path / "whole")[0] == 0
    ours, theirs = (state_of(tmp_path / name / "state") for name in ("first", "whole"))
    assert {name for name in ours if ours[name] != theirs[name]} <= {"positions", "outputs"}


def positions_of(broker, topic):
    """Return where `fill` has put 1,200 records."""
    next_offset, found = [0, 0, 0], []
    for i in range(1200):
        partition = min(i % 4, 2)
        found.append((f"{topic}/{partition}", next_offset[partition]))
        next_offset[partition] += 1
    return found
