"""The key of a trial: a hash of all that can change its result, and of nothing else.

Equal work has an equal key, in whichever study it stands, so it runs once. Fields at their default are left out of the
hash: a new field with a neutral default keeps every key that exists.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from hashlib import sha256
from typing import Any

from ablations.data.sets import known
from ablations.recipes import Recipe, effective
from models.spec import Network

SEMANTICS = 2
"""Version of what training does with these parameters. Raise it when a change in code changes results."""
EFFECTIVE_SINCE = 2
"""Keys of older semantics also tell values apart that change nothing."""


def params(network: Network, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Everything that a trial needs to run, as JSON."""
    return {
        "network": asdict(network),
        "recipe": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()},
        "data": {"name": network.data, "fingerprint": known(network.data).fingerprint},
        "seed": seed,
        "semantics": SEMANTICS,
    }


def from_params(params: Mapping[str, Any]) -> tuple[Network, Recipe, int]:
    """The network, recipe and seed of a trial; a field that is not among the parameters is at its default."""
    return Network(**params["network"]), Recipe(**params["recipe"]), params["seed"]


def key(params: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that are the same for the same work."""
    network, recipe, seed = from_params(params)
    if params["semantics"] >= EFFECTIVE_SINCE:
        recipe = effective(recipe, network.depth)
    work = {
        "network": _departures(network),
        "recipe": _departures(recipe),
        "data": dict(params["data"]),
        "seed": seed,
        "semantics": params["semantics"],
    }
    text = json.dumps(_zero_has_no_sign(work), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256(text.encode()).hexdigest()[:16]


def _departures(of: Network | Recipe) -> dict[str, Any]:
    given = {field.name: (getattr(of, field.name), field.default) for field in fields(of)}
    return {name: value for name, (value, default) in given.items() if value != default}


def _zero_has_no_sign(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _zero_has_no_sign(value) for name, value in part.items()}
    return part + 0.0 if isinstance(part, float) else part
