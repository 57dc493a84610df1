"""PAP: what the paper says of its own numbers in footnotes and tables."""

from collections.abc import Mapping

from models.complexity import parameters
from reports.arms import Pool
from reports.checks.rules import TEST, Check, finding
from reports.evidence import plain
from reports.noise import spread
from reports.samples import sample
from reports.verdicts import Finding, NotEnoughError


def _paper_only(pool: Pool) -> None:
    if not pool.paper:
        raise NotEnoughError(f"compares with an error that the paper printed, and this was {pool.title}")


def pap_02(pool: Pool) -> Finding:
    """1,727,962 < 2.3 M parameters, and error < 7.54."""
    used = sample(pool, "A", 110, TEST)
    _paper_only(pool)
    count = parameters(used.arm.network)
    statistic = f"{count:,} parameters against 2.3 M; test error {used.mean:.2f} against 7.54"
    return finding([plain(count < 2_300_000 and used.mean < 7.54)], statistic, [used], parameters=count)


def pap_04(pool: Pool) -> Finding:
    """Mean within 6.61 ± 0.3; sample standard deviation < 0.35."""
    used = sample(pool, "A", 110, TEST)
    _paper_only(pool)
    deviation = spread(used.values) or 0.0
    best = min(used.values)
    statistic = f"ResNet-110: {used.mean:.2f} ± {deviation:.2f} over {used.n} seeds, best {best:.2f}"
    return finding(
        [plain(abs(used.mean - 6.61) <= 0.3 and deviation < 0.35)],
        f"{statistic}; the paper 6.61 ± 0.16, best 6.43",
        [used],
        best=best,
    )


CHECKS: Mapping[str, Check] = {
    "PAP-02": pap_02,
    "PAP-04": pap_04,
}
