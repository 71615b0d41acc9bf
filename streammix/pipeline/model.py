"""The ``[model]`` section as a `Mixture`, and what the section says of the records' fields."""

from typing import Any

from streammix.errors import ConfigError
from streammix.families import Categorical, Family, Fixed, from_json
from streammix.mixture import Mixture
from streammix.pipeline.sections import ModelSection
from streammix.stepsize import step_size_from_json

__all__ = ["build_model", "check_ignored", "check_same", "declared_fields", "text_fields", "time_field"]

PLAIN_ONLY = ("components", "weights", "step_size", "batch_size", "averaging")
AUTO_ONLY = ("drift", "background")

Fields = dict[str | tuple[str, ...], Family]


def build_model(section: ModelSection) -> Mixture:
    """Return the model that the section declares.

    Raises
    ------
    ConfigError
        If a family, a step size or a value is wrong; the error names the key.

    Examples
    --------
    >>> build_model(ModelSection(n_components=2, fields={"lat, lon": "MultivariateNormal"})).fields
    {('lat', 'lon'): MultivariateNormal()}
    """
    try:
        step_size = step_size_from_json(section.step_size)
    except ConfigError as error:
        raise ConfigError(f"[model] step_size: {error}") from None
    arguments = _arguments(section)
    try:
        if section.kind == "auto":
            from streammix.auto.automixture import AutoMixture  # half of all modules

            return AutoMixture(**arguments | {"drift": _drift(section.drift)})
        return Mixture(**arguments | {"step_size": step_size, "components": _components(section)})
    except ConfigError as error:
        raise ConfigError(f"[model] {error}") from None


def declared_fields(section: ModelSection) -> set[str] | None:
    """Return the names of the fields that the model reads; None if they are inferred from the records.

    Examples
    --------
    >>> sorted(declared_fields(ModelSection(fields={"lat, lon": "MultivariateNormal", "hour": "Normal"})))
    ['hour', 'lat', 'lon']
    """
    tables = [] if section.infer else _tables(section)
    if not tables:
        return None
    time = time_field(section)
    return _learnt(tables) | ({time} if time is not None else set())


def check_ignored(section: ModelSection, ignore: list[str]) -> None:
    """Refuse to keep fields from the model that it declares.

    Raises
    ------
    ConfigError
        If there is such a field.
    """
    for name in ignore:
        if name in _learnt(_tables(section)):
            raise ConfigError(f"ignore: the model declares the field {name!r}")


def time_field(section: ModelSection) -> str | None:
    """Return the name of the field that event time is read from; None where the model does not go by event time.

    Examples
    --------
    >>> time_field(ModelSection(step_size={"step_size": "HalfLife", "time": "2h", "field": "at"}))
    'at'
    """
    tables = (value for value in (section.step_size, section.drift) if isinstance(value, dict))
    return next((table["field"] for table in tables if "field" in table), None)


def text_fields(section: ModelSection) -> set[str]:
    """Return the names of the fields that are declared categorical."""
    return {
        name for table in _tables(section) for key, family in table.items() if _is_text(family) for name in _names(key)
    }


def check_same(declared: Mixture, section: ModelSection, known: Mixture) -> None:
    """Refuse to go on with a model that was declared otherwise.

    Parameters
    ----------
    declared
        The model of the configuration.
    section
        Its declaration.
    known
        The model of the checkpoint.

    Raises
    ------
    ConfigError
        If an argument differs; the error names it with both values.
    """
    if type(declared) is not type(known):
        raise ConfigError(
            f"[model] declares {type(declared).__name__}, but the checkpoint's model is {type(known).__name__}; "
            "take that, or start anew with another checkpoint directory"
        )
    for name in _arguments(section):
        ours, theirs = _argument(declared, name), _argument(known, name)
        if ours != theirs:
            raise ConfigError(
                f"[model] {name} is {ours!r}, but the checkpoint's model was declared with {theirs!r}; "
                "take that, or start anew with another checkpoint directory"
            )


def _arguments(section: ModelSection) -> dict[str, Any]:
    """The section's keys that are the model's arguments; others may not be given."""
    is_auto = section.kind == "auto"
    other = PLAIN_ONLY if is_auto else AUTO_ONLY
    fresh = ModelSection()
    for name in other:
        if getattr(section, name) != getattr(fresh, name):
            raise ConfigError(f"[model] {name} does not go with kind = {section.kind!r}")
    if not is_auto and not isinstance(section.n_components, int):
        raise ConfigError(f"[model] n_components must be a whole number, not {section.n_components!r}")
    names = [name for name in section.__struct_fields__ if name not in (*other, "kind")]
    found = {name: getattr(section, name) for name in names} | {"fields": _fields(section)}
    if isinstance(section.n_components, list):
        found["n_components"] = tuple(section.n_components)
    return found


def _drift(declared: str | dict[str, Any] | None) -> Any:
    if isinstance(declared, dict):
        return step_size_from_json({"step_size": "HalfLife"} | declared)
    return "auto" if declared is None else declared


def _argument(model: Mixture, name: str) -> Any:
    return model._get_params()[name]


def _fields(section: ModelSection) -> Fields | None:
    return None if section.fields is None else _families("[model.fields]", section.fields)


def _components(section: ModelSection) -> list[Fields] | None:
    if section.components is None:
        return None
    return [_families(f"[[model.components]] number {k}", table) for k, table in enumerate(section.components)]


def _learnt(tables: list[Fields]) -> set[str]:
    return {name for table in tables for key in table for name in _names(key)}


def _tables(section: ModelSection) -> list[Fields]:
    fields = _fields(section)
    return [fields] if fields is not None else _components(section) or []


def _families(place: str, table: dict[str, str | dict[str, Any]]) -> Fields:
    families: Fields = {}
    for key, declared in table.items():
        names = _names(key)
        if not all(names):
            raise ConfigError(f"{place} {key!r}: a field's name is empty")
        try:
            families[names if len(names) > 1 else names[0]] = from_json(declared)
        except ConfigError as error:
            raise ConfigError(f"{place} {key}: {error}") from None
    return families


def _names(key: str | tuple[str, ...]) -> tuple[str, ...]:
    return key if isinstance(key, tuple) else tuple(name.strip() for name in key.split(","))


def _is_text(family: Family) -> bool:
    return isinstance(family.distribution if isinstance(family, Fixed) else family, Categorical)
