"""Event time in a pipeline: the field that it is read from."""

import numpy as np
import pytest
from pipeline_tools import run, state_of, write_config, write_ndjson

FORGETS = {
    "plain": 'step_size = { step_size = "HalfLife", time = "1h", field = "at" }',
    "auto": 'kind = "auto"\ndrift = { time = "1h", field = "at" }',
}
DECLARED = '[model.fields]\nx = "Normal"\n'


def model(kind, fields=""):
    return f"[model]\nn_components = 1\nwarm_up = 50\nseed = 1\n{FORGETS[kind]}\n{fields}"


@pytest.fixture
def place(tmp_path):
    """A directory with 600 events, a minute from one to the next, whose mean goes up halfway."""
    rng = np.random.default_rng(5)
    records = [{"x": float(rng.normal(10.0 * (i >= 300), 1.0)), "at": 1.7e9 + 60 * i} for i in range(600)]
    write_ndjson(tmp_path / "events.ndjson", records)
    return tmp_path


@pytest.mark.parametrize("fields", [DECLARED, ""])
@pytest.mark.parametrize("kind", FORGETS)
def test_time_is_read_from_a_field_that_is_kept_from_the_model(kind, fields, place):
    source = 'kind = "file"\npath = "events.ndjson"'
    write_config(place, source, model=model(kind, fields))
    assert run(place)[0] == 0
    as_it_is = state_of(place / "state")
    write_config(place, source + '\nignore = ["at"]', model=model(kind, fields))
    (place / "state").rename(place / "before")
    status, shown, said = run(place)
    assert (status, "nothing is forgotten" in said) == (0, False)
    assert state_of(place / "state") == as_it_is
    assert "at" not in shown.split()


@pytest.mark.parametrize("kind", FORGETS)
def test_a_time_that_no_record_has_is_warned_of_once(kind, place):
    source = 'kind = "file"\npath = "events.ndjson"\nignore = ["at"]'
    write_config(place, source, every=100, model=model(kind).replace('"at"', '"nope"'))
    status, _, said = run(place)
    assert status == 0
    assert said.count("no record so far has a time in the field 'nope', by which [model] forgets") == 1


def test_a_field_that_is_declared_is_not_kept_from_the_model(place):
    source = 'kind = "file"\npath = "events.ndjson"\nignore = ["at", "x"]'
    write_config(place, source, model=model("plain", DECLARED))
    status, _, said = run(place)
    assert (status, "[source] ignore: the model declares the field 'x'" in said) == (2, True)
