"""One function for each claim of the paper that this version can test; its docstring is the rule of claims.csv."""

from collections.abc import Mapping

from reports.checks import degradation, imagenet, printed, residual, shortcuts
from reports.checks.rules import Check, CheckOfAll, caveats

__all__ = ["CHECKS", "CHECKS_OF_ALL", "caveats"]

CHECKS: Mapping[str, Check] = {
    **degradation.CHECKS,
    **imagenet.CHECKS,
    **residual.CHECKS,
    **shortcuts.CHECKS,
    **printed.CHECKS,
}
"""Over runs of arms that may be compared."""
CHECKS_OF_ALL: Mapping[str, CheckOfAll] = {**degradation.CHECKS_OF_ALL, **shortcuts.CHECKS_OF_ALL}
"""Over every arm of the study: they compare across recipes, or look at networks alone."""
