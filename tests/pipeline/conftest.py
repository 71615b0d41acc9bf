"""The command line sends the log to its standard error, which in tests is gone after the test."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _log_as_it_was():
    log = logging.getLogger("streammix")
    handlers, level = list(log.handlers), log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)
