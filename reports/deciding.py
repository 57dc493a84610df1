"""Which arms get more seeds, where claims are still undecided."""

from collections.abc import Mapping, Sequence

from reports.verdicts import Answer, Verdict


def pursued(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The undecided claims that more seeds would decide, at the means and spreads seen so far."""
    return [each for each in verdicts if each.verdict is Answer.UNDECIDED and each.further]


def seeds_to_add(verdicts: Sequence[Verdict], planned: Mapping[str, int], most: int) -> Mapping[str, int]:
    """Seeds more of each arm of these claims, by the arm's name; `planned` are those that it has.

    No arm is more than doubled at once, for spreads of few seeds tell little of how many it will take, and none gets
    more than `most` in all.
    """
    asked: dict[str, int] = {}
    for each in pursued(verdicts):
        for arm, seeds in (each.further or {}).items():
            asked[arm] = max(asked.get(arm, 0), seeds)
    allowed = {arm: min(seeds, max(planned[arm], 1), most - planned[arm]) for arm, seeds in asked.items()}
    return {arm: seeds for arm, seeds in allowed.items() if seeds > 0}
