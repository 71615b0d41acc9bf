"""NDJSON in, NDJSON out, as bytes: the body of a request, scored by a model that stands still.

One line comes back for each, in order, and a bad record is answered by an error in its place. The work is done in steps
of some thousand records, between which others have their turn.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streammix.core.json_lines import line_ends
from streammix.errors import RecordError
from streammix.mixture import Mixture
from streammix.pipeline.decode import JsonDecoder
from streammix.pipeline.evaluating import evaluate
from streammix.pipeline.flow import Batch, Lines, Scored

__all__ = ["AT_ONCE", "MOST", "Step", "score_lines"]

Step = tuple[list[bytes], int, int]  # parts of the answer, and how many records were scored and refused
AT_ONCE = 4096
MOST = 1 << 18  # records, which the bound on a request's bytes stands for but where they are tiny
MOST_REASONS = 1000

_encoder = msgspec.json.Encoder()


class _Answer(msgspec.Struct):
    component: int
    responsibilities: list[float]
    score: float


class _LabelledAnswer(_Answer):
    label: int
    outlier: float


class _Error(msgspec.Struct):
    error: str


def score_lines(model: Mixture, body: bytes) -> Iterator[Step]:
    """Score NDJSON, step by step.

    Yields
    ------
    answers
        NDJSON: ``{"component": …, "responsibilities": […], "score": …}``, of an `AutoMixture` with ``"label": …,
        "outlier": …``, or ``{"error": …}``. A blank line is no record. Of very many bad records the first are told why,
        the others how many there were before.
    scored, refused
        How many records were.

    Raises
    ------
    RecordError
        If there are too many lines.

    Examples
    --------
    >>> import streammix as sm
    >>> model = sm.Mixture(components=[{"n": sm.Poisson(1)}, {"n": sm.Poisson(20)}])
    >>> for answers, _, _ in score_lines(model, b'{"n": -1}\\n\\n{"n"}'):
    ...     print(b"".join(answers).decode(), end="")
    {"error":"field 'n': expected a whole number, 0 or more, got -1"}
    {"error":"expected JSON, got '{\\"n\\"}' (expected ':', byte 4)"}
    """
    if (n := body.count(b"\n")) > MOST:
        raise RecordError(f"{n:,} lines in one request; send at most {MOST:,} at a time")
    ends = line_ends(body if body.endswith(b"\n") else body + b"\n")
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    decode, n_refused = JsonDecoder(), 0
    for at in range(0, len(starts), AT_ONCE):
        lines = Lines(body, starts, ends)[at : at + AT_ONCE]
        step = _score(model, decode(Batch("request", lines.starts, texts=lines)), n_refused)
        n_refused += step[2]
        yield step


def _score(model: Mixture, batch: Batch, n_refused: int) -> Step:
    """Score records, one line of the answer each, after so many that were refused."""
    records = batch.records
    assert isinstance(records, list) or records is not None  # for the type checker: it is decoded
    done = evaluate(model, records)
    rows = Scored.of("request", batch.offsets[done.rows], done)
    columns: list[NDArray[Any]] = [rows.components, rows.responsibilities, rows.scores]
    answer: type[_Answer] = _Answer
    if rows.labels is not None and rows.outliers is not None:
        columns += [rows.labels, rows.outliers]
        answer = _LabelledAnswer
    answers: list[Any] = [answer(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]
    refused = [(refusal.offset, refusal.reason) for refusal in batch.refused]
    refused += [(int(batch.offsets[row]), str(error)) for row, error in done.rejected]
    if refused:
        errors = [(place, _error(i, why)) for i, (place, why) in enumerate(sorted(refused), n_refused + 1)]
        placed = sorted([*zip(rows.offsets.tolist(), answers, strict=True), *errors], key=lambda pair: pair[0])
        answers = [answer for _, answer in placed]
    return [_encoder.encode_lines(answers)], len(rows.offsets), len(refused)


def _error(number: int, why: str) -> _Error:
    return _Error(why if number <= MOST_REASONS else f"refused, as {number - 1:,} before")
