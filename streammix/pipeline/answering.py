"""Requests in, answers out, as bytes: the body of a request, scored by a model that stands still.

Two forms. NDJSON, one record a line: one line comes back for each, in order, and a bad record is answered by an error
in its place. And the open inference protocol V2: one tensor a field, of the shape [n] or [n, 1], and a bad value
refuses the request as a whole.

Both work in steps of some thousand records, between which others have their turn.
"""

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.core.json_lines import line_ends
from streammix.core.values import level_of
from streammix.errors import RecordError
from streammix.families import Bernoulli
from streammix.mixture import Mixture
from streammix.pipeline.decode import JsonDecoder
from streammix.pipeline.evaluating import evaluate
from streammix.pipeline.flow import Batch, Lines, Scored, joined
from streammix.schema import OTHER, Schema

__all__ = ["OUTPUTS", "Step", "infer", "inputs_of", "outputs_of", "score_lines"]

Step = tuple[bytes, int, int]  # a part of the answer, and how many records were scored and refused
AT_ONCE = 4096

_encoder = msgspec.json.Encoder()
_TYPES = {
    "BOOL": pa.bool_(),
    "BYTES": pa.string(),
    **{f"INT{bits}": pa.int64() for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": pa.uint64() for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": pa.float64() for bits in (16, 32, 64)},
}
_OF_LEVELS: dict[type, str] = {int: "INT64", bool: "BOOL"}
OUTPUTS = {"responsibilities": "FP64", "component": "INT32", "score": "FP64"}
LABELS = {"label": "INT64", "outlier": "FP64"}  # of an `AutoMixture`


class _Answer(msgspec.Struct):
    component: int
    responsibilities: list[float]
    score: float


class _LabelledAnswer(_Answer):
    label: int
    outlier: float


class _Error(msgspec.Struct):
    error: str


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Output(msgspec.Struct):
    name: str


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None


_request = msgspec.json.Decoder(_Request)


def score_lines(model: Mixture, body: bytes) -> Iterator[Step]:
    """Score NDJSON, step by step.

    Yields
    ------
    answers
        NDJSON: ``{"component": …, "responsibilities": […], "score": …}``, of an `AutoMixture` with ``"label": …,
        "outlier": …``, or ``{"error": …}``. A blank line is no record.
    scored, refused
        How many records were.

    Examples
    --------
    >>> import streammix as sm
    >>> model = sm.Mixture(components=[{"n": sm.Poisson(1)}, {"n": sm.Poisson(20)}])
    >>> for answers, _, _ in score_lines(model, b'{"n": -1}\\n\\n{"n"}'):
    ...     print(answers.decode(), end="")
    {"error":"field 'n': expected a whole number, 0 or more, got -1"}
    {"error":"expected JSON, got '{\\"n\\"}' (expected ':', byte 4)"}
    """
    ends = line_ends(body if body.endswith(b"\n") else body + b"\n")
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    decode = JsonDecoder()
    for at in range(0, len(starts), AT_ONCE):
        lines = Lines(body, starts, ends)[at : at + AT_ONCE]
        yield _score(model, decode(Batch("request", lines.starts, texts=lines)))


def _score(model: Mixture, batch: Batch) -> Step:
    """Score records, one line of the answer each."""
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
    errors = [(refusal.offset, _Error(refusal.reason)) for refusal in batch.refused]
    errors += [(int(batch.offsets[row]), _Error(str(error))) for row, error in done.rejected]
    if errors:
        placed = [*zip(rows.offsets.tolist(), answers, strict=True), *errors]
        answers = [answer for _, answer in sorted(placed, key=lambda pair: pair[0])]
    return _encoder.encode_lines(answers), len(rows.offsets), len(errors)


def infer(model: Mixture, name: str, body: bytes) -> Iterator[Step]:
    """Answer an inference request, step by step.

    Yields
    ------
    answer
        The inference response, as JSON, in the last step; nothing before.
    scored, refused
        How many records were; none is refused alone.

    Raises
    ------
    RecordError
        If the request is not one, names a tensor that the model doesn't have, or holds a record that is refused.

    Examples
    --------
    >>> import streammix as sm
    >>> model = sm.Mixture(components=[{"n": sm.Poisson(1)}, {"n": sm.Poisson(20)}])
    >>> asked = b'{"inputs": [{"name": "n", "shape": [2], "datatype": "INT64", "data": [0, 20]}], "id": "7",'
    >>> for answer, _, _ in infer(model, "m", asked + b' "outputs": [{"name": "component"}]}'):
    ...     print(answer.decode(), end="")
    {"model_name":"m","id":"7","outputs":[{"name":"component","datatype":"INT32","shape":[2],"data":[0,1]}]}
    """
    try:
        request = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"the inference request can't be read: {error}") from None
    kinds = _kinds(model)
    wanted = list(kinds) if request.outputs is None else [output.name for output in request.outputs]
    for output in wanted:
        if output not in kinds:
            raise RecordError(f"unknown output {output!r}; the outputs are {', '.join(kinds)}")
    batch, parts = _batch(model, request.inputs), []
    for at in range(0, max(len(batch), 1), AT_ONCE):
        done = evaluate(model, batch.slice(at, AT_ONCE))
        for row, why in done.rejected[:1]:
            raise RecordError(f"record {at + row}: {why}", field=why.field, row=at + row)
        parts.append(Scored.of(name, at + done.rows, done))
        yield b"", len(done.rows), 0
    rows = joined(parts)
    values: dict[str, NDArray[Any] | None] = {
        "responsibilities": rows.responsibilities,
        "component": rows.components,
        "score": rows.scores,
        "label": rows.labels,
        "outlier": rows.outliers,
    }
    outputs = [_tensor(output, kinds[output], values[output]) for output in wanted]
    response = {"model_name": name, **({} if request.id is None else {"id": request.id}), "outputs": outputs}
    yield _encoder.encode(response), 0, 0


def _tensor(name: str, datatype: str, values: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": values.shape, "data": values.ravel().tolist()}


def _kinds(model: Mixture) -> dict[str, str]:
    return OUTPUTS | LABELS if model._learner.has_labels else OUTPUTS


def inputs_of(model: Mixture) -> list[dict[str, Any]]:
    """Return the metadata of a model's input tensors; none while its fields are not known yet."""
    schema = model._learner.schema
    if schema is None:
        return []
    return [{"name": name, "datatype": _datatype(schema, name), "shape": [-1]} for name in model._learner.names]


def _datatype(schema: Schema, name: str) -> str:
    """The datatype by which a field's values are what the model has learnt: 10 and "10" are two levels."""
    family = next((family for names, family in schema.components[0].items() if name in names), None)
    if isinstance(family, Bernoulli):
        return "BOOL"
    if schema.kind_of(name) != "level":
        return "FP64"
    levels = [level_of(key) for key in schema.codes[name] if key != OTHER]
    types = {type(level) for level in levels if level is not None}
    return _OF_LEVELS.get(types.pop(), "BYTES") if len(types) == 1 else "BYTES"


def outputs_of(model: Mixture) -> list[dict[str, Any]]:
    """Return the metadata of a model's output tensors."""
    return [
        {"name": name, "datatype": kind, "shape": [-1, len(model.weights)] if name == "responsibilities" else [-1]}
        for name, kind in _kinds(model).items()
    ]


def _batch(model: Mixture, inputs: list[_Input]) -> pa.RecordBatch:
    """Tensors as the columns of a batch."""
    known = {tensor["name"] for tensor in inputs_of(model)}
    columns: dict[str, pa.Array] = {}
    for tensor in inputs:
        what = f"input {tensor.name!r}"
        if known and tensor.name not in known:
            raise RecordError(f"unknown {what}; the inputs are {', '.join(sorted(known))}")
        if tensor.name in columns:
            raise RecordError(f"{what} stands twice")
        columns[tensor.name] = _column(what, tensor)
    if len({len(column) for column in columns.values()}) != 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise RecordError(f"expected inputs of one length, got {sizes or 'none'}")
    return pa.RecordBatch.from_pydict(columns)


def _column(what: str, tensor: _Input) -> pa.Array:
    if tensor.datatype not in _TYPES:
        raise RecordError(f"{what}: unknown datatype {tensor.datatype!r}; expected one of {', '.join(_TYPES)}")
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
        raise RecordError(f"{what}: expected the shape [n] or [n, 1], got {tensor.shape}")
    values = tensor.data
    if tensor.shape[1:] and all(isinstance(value, list) and len(value) == 1 for value in values):
        values = [value[0] for value in values]
    if len(values) != math.prod(tensor.shape):
        raise RecordError(f"{what}: expected {math.prod(tensor.shape)} values, by its shape, got {len(values)}")
    kind = _TYPES[tensor.datatype]
    try:
        if pa.types.is_integer(kind) and not all(float(value).is_integer() for value in values if value is not None):
            raise ValueError("expected whole numbers")  # Arrow would cut them
        if pa.types.is_floating(kind):  # JSON's whole numbers are numbers like others, however large
            values = [float(value) if isinstance(value, int) else value for value in values]
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise RecordError(f"{what}: its data is not {tensor.datatype}: {str(error).partition(chr(10))[0]}") from None
