"""One function for each claim of the paper that this version can test; its docstring is the rule of claims.csv."""

from collections.abc import Mapping

from reports.checks import (
    degradation,
    elsewhere,
    imagenet,
    inside,
    longer,
    printed,
    residual,
    shortcuts,
    structure,
    variants,
)
from reports.checks.rules import Check, CheckOfAll, caveats
from reports.checks.together import CHECKS_OF_CLAIMS

__all__ = ["CHECKS", "CHECKS_OF_ALL", "CHECKS_OF_CLAIMS", "caveats"]

CHECKS: Mapping[str, Check] = {
    **degradation.CHECKS,
    **imagenet.CHECKS,
    **inside.CHECKS,
    **longer.CHECKS,
    **residual.CHECKS,
    **shortcuts.CHECKS,
    **printed.CHECKS,
    **variants.CHECKS,
}
"""Over runs of arms that may be compared."""
CHECKS_OF_ALL: Mapping[str, CheckOfAll] = {
    **degradation.CHECKS_OF_ALL,
    **elsewhere.CHECKS_OF_ALL,
    **longer.CHECKS_OF_ALL,
    **shortcuts.CHECKS_OF_ALL,
    **structure.CHECKS_OF_ALL,
    **variants.CHECKS_OF_ALL,
}
"""Over every arm of the study: they compare across recipes, or look at networks alone."""
