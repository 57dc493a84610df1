"""How much of the paper stands: its whole list of tables, figures and claims, over all recorded studies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from models.spec import Shortcut
from orchestrator.ledger import Ledger
from orchestrator.runs import Outcome, Run, read_run
from orchestrator.studies import RecordedArm, RecordedStudy
from reports.arms import MeasuredArm, called, gather
from reports.cells import Metric
from reports.claims import PAPER_CLAIMS, judge
from reports.published import ImageNetRow, paper_claims, table_2, table_3, table_4, table_6
from reports.verdicts import Answer, Verdict

State = Literal["measured", "partial", "demonstration", "missing", "computed", "drawing", "published"]
"""`demonstration`: under another recipe than the paper's alone. `computed`: nothing has to be trained for it.
`drawing`: of an idea or a network, without a number. `published`: no run of this version measures it."""


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """One study as the index lists it."""

    study: RecordedStudy
    arms: tuple[MeasuredArm, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(run for arm in self.arms for run in arm.runs)

    def answers(self, answer: Answer) -> int:
        return sum(each.verdict is answer for each in self.verdicts)


@dataclass(frozen=True, kw_only=True)
class Item:
    """A table or a figure of the paper, and how much of it was measured as the paper did."""

    id: str
    """`table-6`."""
    title: str
    caption: str
    state: State
    done: int = 0
    """Of its numbers, or lines."""
    total: int = 0
    studies: tuple[str, ...] = ()
    """Whose runs stand in it."""
    demonstrations: tuple[str, ...] = ()
    """Those that show it under another recipe."""


@dataclass(frozen=True, kw_only=True)
class ClaimState:
    """A claim of the paper with its verdict in every study that judges it, the one that counts most first."""

    id: str
    text: str
    source: str
    state: State
    verdicts: tuple[tuple[str, Verdict], ...]
    """With the study's name; empty text: over the arms of all studies together."""

    @property
    def study(self) -> str:
        return self.verdicts[0][0]

    @property
    def verdict(self) -> Verdict:
        return self.verdicts[0][1]

    @property
    def disagree(self) -> bool:
        """Whether it holds in one study and fails in another."""
        return {Answer.HOLDS, Answer.FAILS} <= {each.verdict for _, each in self.verdicts}


@dataclass(frozen=True, kw_only=True)
class Index:
    studies: tuple[StudyState, ...]
    tables: tuple[Item, ...]
    figures: tuple[Item, ...]
    claims: tuple[ClaimState, ...]
    problems: tuple[str, ...]
    """Why a study's record could not be read, in a line each."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """Each trial once, however many studies it serves."""
        return tuple({run.key: run for each in self.studies for run in each.runs}.values())


def read_studies(studies: Iterable[RecordedStudy], ledger: Ledger) -> list[tuple[RecordedStudy, list[Run]]]:
    """Each study with its runs; a trial that serves several is read once."""
    known: dict[str, Run] = {}

    def read(arm: RecordedArm, seed: int, key: str) -> Run:
        if key not in known:
            known[key] = read_run(arm, seed, key, ledger)
        return replace(known[key], name=f"{arm.name}.s{seed}", arm=arm.name, seed=seed)

    return [(study, [read(arm, seed, key) for arm in study.arms for seed, key in arm.trials]) for study in studies]


def index_of(recorded: Iterable[tuple[RecordedStudy, Sequence[Run]]], problems: Sequence[str] = ()) -> Index:
    """`recorded` has each study with its runs; `problems` says of every other why it could not be read."""
    states = tuple(
        StudyState(study=study, arms=gather(study, runs), verdicts=tuple(judge(study, runs)))
        for study, runs in recorded
    )
    arms = [(state.study.name, arm) for state in states for arm in state.arms]
    shown = {name: [*(s.study.name for s in states if name in (*s.study.tables, *s.study.figures))]
             for name in (*_TABLES, *_FIGURES)}  # fmt: skip
    return Index(
        studies=states,
        tables=tuple(_item(id_, f"Table {id_[6:]}", arms, shown, *what) for id_, what in _TABLES.items()),
        figures=tuple(_item(id_, f"Figure {id_[7:]}", arms, shown, *what) for id_, what in _FIGURES.items()),
        claims=_claims(states),
        problems=tuple(problems),
    )


# Tables and figures ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Need:
    """A number or a line of the paper: what of which network."""

    data: str
    shortcut: Shortcut
    depth: int
    has: Callable[[Run], bool]
    """Whether a finished run has it."""

    @property
    def network(self) -> tuple[str, str, int]:
        return (self.data, self.shortcut, self.depth)

    def __str__(self) -> str:
        return called(self.shortcut, self.depth)


def _has_metric(metric: Metric, run: Run) -> bool:
    return metric.value in run.result


def _has_curve(run: Run) -> bool:
    return "test_error" in run.curves


def _has_response(run: Run) -> bool:
    return any(each.get("response") for each in run.probes)


Needs = Callable[[], Sequence[Need]]


def _metrics(data: str, networks: Iterable[tuple[Shortcut, int]], *metrics: Metric) -> list[Need]:
    return [
        Need(data=data, shortcut=shortcut, depth=depth, has=partial(_has_metric, metric))
        for shortcut, depth in networks
        for metric in metrics
    ]


def _networks(rows: Iterable[ImageNetRow]) -> list[tuple[Shortcut, int]]:
    """Those that the paper trained itself."""
    return [(row.shortcut, row.depth) for row in rows if row.shortcut and row.depth]


def _table_2() -> list[Need]:
    networks: list[tuple[Shortcut, int]] = [(kind, row.depth) for row in table_2() for kind in ("none", "A")]
    return _metrics("imagenet", networks, Metric.LAST_TEN_CROP)


def _table_3() -> list[Need]:
    return _metrics("imagenet", _networks(table_3()), Metric.LAST_TEN_CROP, Metric.LAST_TEN_CROP_TOP5)


def _table_4() -> list[Need]:
    return _metrics("imagenet", _networks(table_4()), Metric.LAST_MULTI_SCALE, Metric.LAST_MULTI_SCALE_TOP5)


def _table_5() -> list[Need]:
    """The paper does not name its six members but two of 152 layers; here those of 34 layers (B) to 152 each vote."""
    return _metrics("imagenet", (("B", depth) for depth in (34, 50, 101, 152)), Metric.LAST_MULTI_SCALE_TOP5)


def _table_6() -> list[Need]:
    networks: list[tuple[Shortcut, int]] = [("A", row.layers) for row in table_6() if row.layers and not row.quoted]
    return _metrics("cifar10", networks, Metric.LAST_TEST)


def _lines(data: str, has: Callable[[Run], bool], **depths: Sequence[int]) -> Sequence[Need]:
    families: Mapping[str, Shortcut] = {"plain": "none", "residual": "A"}
    return [
        Need(data=data, shortcut=families[family], depth=depth, has=has)
        for family, found in depths.items()
        for depth in found
    ]


_TABLES: Mapping[str, tuple[str, Needs | State]] = {
    "table-1": ("Architectures for ImageNet, and what they cost", "computed"),
    "table-2": ("Plain and residual networks of 18 and 34 layers on ImageNet", _table_2),
    "table-3": ("ImageNet validation error, 10-crop", _table_3),
    "table-4": ("ImageNet validation error of single models, several scales", _table_4),
    "table-5": ("ImageNet error of ensembles", _table_5),
    "table-6": ("Error on the CIFAR-10 test set", _table_6),
    "table-7": ("Detection on PASCAL VOC 2007 and 2012", "published"),
    "table-8": ("Detection on COCO", "published"),
    "table-9": ("Improvements of detection on COCO", "published"),
    "table-10": ("Detection on PASCAL VOC 2007, by class", "published"),
    "table-11": ("Detection on PASCAL VOC 2012, by class", "published"),
    "table-12": ("Detection on ImageNet", "published"),
    "table-13": ("Localisation on the ImageNet validation set", "published"),
    "table-14": ("Localisation on ImageNet, beside the work of others", "published"),
}
_FIGURES: Mapping[str, tuple[str, Needs | State]] = {
    "figure-1": ("Degradation: plain networks of 20 and 56 layers on CIFAR-10",
                 partial(_lines, "cifar10", _has_curve, plain=(20, 56))),
    "figure-2": ("A building block of residual learning", "drawing"),
    "figure-3": ("VGG-19, plain-34 and ResNet-34", "drawing"),
    "figure-4": ("Training of 18 and 34 layers on ImageNet",
                 partial(_lines, "imagenet", _has_curve, plain=(18, 34), residual=(18, 34))),
    "figure-5": ("A building block and a bottleneck", "drawing"),
    "figure-6": ("Training on CIFAR-10, plain and residual, to 1202 layers",
                 partial(_lines, "cifar10", _has_curve, plain=(20, 32, 44, 56, 110),
                         residual=(20, 32, 44, 56, 110, 1202))),
    "figure-7": ("Responses of layers on CIFAR-10",
                 partial(_lines, "cifar10", _has_response, plain=(20, 56), residual=(20, 56, 110))),
}  # fmt: skip
"""What each holds; the numbers or lines that it is made of, or why there is none to measure."""


def _item(
    id_: str,
    title: str,
    arms: Sequence[tuple[str, MeasuredArm]],
    shown: Mapping[str, Sequence[str]],
    caption: str,
    what: Needs | State,
) -> Item:
    if not callable(what):
        return Item(id=id_, title=title, caption=caption, state=what)
    needs = what()
    found = [_standing(need, arms) for need in needs]
    done = sum(state == "measured" for state, _ in found)
    begun = any(state != "missing" for state, _ in found)
    studies = tuple(dict.fromkeys(name for _, names in found for name in names))
    others = tuple(name for name in shown[id_] if name not in studies and _begun(name, arms))
    state: State = "measured" if done == len(needs) else "partial" if begun else "missing"
    return Item(
        id=id_,
        title=title,
        caption=caption,
        state="demonstration" if state == "missing" and others else state,
        done=done,
        total=len(needs),
        studies=studies,
        demonstrations=others,
    )


def _begun(study: str, arms: Sequence[tuple[str, MeasuredArm]]) -> bool:
    return any(run.outcome is not Outcome.MISSING for name, arm in arms if name == study for run in arm.runs)


def _standing(need: Need, arms: Sequence[tuple[str, MeasuredArm]]) -> tuple[State, tuple[str, ...]]:
    """How far it is, and the studies whose runs have a part in it. A trial of several studies is one."""
    found = [(name, arm) for name, arm in arms if arm.paper and _is(need, arm)]
    runs = {run.key: run for _, arm in found for run in arm.runs}
    done = {key for key, run in runs.items() if run.outcome is Outcome.FINISHED and need.has(run)}
    begun = done | {key for key, run in runs.items() if run.outcome is Outcome.RUNNING}
    studies = tuple(dict.fromkeys(name for name, arm in found if any(run.key in begun for run in arm.runs)))
    if runs and len(done) == len(runs):
        return "measured", studies
    return ("partial" if begun else "missing"), studies


def _is(need: Need, arm: MeasuredArm) -> bool:
    network = arm.network
    return (network.data, network.shortcut, network.depth) == need.network and not network.variant


# Claims ---------------------------------------------------------------------------------------------------------------


def together(states: Sequence[StudyState]) -> tuple[RecordedStudy, list[Run]]:
    """A study of all arms there are, each once, that makes every claim of the paper; and its runs."""
    arms: dict[str, RecordedArm] = {}
    for state in states:
        for measured in state.arms:
            arm = measured.arm
            same = repr((sorted(arm.network.items()), sorted(arm.recipe.items())))
            trials = dict(arms[same].trials if same in arms else ()) | dict(arm.trials)
            arms[same] = replace(arms.get(same, arm), trials=tuple(sorted(trials.items())))
    names: dict[str, int] = {}
    told = []
    for arm in arms.values():
        names[arm.name] = names.get(arm.name, 0) + 1
        told.append(arm if names[arm.name] == 1 else replace(arm, name=f"{arm.name} ({names[arm.name]})"))
    study = RecordedStudy(
        name="all-studies", question="", source="", text="", sha256="", overrides=(), arms=tuple(told), tables=(),
        figures=(), claims=tuple({"id": each} for each in PAPER_CLAIMS),
    )  # fmt: skip
    return study, [run for state in states for run in state.runs]


def _claims(states: Sequence[StudyState]) -> tuple[ClaimState, ...]:
    everywhere = {each.id: each for each in judge(*together(states))}
    known = paper_claims()
    return tuple(_claim(id_, everywhere[id_], states) for id_ in known)


def _claim(id_: str, everywhere: Verdict, states: Sequence[StudyState]) -> ClaimState:
    """What the studies that name the claim say; where none decides it, also what all arms together say."""
    asked = [state for state in states if {"id": id_} in state.study.claims]
    told = [(state.study.name, each) for state in asked for each in state.verdicts if each.id == id_]
    if all(each.verdict is Answer.UNDECIDED for _, each in told):
        told.append(("", everywhere))
    told.sort(key=lambda each: _weight(each[1]))
    claim = paper_claims()[id_]
    return ClaimState(
        id=id_,
        text=claim.text,
        source=claim.source,
        state=_state(told[0][1], claim.tier),
        verdicts=tuple(told),
    )


def _weight(verdict: Verdict) -> tuple[bool, bool, bool]:
    """Decided before undecided, the paper's recipe before others, more than no run before none."""
    return (verdict.verdict is Answer.UNDECIDED, bool(verdict.measured), not verdict.n)


def _state(verdict: Verdict, tier: str) -> State:
    if verdict.verdict is Answer.UNDECIDED:
        return "partial" if verdict.n else "missing"
    if verdict.measured:
        return "demonstration"
    return "computed" if tier == "S" and not verdict.n else "measured"
