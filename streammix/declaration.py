"""A mixture's arguments: checked, and to and from JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from streammix import families
from streammix.errors import ConfigError
from streammix.families import Family, Fixed
from streammix.stepsize import HalfLife, PowerDecay, RunningMean, StepSize, step_size_from_json, step_size_to_json

__all__ = ["Declaration", "checked", "from_json", "shown", "to_json"]

Names = tuple[str, ...]

LARGEST_BATCH = 10_000_000
LARGEST_NUMBER = 100_000  # of components
LARGEST_WARM_UP = 1_000_000  # records, which are kept as they came
LARGEST_MODEL = 2_000_000  # components times fields


@dataclass(frozen=True)
class Declaration:
    """A mixture's arguments, checked and in one form."""

    n_components: int
    fields: dict[Names, Family] | None
    components: list[dict[Names, Family]] | None
    weights: list[float] | None
    step_size: StepSize
    batch_size: int
    warm_up: int | None
    averaging: bool
    infer: bool = False
    ignored: tuple[str, ...] = ()

    @cached_property  # each checkpoint has it
    def as_json(self) -> dict[str, Any]:
        """The arguments as JSON can hold them, but for the seed."""
        components = self.components
        return {
            "n_components": self.n_components,
            "fields": None if self.fields is None else _declared_to_json(self),
            "components": None if components is None else [_fields_to_json(component) for component in components],
            "weights": self.weights,
            "step_size": step_size_to_json(self.step_size),
            "batch_size": self.batch_size,
            "warm_up": self.warm_up,
            "averaging": self.averaging,
            "seed": None,
            "infer": self.infer,
        }

    @property
    def infers(self) -> bool:
        """Whether fields that are not declared get a family, too."""
        return self.components is None and (self.fields is None or self.infer)

    @property
    def declared_names(self) -> frozenset[str]:
        """The fields that are declared, in use or not."""
        return frozenset(name for names in self.fields or () for name in names) | frozenset(self.ignored)


def checked(
    n_components: int,
    fields: Mapping[Any, Family | None] | None,
    components: Sequence[Mapping[Any, Family]] | None,
    weights: Sequence[float] | None,
    step_size: StepSize | None,
    batch_size: int,
    warm_up: int | None,
    averaging: bool,
    seed: int | None,
    infer: bool = False,
) -> Declaration:
    """Check a mixture's arguments against one another.

    Raises
    ------
    ConfigError
        Naming the argument, its value and what was expected.
    """
    _whole("n_components", n_components, 1)
    if n_components > LARGEST_NUMBER:
        raise ConfigError(f"n_components must be at most {LARGEST_NUMBER:,}, not {n_components!r}")
    _whole("batch_size", batch_size, 1)
    if batch_size > LARGEST_BATCH:
        raise ConfigError(f"batch_size must be at most {LARGEST_BATCH:,}, not {batch_size!r}")
    step_size = PowerDecay(0.6) if step_size is None else step_size
    if not isinstance(step_size, (PowerDecay, RunningMean, HalfLife)):
        raise ConfigError(f"step_size must be PowerDecay, RunningMean or HalfLife, not {step_size!r}")
    if not isinstance(averaging, bool):
        raise ConfigError(f"averaging must be True or False, not {averaging!r}")
    if not isinstance(infer, bool):
        raise ConfigError(f"infer must be True or False, not {infer!r}")
    if infer and components is not None:
        raise ConfigError("infer=True goes with fields=: components= name all fields")
    if warm_up is not None:
        _whole("warm_up", warm_up, 1)
        if warm_up > LARGEST_WARM_UP:
            raise ConfigError(f"warm_up must be at most {LARGEST_WARM_UP:,}, not {warm_up!r}")
    if seed is not None:
        _whole("seed", seed, 0)
    if fields is not None and components is not None:
        raise ConfigError("give fields= or components=, not both")
    if components is None:
        if weights is not None:
            raise ConfigError("weights= go with components=: without an explicit start they are learnt")
        if warm_up is not None and warm_up < n_components:
            raise ConfigError(f"warm_up must be at least n_components = {n_components}, not {warm_up}")
        learnt, ignored = _learnt(fields, infer)
        if n_components * len(learnt or ()) > LARGEST_MODEL:
            raise ConfigError(
                f"n_components times the number of fields must be at most {LARGEST_MODEL:,}, "
                f"not {n_components:,} times {len(learnt or ()):,}"
            )
        return Declaration(n_components, learnt, None, None, step_size, batch_size, warm_up, averaging, infer, ignored)
    given = [_by_names(component) for component in components]
    if not given:
        raise ConfigError("components= needs at least one component")
    if n_components not in (len(given), 3):
        raise ConfigError(f"n_components is {n_components}, but components= has {len(given)}")
    for k, component in enumerate(given):
        for names, family in component.items():
            if isinstance(family, Family) and not family.is_given:
                raise ConfigError(f"component {k}, field {', '.join(names)}: {family!r} needs parameters to start from")
    shares = [1 / len(given)] * len(given) if weights is None else [float(weight) for weight in weights]
    if len(shares) != len(given) or not all(0 <= share < float("inf") for share in shares):
        raise ConfigError(f"weights must be {len(given)} numbers, 0 or more, not {weights!r}")
    total = sum(shares)
    if abs(total - 1.0) > 1e-6:
        raise ConfigError(f"weights must sum to 1, not to {total!r}")
    shares = [share / total for share in shares] if total != 1.0 else shares
    return Declaration(len(given), None, given, shares, step_size, batch_size, warm_up, averaging)


def to_json(declaration: Declaration, seed: int | None) -> dict[str, Any]:
    """Return the arguments as JSON can hold them."""
    return declaration.as_json | {"seed": seed}


def from_json(values: Mapping[str, Any], fixed: Mapping[Any, Any] | None = None) -> dict[str, Any]:
    """Return the arguments that `to_json` wrote.

    Parameters
    ----------
    values
        What `to_json` returned.
    fixed
        Distributions that a file can't hold, by field, or by (component, field) where components differ.

    Raises
    ------
    ConfigError
        If a value is unknown, or a distribution is needed that `fixed` lacks.
    """
    arguments = dict(values)
    fields, components = arguments.get("fields"), arguments.get("components")
    if fields is not None:
        arguments["fields"] = _fields_from_json(fields, 0, fixed or {})
    if components is not None:
        arguments["components"] = [_fields_from_json(c, k, fixed or {}) for k, c in enumerate(components)]
    arguments["step_size"] = step_size_from_json(arguments["step_size"])
    return arguments


def shown(arguments: Mapping[str, Any], defaults: Sequence[Any]) -> str:
    """Return the arguments that are not what they are where left out, as they are written in a call."""
    given = zip(arguments.items(), defaults, strict=True)
    return ", ".join(
        f"{name}={value!r}"
        for (name, value), default in given
        if not (type(value) is type(default) and value == default) and value != PowerDecay(0.6)
    )


def _declared_to_json(declaration: Declaration) -> list[list[Any]]:
    return [*_fields_to_json(declaration.fields or {}), *([[name], None] for name in declaration.ignored)]


def _fields_to_json(fields: Mapping[Names, Family]) -> list[list[Any]]:
    return [[list(names), family.to_json()] for names, family in fields.items()]


def _fields_from_json(pairs: Sequence[Any], component: int, fixed: Mapping[Any, Any]) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for names, form in pairs:
        name = names[0] if len(names) == 1 else tuple(names)
        if form is None:
            result[name] = None
        elif isinstance(form, Mapping) and "object" in form:
            given = fixed.get((component, name), fixed.get(name))
            if given is None:
                raise ConfigError(
                    f"component {component}, field {name!r}: Fixed({form['object']}) can't be held by a file; "
                    f"give it again as fixed={{{name!r}: ...}}"
                )
            result[name] = given if isinstance(given, Fixed) else Fixed(given)
        else:
            result[name] = families.from_json(form)
    return result


def _by_names(fields: Any) -> dict[Names, Family]:
    if not isinstance(fields, Mapping):
        raise ConfigError(f"expected a mapping from fields to families, got {fields!r}")
    result = {}
    for key, family in fields.items():
        names = key if isinstance(key, tuple) else (key,)
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"a field is named by a string, or a group of fields by a tuple of strings, not {key!r}")
        if not isinstance(family, Family):
            raise ConfigError(f"field {key!r}: expected a family such as Normal(), got {family!r}")
        result[names] = family
    return result


def _learnt(fields: Any, infer: bool) -> tuple[dict[Names, Family] | None, tuple[str, ...]]:
    """The families of fields that are to be learnt, and the fields that are to be left out."""
    if fields is None:
        return None, ()
    ignored: tuple[str, ...] = ()
    if infer and isinstance(fields, Mapping):
        ignored = tuple(name for name, family in fields.items() if family is None and isinstance(name, str))
        fields = {name: family for name, family in fields.items() if name not in ignored}
    result = _by_names(fields)
    for names, family in result.items():
        if family.is_given and family.parameter_names and not isinstance(family, Fixed):
            raise ConfigError(
                f"field {', '.join(names)}: parameters in fields= come from the warm-up; give a start for each "
                f"component by components=, or hold {family!r} still by Fixed({family!r})"
            )
    return result, ignored


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number, {least} or more, not {value!r}")
