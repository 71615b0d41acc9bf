"""What the tests of the pipeline share."""

import logging

import pytest
from pipeline_tools import FILES, SINKS, events, write_config, write_ndjson


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """The command line sends the log to its standard error, which is gone after the test."""
    log = logging.getLogger("streammix")
    handlers, level = list(log.handlers), log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)


@pytest.fixture
def place(tmp_path):
    """A directory with 1,200 events and a configuration."""
    write_ndjson(tmp_path / "events" / "a.ndjson", events(1200))
    write_config(tmp_path, FILES, SINKS)
    return tmp_path
