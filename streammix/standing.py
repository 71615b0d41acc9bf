"""Which families may stand side by side: in the components of a model, and in one field of them."""

from typing import Any

from streammix.core.values import short
from streammix.errors import ConfigError
from streammix.families import Categorical, Dirichlet, Family, Fixed, Multinomial, MultivariateNormal, VonMises

__all__ = ["Names", "check_components", "field_name"]

Names = tuple[str, ...]

GROUPS = (MultivariateNormal, Dirichlet, Multinomial)


def field_name(names: Names) -> str | Names:
    """Return the key under which people know a field or a group."""
    return names[0] if len(names) == 1 else names


def check_components(components: list[dict[Names, Family]]) -> None:
    """Refuse components that differ in their fields, and families that don't fit their fields or one another.

    Raises
    ------
    ConfigError
        Naming the field, the families and what was expected.
    """
    first = components[0]
    if not first:
        raise ConfigError("a model needs at least one field")
    seen: dict[str, Names] = {}
    for names in first:
        for name in names:
            if name in seen:
                raise ConfigError(f"field {name!r} stands in both {field_name(seen[name])!r} and {field_name(names)!r}")
            seen[name] = names
    for k, component in enumerate(components):
        if set(component) != set(first):
            odd = sorted(map(str, set(component) ^ set(first)))
            raise ConfigError(
                f"component {k} must have the same fields as component 0; they differ in {', '.join(odd)}"
            )
    for names in first:
        families = [component[names] for component in components]
        inner = [_inner_or_self(family) for family in families]
        for family in families:
            if not isinstance(family, Family):
                raise ConfigError(
                    f"field {field_name(names)!r}: expected a family such as Normal(), got {short(family)}"
                )
            n_fields = family.n_fields
            if (n_fields is not None and n_fields != len(names)) or (len(names) > 1 and n_fields == 1):
                raise ConfigError(f"{family!r} spans {n_fields} fields, but {field_name(names)!r} names {len(names)}")
            if len(names) == 1 and isinstance(_inner_or_self(family), Dirichlet | Multinomial):
                raise ConfigError(f"{family!r} spans two fields or more, but {field_name(names)!r} names 1")
        periods = {angle.period: angle.turn for angle in inner if isinstance(angle, VonMises)}
        if len(periods) > 1:
            shown = sorted(periods, key=lambda period: periods[period])
            text = ", ".join(period if isinstance(period, str) else f"{period:g}" for period in shown)
            raise ConfigError(f"field {field_name(names)!r}: the angles of one field have one period, not {text}")
        groups = {_group_of(family) for family in families}
        has_groups = len(names) > 1 and any(isinstance(one, GROUPS) for one in inner)
        if len({isinstance(one, Categorical) for one in inner}) > 1 or (
            has_groups and len(groups) > 1 and not _all_foreign(components, names)
        ):
            raise ConfigError(f"field {field_name(names)!r}: these families can't stand side by side in one model")


def _all_foreign(components: list[dict[Names, Family]], names: Names) -> bool:
    families = [component[names] for component in components]
    return (
        all(isinstance(_inner_or_self(f), GROUPS) or (isinstance(f, Fixed) and f.is_foreign) for f in families)
        and len({_group_of(f) for f in families} - {None}) == 1
    )


def _group_of(family: Family) -> type[Family] | None:
    inner = _inner_or_self(family)
    return type(inner) if isinstance(inner, GROUPS) else None


def _inner_or_self(family: Family) -> Any:
    return family.distribution if isinstance(family, Fixed) else family
