"""The open inference protocol V2, as bytes: a request's tensors, scored by a model that stands still.

A field is a tensor of the shape [n] or [n, 1], and a bad value refuses the request as a whole. The work is done in
steps of some thousand records, between which others have their turn.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import pyarrow as pa

from streammix.answers import Ingested
from streammix.core.values import level_of
from streammix.errors import RecordError
from streammix.families import Bernoulli
from streammix.mixture import Mixture
from streammix.pipeline import answering
from streammix.pipeline.answering import MOST, Step
from streammix.pipeline.evaluating import evaluate
from streammix.pipeline.flow import Scored
from streammix.schema import OTHER, Schema

__all__ = ["infer", "inputs_of", "outputs_of"]

T = TypeVar("T")

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


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw


class _Output(msgspec.Struct):
    name: str


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None


LONG = 1 << 16  # bytes, after which others have their turn

_request = msgspec.json.Decoder(_Request)
_values = msgspec.json.Decoder(list[Any])
_encoder = msgspec.json.Encoder()


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
        If the request is not one, names a tensor that the model doesn't have, has too many records, or holds one that
        is refused.

    Examples
    --------
    >>> import streammix as sm
    >>> model = sm.Mixture(components=[{"n": sm.Poisson(1)}, {"n": sm.Poisson(20)}])
    >>> asked = b'{"inputs": [{"name": "n", "shape": [2], "datatype": "INT64", "data": [0, 20]}], "id": "7",'
    >>> for answer, _, _ in infer(model, "m", asked + b' "outputs": [{"name": "component"}]}'):
    ...     print(b"".join(answer).decode(), end="")
    {"model_name":"m","id":"7","outputs":[{"name":"component","datatype":"INT32","shape":[2],"data":[0,1]}]}
    """
    request = _decoded(_request, body)
    kinds = _kinds(model)
    wanted = list(kinds) if request.outputs is None else [output.name for output in request.outputs]
    for output in wanted:
        if output not in kinds:
            raise RecordError(f"unknown output {output!r}; the outputs are {', '.join(kinds)}")
    if len(body) > LONG:
        yield [], 0, 0
    known = set() if model._learner.schema is None else set(model._learner.names)
    tensors: dict[str, _Tensor] = {}
    for tensor in request.inputs:
        what = f"input {tensor.name!r}"
        if known and tensor.name not in known:
            raise RecordError(f"unknown {what}; the inputs are {', '.join(sorted(known))}")
        if tensor.name in tensors:
            raise RecordError(f"{what} stands twice")
        tensors[tensor.name] = _tensor(what, tensor)
        if len(memoryview(tensor.data)) > LONG:
            yield [], 0, 0
    if len({len(tensor.values) for tensor in tensors.values()}) != 1:
        sizes = ", ".join(f"{name} {len(tensor.values)}" for name, tensor in tensors.items())
        raise RecordError(f"expected inputs of one length, got {sizes or 'none'}")
    n = len(next(iter(tensors.values())).values)
    parts: list[list[list[bytes]]] = []  # of the outputs, as JSON without its brackets
    for at in range(0, max(n, 1), answering.AT_ONCE):
        end = at + answering.AT_ONCE
        batch = pa.RecordBatch.from_pydict({name: tensor.part(at, end) for name, tensor in tensors.items()})
        done = evaluate(model, batch)
        for row, why in done.rejected[:1]:
            raise RecordError(f"record {at + row}: {why}", field=why.field, row=at + row)
        values = _values_of(done)
        parts.append([[_encoder.encode(values[output].ravel().tolist())[1:-1]] for output in wanted])
        yield [], len(done.rows), 0
    shapes = {"responsibilities": [n, len(model.weights)]}
    outputs = [
        _with_list({"name": output, "datatype": kinds[output], "shape": shapes.get(output, [n])}, "data", own)
        for output, own in zip(wanted, zip(*parts, strict=True), strict=True)
    ]
    about = {"model_name": name, **({} if request.id is None else {"id": request.id})}
    yield _with_list(about, "outputs", outputs), 0, 0


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


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input's values, each in a list of its own where `is_column`."""

    what: str
    datatype: str
    values: list[Any]
    is_column: bool

    def part(self, begin: int, end: int) -> pa.Array:
        """Some of the values as a column."""
        kind, values = _TYPES[self.datatype], self.values[begin:end]
        try:
            if self.is_column:
                values = [value for (value,) in values]
            if pa.types.is_integer(kind) and not all(
                float(value).is_integer() for value in values if value is not None
            ):
                raise ValueError("expected whole numbers")  # Arrow would cut them
            if pa.types.is_floating(kind):  # JSON's whole numbers are numbers like others, however large
                values = [float(value) if isinstance(value, int) else value for value in values]
            return pa.array(values, kind)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise RecordError(f"{self.what}: its data is not {self.datatype}: {reason}") from None


def _tensor(what: str, tensor: _Input) -> _Tensor:
    if tensor.datatype not in _TYPES:
        raise RecordError(f"{what}: unknown datatype {tensor.datatype!r}; expected one of {', '.join(_TYPES)}")
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
        raise RecordError(f"{what}: expected the shape [n] or [n, 1], got {tensor.shape}")
    n = math.prod(tensor.shape)
    if n > MOST:
        raise RecordError(f"{what}: {n:,} records in one request; send at most {MOST:,} at a time")
    values = _decoded(_values, tensor.data)
    if len(values) != n:
        raise RecordError(f"{what}: expected {n} values, by its shape, got {len(values)}")
    is_column = bool(tensor.shape[1:] and values and isinstance(values[0], list))
    return _Tensor(what, tensor.datatype, values, is_column)


def _decoded(decoder: msgspec.json.Decoder[T], text: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"the inference request can't be read: {error}") from None


def _values_of(done: Ingested) -> dict[str, Any]:
    rows = Scored.of("request", done.rows, done)
    return {
        "responsibilities": rows.responsibilities,
        "component": rows.components,
        "score": rows.scores,
        "label": rows.labels,
        "outlier": rows.outliers,
    }


def _with_list(about: dict[str, Any], name: str, elements: Iterable[Sequence[bytes]]) -> list[bytes]:
    """JSON, in pieces, of an object that has a list last, whose elements are JSON already, in pieces."""
    pieces = [_encoder.encode(about)[:-1], b',"%b":[' % name.encode()]
    for element in elements:
        if len(pieces) > 2:
            pieces.append(b",")
        pieces += element
    return [*pieces, b"]}"]
