"""The levels of the core that fuse multiplications with additions give the same bits; v1 differs by rounding."""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from streammix.core.engine import level_name
from streammix.errors import ConfigError

LEARN = """
import hashlib, sys
import numpy as np, pyarrow as pa, streammix as sm
from streammix.core.engine import level_name
rng = np.random.default_rng(5)
n = 700
z = rng.integers(3, size=n)
shares = np.stack([rng.dirichlet([1.0 + 4 * k, 2.0, 3.0]) for k in z])
counts = np.stack([rng.multinomial(10 ** (1 + k), share) for k, share in zip(z, shares)])
gap = lambda values: [None if g else v for v, g in zip(values.tolist(), rng.random(n) < 0.05)]
table = pa.table({
    "a": gap(rng.normal(5.0 * z)), "b": gap(rng.lognormal(z / 2)), "c": gap(rng.poisson(1 + 4 * z)),
    "d": gap(rng.random(n) < 0.2 + 0.3 * z), "e": gap(rng.exponential(1.0 + z)),
    "g": gap(np.array(list("xyzw"))[rng.integers(4, size=n)]), "h": gap(rng.binomial(10, 0.2 + 0.3 * z)),
    "f": gap(rng.geometric(0.4 / (1 + z)) - 1),
    "y": gap(rng.wald(1.0 + z, 3.0)),
    "k": gap(rng.gamma(0.7 + 2 * z, 2.0)), "l": gap(rng.beta(1.0 + z, 3.0)),
    "m": gap(rng.negative_binomial(2, 0.5 / (1 + z))),
    "p1": gap(counts[:, 0]), "p2": gap(counts[:, 1]), "p3": gap(counts[:, 2]),
    "p": gap(shares[:, 0]), "q": gap(shares[:, 1]), "r": gap(shares[:, 2]),
    "u": gap(rng.normal(size=n)), "v": gap(rng.normal(3.0 * z)), "w": rng.normal(size=n),
    "i": gap(rng.vonmises(z, 2.0) * 360), "j": gap(3.0 * z + rng.standard_t(3, n)), "n": gap(rng.uniform(size=n)),
    "o": gap(rng.poisson(1 + 4 * z) * (rng.random(n) < 0.7)), "s": gap(rng.lognormal(z) * (rng.random(n) < 0.7)),
    "t": gap(rng.negative_binomial(2, 0.5 / (1 + z)) * (rng.random(n) < 0.7)),
    "x": gap(rng.gamma(0.7 + 2 * z, 2.0) * (rng.random(n) < 0.7)),
})
fields = {"a": sm.Normal(), "b": sm.LogNormal(), "c": sm.Poisson(), "d": sm.Bernoulli(), "e": sm.Exponential(),
          "f": sm.Geometric(), "g": sm.Categorical(), "h": sm.Binomial(10), "y": sm.InverseGaussian(),
          "k": sm.Gamma(), "l": sm.Beta(), "m": sm.NegativeBinomial(),
          ("p", "q", "r"): sm.Dirichlet(), ("p1", "p2", "p3"): sm.Multinomial(),
          ("u", "v", "w"): sm.MultivariateNormal(),
          "i": sm.VonMises(period=360), "j": sm.StudentT(), "n": sm.Uniform(0, 1),
          "o": sm.ZeroInflated(family=sm.Poisson()), "s": sm.ZeroInflated(family=sm.LogNormal()),
          "t": sm.ZeroInflated(family=sm.NegativeBinomial()), "x": sm.ZeroInflated(family=sm.Gamma())}
print(level_name(sys.argv[1]))
warm = [sm.Mixture(n_components=k, fields=fields, batch_size=batch_size, warm_up=100, seed=2)
        for k, batch_size in ((3, 1), (11, 70))]
for model in warm:
    model.learn_many(table)
for model in [*warm, *(sm.Mixture(components=model.parameters, batch_size=71 - model.batch_size) for model in warm)]:
    model.learn_many(table)
    k = len(model.weights)
    state = model._snapshot().state
    digest = hashlib.sha256()
    for array in state.arrays():
        digest.update(np.ascontiguousarray(array[..., :k]).tobytes())
    scores = np.asarray(model.score_many(table))
    digest.update(scores.tobytes())
    print(digest.hexdigest())
    print(scores.tolist(), file=sys.stderr)
for k, width in ((2, 1), (7, 5), (9, 13), (40, 9)):  # with components near each other and apart, in parts and with gaps
    rows = rng.normal(size=(333, width)) + rng.choice([0.0, 1.0, 1e7], size=(333, 1))
    names = [f"x{j}" for j in range(width)]
    for keys in ([(name,) for name in names], [tuple(names)]):
        for share in (0.0, 0.1):
            columns = {name: pa.array(rows[:, j], mask=rng.random(333) < share) for j, name in enumerate(names)}
            parts = [{(key if len(key) > 1 else key[0]): sm.MultivariateNormal([mean] * len(key), np.eye(len(key)))
                      if len(key) > 1 else sm.Normal(mean, 1.0) for key in keys} for mean in [*range(k - 1), 1e7]]
            model = sm.Mixture(components=parts)
            proba = model.predict_proba_many(pa.table(columns))
            trace = sm.batch.fit(model, pa.table(columns), max_iter=3, tol=0.0)
            digest = hashlib.sha256(b"".join(np.asarray(column).tobytes() for column in proba.columns))
            digest.update(repr((trace.log_likelihood, model.parameters)).encode())
            print(digest.hexdigest())
whole = np.round(rng.normal(size=(2_000, 4)))  # values that repeat, which have a least variance
whole[:, 3] = np.where(rng.random(2_000) < 0.3, 0.0, whole[:, 1])
columns = {name: pa.array(whole[:, j], mask=rng.random(2_000) < 0.1) for j, name in enumerate("abcd")}
model = sm.AutoMixture(2, fields={("a", "b", "d"): sm.MultivariateNormal(), "c": sm.Normal()}, warm_up=300, seed=1)
model.learn_many(pa.table(columns))
print(hashlib.sha256(repr((model.weights.tolist(), model.parameters, model.events)).encode()).hexdigest())
"""


@functools.cache
def learn(level):
    environment = {**os.environ, "STREAMMIX_LEVEL": level}
    done = subprocess.run(
        [sys.executable, "-c", LEARN, level], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    name, *digests = done.stdout.split()
    assert name == level
    assert len(digests) == 4 + 4 * 2 * 2 + 1
    scores = np.array([json.loads(line) for line in done.stderr.splitlines()])
    assert scores.shape == (4, 700)
    return digests, scores


def has(level):
    try:
        return level_name(level) == level
    except ConfigError:
        return False


@pytest.mark.skipif(not has("v4"), reason="this machine has no level v4")
def test_levels_that_fuse_give_the_same_bits():
    digests, scores = learn("v4")
    narrower, same = learn("v3")
    assert digests == narrower
    np.testing.assert_array_equal(scores, same)


@pytest.mark.skipif(not has("v3"), reason="this machine has no level v3")
def test_a_level_that_does_not_fuse_differs_by_rounding():
    np.testing.assert_allclose(learn("v1")[1], learn("v3")[1], rtol=1e-9, atol=1e-9)


def test_an_unknown_level_is_refused():
    with pytest.raises(ConfigError, match="v1, v3 and v4"):
        level_name("v9")
