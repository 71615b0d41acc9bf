"""A mixture as river's anomaly detector, and as a transformer whose features are responsibilities."""

from typing import Any

from river import base

from streammix.mixture import Mixture

__all__ = ["AsDetector", "AsFeatures"]


class AsDetector(base.Wrapper[Mixture], base.AnomalyDetector):
    """Anomaly detector whose score is −log p(x) under a mixture.

    It is 0.0 while the mixture warms up, as river's filters expect of a cold detector.

    Parameters
    ----------
    mixture
        The mixture that learns.

    Examples
    --------
    >>> import random
    >>> import streammix as sm
    >>> rng = random.Random(3)
    >>> detector = sm.AsDetector(sm.Mixture(n_components=2, fields={"load": sm.Normal()}, warm_up=100, seed=1))
    >>> for _ in range(500):
    ...     detector.learn_one({"load": rng.gauss(0, 1)})
    >>> detector.score_one({"load": 8.0}) > detector.score_one({"load": 0.5})
    True
    """

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    @property
    def _wrapped_model(self) -> Mixture:
        return self.mixture

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"mixture": Mixture(n_components=3, warm_up=50, seed=42)}

    def learn_one(self, x: dict[Any, Any], **kwargs: Any) -> None:
        """Learn one record; `w` is its weight."""
        self.mixture.learn_one(x, **kwargs)

    def score_one(self, x: dict[Any, Any], **kwargs: Any) -> float:
        """Return −log p(x): the higher, the more anomalous."""
        score: float = self.mixture.score_one(x)
        return score

    def learn_many(self, X: Any, **kwargs: Any) -> None:
        """Learn the rows of a frame."""
        self.mixture.learn_many(X, **kwargs)

    def score_many(self, X: Any, **kwargs: Any) -> Any:
        """Return −log p(x) of each row, as a column of X's kind."""
        return self.mixture.score_many(X)


class AsFeatures(base.Wrapper[Mixture], base.MiniBatchTransformer):
    """Transformer from a record to the responsibilities of a mixture's components, {0: r0, 1: r1, …}.

    Parameters
    ----------
    mixture
        The mixture that learns.

    Examples
    --------
    >>> import random
    >>> import streammix as sm
    >>> rng = random.Random(3)
    >>> features = sm.AsFeatures(sm.Mixture(n_components=2, fields={"load": sm.Normal()}, warm_up=100, seed=1))
    >>> for _ in range(500):
    ...     features.learn_one({"load": rng.gauss(10 * rng.randrange(2), 1)})
    >>> sorted(round(r, 3) for r in features.transform_one({"load": 9.0}).values())
    [0.0, 1.0]
    """

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture

    @property
    def _wrapped_model(self) -> Mixture:
        return self.mixture

    @property
    def _supervised(self) -> bool:
        return False

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"mixture": Mixture(n_components=3, warm_up=50, seed=42)}

    def learn_one(self, x: dict[Any, Any], **kwargs: Any) -> None:
        """Learn one record; `w` is its weight."""
        self.mixture.learn_one(x, **kwargs)

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Return the responsibilities of the components."""
        responsibilities: dict[int, float] = self.mixture.predict_proba_one(x)
        return responsibilities

    def learn_many(self, X: Any, **kwargs: Any) -> None:
        """Learn the rows of a frame."""
        self.mixture.learn_many(X, **kwargs)

    def transform_many(self, X: Any) -> Any:
        """Return the responsibilities as a frame of X's kind, with a column for each component."""
        return self.mixture.predict_proba_many(X)
