"""What the tests of the laws share: declarations, streams for them, and a model's state as plain values."""

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from scipy import stats

import streammix as sm

Record = dict[str, Any]

#: The same examples on every run; a model and its checkpoint cost milliseconds, so few of them.
LAW = settings(derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


# --- a model's state, bit for bit ---


def bits(value: Any) -> Any:
    """A value in which equal means equal to the last bit (0.0 is not -0.0, NaN is NaN)."""
    if isinstance(value, float):
        return float(value).hex()
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes())
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bits(item) for item in value]
    return value


def state_of(model: sm.Mixture) -> Any:
    """All that a checkpoint holds of a model (but for when it was written) and all that the model shows."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state.arrow"
        sm.save(model, path)
        with pa.OSFile(str(path)) as file:
            [row] = pa.ipc.open_file(file).read_all().to_pylist()
    row.pop("written_at")
    return {"saved": bits(row), "shown": bits(shown(model))}


def shown(model: sm.Mixture) -> list[Any]:
    """What a user sees of the state; the repr of a float is exact."""
    return [model.n_seen, model.is_warm, model.weights, repr(model.parameters)]


def reloaded(model: sm.Mixture) -> sm.Mixture:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state.arrow"
        sm.save(model, path)
        return sm.load(path)


# --- between the oracle's plain tuples and the package's families ---

FAMILIES: dict[str, Callable[..., Any]] = {
    "normal": sm.Normal,
    "mvn": sm.MultivariateNormal,
    "lognormal": sm.LogNormal,
    "exponential": sm.Exponential,
    "poisson": sm.Poisson,
    "geometric": sm.Geometric,
    "bernoulli": sm.Bernoulli,
    "binomial": sm.Binomial,
    "categorical": sm.Categorical,
    "fixed": sm.Fixed,
    "gamma": sm.Gamma,
    "inverse_gaussian": sm.InverseGaussian,
    "beta": sm.Beta,
    "dirichlet": sm.Dirichlet,
    "multinomial": sm.Multinomial,
    "negative_binomial": sm.NegativeBinomial,
    "vonmises": sm.VonMises,
    "student": sm.StudentT,
    "uniform": sm.Uniform,
    "inflated": lambda zero, inner: sm.ZeroInflated(zero, FAMILIES[inner[0]](*inner[1:])),
}
PARAMETERS = {
    "normal": ("mean", "variance"),
    "mvn": ("mean", "covariance"),
    "lognormal": ("mean", "variance"),
    "exponential": ("rate",),
    "poisson": ("rate",),
    "geometric": ("p",),
    "bernoulli": ("p",),
    "binomial": ("n", "p"),
    "categorical": ("probabilities",),
    "fixed": ("distribution",),
    "gamma": ("shape", "scale"),
    "inverse_gaussian": ("mean", "shape"),
    "beta": ("a", "b"),
    "dirichlet": ("concentration",),
    "multinomial": ("probabilities", "total"),
    "negative_binomial": ("mean", "size"),
    "vonmises": ("mean", "concentration", "period"),
    "student": ("df", "location", "scale"),
    "uniform": ("low", "high"),
    "inflated": ("zero", "family"),
}


def families(components: Sequence[oracle.Component]) -> list[dict[Any, Any]]:
    """The oracle's components as the package's `components=`."""
    return [{field: FAMILIES[kind](*values) for field, (kind, *values) in c.items()} for c in components]


def assert_close(
    model: sm.Mixture, weights: Any, components: Sequence[oracle.Component], tolerance: float = 1e-9
) -> None:
    """The model's weights and parameters are the oracle's."""
    np.testing.assert_allclose(model.weights, weights, rtol=tolerance, atol=tolerance, err_msg="weights")
    assert len(model.parameters) == len(components)
    for k, (shown_k, expected_k) in enumerate(zip(model.parameters, components, strict=True)):
        assert set(shown_k) == set(expected_k)
        for field, (kind, *values) in expected_k.items():
            if kind == "fixed":
                continue
            shown_family = shown_k[field]
            if kind == "inflated":
                np.testing.assert_allclose(shown_family.zero, values[0], rtol=tolerance, atol=tolerance)
                shown_family, (kind, *values) = shown_family.family, values[1]
            for name, value in zip(PARAMETERS[kind], values, strict=True):
                ours = getattr(shown_family, name)
                where = f"component {k}, {field}, {name}"
                if isinstance(value, dict):
                    assert set(ours) == set(value), where
                    ours, value = [ours[level] for level in value], list(value.values())
                np.testing.assert_allclose(ours, value, rtol=tolerance, atol=tolerance, err_msg=where)


# --- records ---


def table_of(records: Sequence[Record]) -> pa.Table:
    """Records as Arrow, what is missing as null."""
    names = list(dict.fromkeys(name for record in records for name in record))
    return pa.table({name: [record.get(name) for record in records] for name in names})


def with_gaps(records: Sequence[Record], share: float, rng: np.random.Generator) -> list[Record]:
    """A share of all cells missing: absent, None or (numbers only) NaN; no record loses everything."""
    result = []
    for record in records:
        kept = dict(record)
        lost = [name for name in record if rng.random() < share][: len(record) - 1]
        for name in lost:
            way = rng.integers(3)
            is_number = type(record[name]) in (int, float)
            if way == 0:
                del kept[name]
            else:
                kept[name] = math.nan if way == 1 and is_number else None
        result.append(kept)
    return result


@dataclass(frozen=True)
class Block:
    """A block of fields: to be learnt, a start for component k, and records of true component z."""

    fields: tuple[str, ...]
    start: Callable[[int], tuple[Any, ...]]
    draw: Callable[[np.random.Generator, int], tuple[Any, ...]]
    unlearnt: Any

    @property
    def key(self) -> oracle.Field:
        return self.fields if len(self.fields) > 1 else self.fields[0]


STILL = ("fixed", "uniform")  # never learnt
NOISE = stats.gamma(2.0, scale=1.5)
SHARES = {"de": (0.6, 0.2, 0.1), "fr": (0.3, 0.2, 0.3), "it": (0.1, 0.6, 0.6)}

BLOCKS = {
    "normal": Block(
        ("height",),
        lambda k: ("normal", 2.5 * k - 1.0, 1.5),
        lambda rng, z: (float(rng.normal(3.0 * z, 1.0)),),
        sm.Normal(),
    ),
    "mvn": Block(
        ("lat", "lon"),
        lambda k: ("mvn", [1.5 * k - 0.5, 1.0 - k], [[1.5, 0.3], [0.3, 1.0]]),
        lambda rng, z: tuple(float(v) for v in rng.multivariate_normal([2.0 * z, -z], [[1.0, 0.5], [0.5, 0.8]])),
        sm.MultivariateNormal(),
    ),
    "lognormal": Block(
        ("amount",),
        lambda k: ("lognormal", 0.8 * k, 0.7),
        lambda rng, z: (float(rng.lognormal(1.0 * z, 0.6)),),
        sm.LogNormal(),
    ),
    "exponential": Block(
        ("wait",),
        lambda k: ("exponential", 1.0 / (1.0 + 2.0 * k)),
        lambda rng, z: (float(rng.exponential(0.8 + 3.0 * z)),),
        sm.Exponential(),
    ),
    "poisson": Block(
        ("items",),
        lambda k: ("poisson", 2.0 + 4.0 * k),
        lambda rng, z: (int(rng.poisson(1.5 + 5.0 * z)),),
        sm.Poisson(),
    ),
    "geometric": Block(
        ("retries",),
        lambda k: ("geometric", 0.5 - 0.3 * k / (1.0 + k)),
        lambda rng, z: (int(rng.geometric(0.6 / (1.0 + 2.0 * z))) - 1,),
        sm.Geometric(),
    ),
    "bernoulli": Block(
        ("returned",),
        lambda k: ("bernoulli", 0.3 + 0.2 * k),
        lambda rng, z: (bool(rng.random() < 0.2 + 0.3 * z),),
        sm.Bernoulli(),
    ),
    "binomial": Block(
        ("heads",),
        lambda k: ("binomial", 10, 0.4 + 0.15 * k),
        lambda rng, z: (int(rng.binomial(10, 0.3 + 0.2 * z)),),
        sm.Binomial(10),
    ),
    "categorical": Block(
        ("country",),
        lambda k: ("categorical", {level: shares[k] for level, shares in SHARES.items()}),
        lambda rng, z: (str(rng.choice(list(SHARES), p=[shares[z] for shares in SHARES.values()])),),
        sm.Categorical(),
    ),
    "fixed": Block(
        ("noise",),
        lambda k: ("fixed", NOISE if k else stats.expon(scale=2.0)),
        lambda rng, z: (float(NOISE.rvs(random_state=rng)),),
        sm.Fixed(NOISE),
    ),
    "gamma": Block(
        ("seconds",),
        lambda k: ("gamma", 2.0 + k, 0.5 + k),
        lambda rng, z: (float(rng.gamma(1.5 + 2.0 * z, 1.0 + z)),),
        sm.Gamma(),
    ),
    "inverse_gaussian": Block(
        ("latency",),
        lambda k: ("inverse_gaussian", 1.0 + 2.0 * k, 3.0 + k),
        lambda rng, z: (float(rng.wald(1.0 + 3.0 * z, 4.0)),),
        sm.InverseGaussian(),
    ),
    "beta": Block(
        ("share",),
        lambda k: ("beta", 1.5 + k, 3.0 - 0.5 * k),
        lambda rng, z: (float(rng.beta(1.0 + 2.0 * z, 4.0)),),
        sm.Beta(),
    ),
    "dirichlet": Block(
        ("food", "rent", "fun"),
        lambda k: ("dirichlet", (1.0 + k, 2.0, 3.0 - 0.5 * k)),
        lambda rng, z: tuple(float(v) for v in rng.dirichlet([1.0 + 3.0 * z, 3.0, 2.0])),
        sm.Dirichlet(),
    ),
    "multinomial": Block(
        ("red", "green", "blue"),
        lambda k: ("multinomial", (0.5 - 0.2 * k, 0.3, 0.2 + 0.2 * k), 6.0 + k),
        lambda rng, z: tuple(int(v) for v in rng.multinomial(rng.integers(12), [0.6 - 0.4 * z, 0.3, 0.1 + 0.4 * z])),
        sm.Multinomial(),
    ),
    "negative_binomial": Block(
        ("errors",),
        lambda k: ("negative_binomial", 2.0 + 4.0 * k, 1.5 + k),
        lambda rng, z: (int(rng.negative_binomial(2.0, 0.5 / (1.0 + z))),),
        sm.NegativeBinomial(),
    ),
    "vonmises": Block(
        ("hour",),
        lambda k: ("vonmises", 3.0 + 8.0 * k, 1.5 + k, 24.0),
        lambda rng, z: (float((rng.vonmises(0.0, 3.0) / math.tau + z / 2) % 1.0 * 24.0),),
        sm.VonMises(period=24),
    ),
    "student": Block(
        ("delay",),
        lambda k: ("student", 5.0 + k, 2.5 * k - 1.0, 1.5),
        lambda rng, z: (float(3.0 * z + rng.standard_t(4)),),
        sm.StudentT(),
    ),
    "uniform": Block(
        ("phase",),
        lambda k: ("uniform", 0.0, 10.0 + k),
        lambda rng, z: (float(rng.uniform(0.0, 10.0)),),
        sm.Uniform(0, 12),
    ),
    "inflated": Block(
        ("visits",),
        lambda k: ("inflated", 0.3, ("poisson", 2.0 + 4.0 * k)),
        lambda rng, z: (int(rng.poisson(1.5 + 5.0 * z) * (rng.random() < 0.7)),),
        sm.ZeroInflated(family=sm.Poisson()),
    ),
    "hurdle": Block(
        ("spent",),
        lambda k: ("inflated", 0.4 + 0.2 * k, ("lognormal", 0.8 * k, 0.7)),
        lambda rng, z: (float(rng.lognormal(1.0 * z, 0.6) * (rng.random() < 0.5)),),
        sm.ZeroInflated(family=sm.LogNormal()),
    ),
    "inflated_counts": Block(
        ("claims",),
        lambda k: ("inflated", 0.3, ("negative_binomial", 2.0 + 4.0 * k, 1.5 + k)),
        lambda rng, z: (int(rng.negative_binomial(2.0, 0.5 / (1.0 + z)) * (rng.random() < 0.7)),),
        sm.ZeroInflated(family=sm.NegativeBinomial()),
    ),
    "gamma_hurdle": Block(
        ("rain",),
        lambda k: ("inflated", 0.4 + 0.2 * k, ("gamma", 2.0 + k, 0.5 + k)),
        lambda rng, z: (float(rng.gamma(1.5 + 2.0 * z, 1.0 + z) * (rng.random() < 0.5)),),
        sm.ZeroInflated(family=sm.Gamma()),
    ),
}


def draw_records(names: Sequence[str], n: int, rng: np.random.Generator, n_groups: int = 2) -> list[Record]:
    """Records of `n_groups` true groups, with one field or more a block."""
    records = []
    for _ in range(n):
        z = int(rng.integers(n_groups))
        record: Record = {}
        for name in names:
            record.update(zip(BLOCKS[name].fields, BLOCKS[name].draw(rng, z), strict=True))
        records.append(record)
    return records


def start(names: Sequence[str], n_components: int) -> list[dict[oracle.Field, tuple[Any, ...]]]:
    """An explicit start for the oracle (and, through `families`, for the package)."""
    return [{BLOCKS[name].key: BLOCKS[name].start(k) for name in names} for k in range(n_components)]


def explicit(names: Sequence[str], n_components: int = 2, **declared: Any) -> sm.Mixture:
    """A model with an explicit start, and a seed: without one, two models differ in their random state."""
    return sm.Mixture(components=families(start(names, n_components)), **({"seed": 0} | declared))


# --- drawing a whole case ---


@dataclass(frozen=True)
class Case:
    """A declaration and a stream for it."""

    make: Callable[[], sm.Mixture]
    records: list[Record]
    w: list[float]
    what: str

    def __repr__(self) -> str:
        return self.what

    def learn(self, model: sm.Mixture, begin: int = 0, end: int | None = None) -> sm.Mixture:
        """Learn a stretch of the stream one record at a time."""
        for x, w in zip(self.records[begin:end], self.w[begin:end], strict=True):
            model.learn_one(x, w=w)
        return model


@st.composite
def cases(draw: st.DrawFn, min_records: int = 1, max_records: int = 70) -> Case:
    """Any families, K, step size, mini-batch, warm-up or explicit start, gaps and record weights."""
    names = draw(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=4, unique=True))
    n_components = draw(st.integers(1, 3))
    warm_up = draw(st.sampled_from([None, 12, 25, 40]))
    batch_size = draw(st.sampled_from([1, 2, 7, 16]))
    step_size = draw(st.sampled_from([sm.PowerDecay(0.6), sm.PowerDecay(1.0), sm.RunningMean(), sm.HalfLife(30)]))
    averaging = draw(st.booleans())
    n = draw(st.integers(min_records, max_records))
    gaps = draw(st.sampled_from([0.0, 0.25]))
    weighted = draw(st.booleans())
    seed = draw(st.integers(0, 99))

    rng = np.random.default_rng(seed)
    records = with_gaps(draw_records(names, n, rng), gaps, rng)
    w = [float(v) for v in rng.choice([0.5, 1.0, 2.0, 3.0], n)] if weighted else [1.0] * n
    common: dict[str, Any] = {
        "batch_size": batch_size,
        "step_size": step_size,
        "averaging": averaging,
        "seed": seed,
        "warm_up": warm_up,
    }

    def make() -> sm.Mixture:
        if warm_up is None:
            return sm.Mixture(components=families(start(names, n_components)), **common)
        fields = {BLOCKS[name].key: BLOCKS[name].unlearnt for name in names}
        return sm.Mixture(n_components=n_components, fields=fields, **common)

    what = f"Case({names}, K={n_components}, n={n}, {gaps=}, {weighted=}, {common})"
    return Case(make, records, w, what)


@st.composite
def cuts(draw: st.DrawFn, n: int) -> list[slice]:
    """0..n cut into stretches, empty ones among them."""
    marks = sorted(draw(st.lists(st.integers(0, n), max_size=6)))
    edges = [0, *marks, n]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def stretches(n: int, size: int) -> Iterator[slice]:
    """0..n in stretches of one size."""
    return (slice(i, min(i + size, n)) for i in range(0, n, size))
