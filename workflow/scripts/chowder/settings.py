"""The config, checked: the first thing wrong with it as one line that names the key and says what to do."""

from __future__ import annotations

import difflib
import functools
import math
import os
from pathlib import Path

from chowder.files import UserError, has_control


def check(config: dict, schema: str | os.PathLike) -> None:
    """Raise :class:`UserError` for the first key of ``config`` that ``schema`` (a JSON schema in YAML) refuses.

    Values given as ``--config 'training={members: 50}'`` arrive as text; they are first read as what the schema wants,
    in place.
    """
    import jsonschema

    rules = _rules(os.fspath(schema))
    for key in config:
        config[key] = _typed(config[key], rules["properties"].get(key, {}))
    _plain(config)
    errors = sorted(
        jsonschema.Draft202012Validator(rules).iter_errors(config), key=lambda e: ([str(p) for p in e.path], e.message)
    )
    if errors:
        raise UserError(f"config: {explain(errors[0])}")


@functools.cache
def _rules(schema: str) -> dict:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time
    return yaml.load(Path(schema).read_text(encoding="utf-8"), loader)


def _plain(value, *place: str) -> None:
    """Refuse what no key may hold: NaN and infinity, which pass every range, and control characters.

    (A schema's ``$`` means the end of the text. Python's also matches before a line end there.)
    """
    key = ".".join(place)
    if isinstance(value, dict):
        for name, item in value.items():
            if has_control(str(name)):
                raise UserError(f"config: {key or name!r}: key {name!r} holds a control character: remove it")
            _plain(item, *place, str(name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _plain(item, *place, str(number))
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"config: {key}: {value} is not a finite number: see config.yaml")
    elif isinstance(value, str) and has_control(value):
        raise UserError(f"config: {key}: {value[:80]!r} holds a control character: remove it")


def _typed(value, rules: dict):
    """``value`` with every text read as YAML where ``rules`` do not want text."""
    import yaml

    if isinstance(value, dict):
        known, other = rules.get("properties", {}), rules.get("additionalProperties")
        other = other if isinstance(other, dict) else {}
        for key in value:
            value[key] = _typed(value[key], known.get(key, other))
    elif isinstance(value, list):
        items = next((rule["items"] for rule in (rules, *rules.get("anyOf", [])) if "items" in rule), {})
        value = [_typed(item, items) for item in value]
    elif isinstance(value, str):
        kinds = [kind for rule in (rules, *rules.get("anyOf", [])) for kind in _listed(rule.get("type"))]
        if kinds and ("string" not in kinds or ("null" in kinds and value in ("null", ""))):
            for reader in (int, float, yaml.safe_load):  # YAML 1.1 takes 1e-3 for text
                try:
                    read = reader(value)
                except (ValueError, yaml.YAMLError):
                    continue
                return read if isinstance(read, bool | int | float | None) else value
    return value


def _listed(kind) -> list:
    return kind if isinstance(kind, list) else [kind] if kind else []


def explain(error) -> str:
    """One line for a ``jsonschema.ValidationError``: the key with its sections, what is wrong, what to do."""
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        wrong = next(name for name in error.instance if name not in known)
        near = difflib.get_close_matches(str(wrong), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"unknown key {f'{key}.' if key else ''}{wrong}: {hint}"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"key {f'{key}.' if key else ''}{missing} is missing: see config.yaml for its meaning and default"
    if error.validator == "enum":
        return f"{key}: {error.instance!r} is not known: use {' or '.join(str(v) for v in error.validator_value)}"
    if error.validator == "type":
        wanted = error.validator_value
        wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
        return f"{key}: {error.instance!r} is not of type {wanted}: see config.yaml"
    if error.validator == "anyOf":
        inner = [part for part in error.context if part.validator not in ("type", "const")]
        if inner:  # of the right type, but not right
            return explain(inner[0])
        forms = [str(rule.get("const", rule.get("type"))) for rule in error.validator_value]
        return f"{key}: {error.instance!r} is not known: give {' or '.join(forms)}: see config.yaml"
    if error.validator == "maxLength":
        return f"{key}: {error.instance[:40]!r}... is too long: use at most {error.validator_value} characters"
    return f"{key}: {error.message}: see config.yaml"
