"""What a study file may hold: its keys, their types and bounds, and what an error about each of them says."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from ablations.bounds import Bounds, Entries
from ablations.data.sets import FOLDER_VARIABLE, SETS, folder, names
from ablations.nearest import nearest
from ablations.reader import Document, StudyError, shown
from ablations.recipes import RECIPES, hints
from models.spec import Network
from orchestrator.studies import NAME

MOST_SEEDS = 1000
MOST_ENTRIES = 10_000

Table = Literal[
    "table", "table-1", "table-2", "table-3", "table-4", "table-5", "table-6", "table-7", "table-8", "table-9",
    "table-10", "table-11", "table-12", "table-13", "table-14",
]  # fmt: skip
Figure = Literal["curves", "figure-1", "figure-4", "figure-6", "figure-7", "gradients", "costs", "sizes"]
REPORT_TABLES: tuple[str, ...] = get_args(Table)
"""`table` is one of any study's arms; the others are the paper's."""
REPORT_FIGURES: tuple[str, ...] = get_args(Figure)
"""`curves`, `gradients`, `costs` and `sizes` draw any study's arms; the others are the paper's."""

PAPER_CLAIM = r"[A-Z]{2,3}-\d\d"
_CLAIM = rf"^({PAPER_CLAIM}|[a-z0-9-]+)$"


def choice(given: object, allowed: Collection[str]) -> str:
    """What is said of a value that is none of the allowed ones."""
    suggestion = nearest(given, allowed) if isinstance(given, str) else ""
    return f"{shown(given)} is not one of {', '.join(allowed)}{suggestion}"


def _one_of(allowed: Callable[[], Collection[str]]) -> Callable[[str], str]:
    def check(given: str) -> str:
        if given not in allowed():
            raise PydanticCustomError("choice", "{worded}", {"worded": choice(given, allowed())})
        return given

    return check


def _data(given: str) -> str:
    if given not in (allowed := names()):
        looked = (
            ""
            if nearest(given, allowed)
            else f"; prepared sets are looked for in {folder()}, and {FOLDER_VARIABLE} names another folder"
        )
        raise PydanticCustomError("choice", "{worded}", {"worded": choice(given, allowed) + looked})
    return given


DataName = Annotated[
    str, AfterValidator(_data), Field(json_schema_extra={"anyOf": [{"enum": [*SETS]}, {"pattern": NAME}]})
]
"""One that is built in, or prepared in the data folder."""
RecipeName = Annotated[str, AfterValidator(_one_of(lambda: RECIPES)), Field(json_schema_extra={"enum": [*RECIPES]})]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


MULTIPLIER = "schedule_multiplier"
"""What a study file may say of a recipe beside its own fields: `iterations` times so many. Drops are shares of the
iterations, so they scale with them (sec. 4.1, footnote 3: "3x" iterations)."""
_RECIPE_VALUES: Mapping[str, Any] = {**hints(), MULTIPLIER: Annotated[int, Bounds(at_least=1, at_most=100)]}
RECIPE_FIELDS = tuple(_RECIPE_VALUES)
"""Names of the values of a recipe, as a study file may give them."""


def _recipe_fields(prefix: str) -> dict[str, Any]:
    """Each value of a recipe as a field that may be left out, under the name that a study file gives it."""
    return {
        f"value_{name}": (_as_pydantic_has_it(hint), Field(default=None, alias=prefix + name))
        for name, hint in _RECIPE_VALUES.items()
    }


def _as_pydantic_has_it(hint: Any) -> Any:
    """A type whose bounds are ours as one whose bounds are pydantic's."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[_as_pydantic_has_it(arguments[0]), *map(_limit, arguments[1:])]
    if origin is tuple:
        return tuple[_as_pydantic_has_it(arguments[0]), ...]
    if origin in (Union, UnionType):
        return _as_pydantic_has_it(next(each for each in arguments if each is not NoneType)) | None
    return hint


def _limit(of: Bounds | Entries) -> Any:
    if isinstance(of, Entries):
        return Field(max_length=of.most)
    return Field(ge=of.at_least, gt=of.above, le=of.at_most, lt=of.below)


def _network_fields() -> dict[str, Any]:
    of = Network.__annotations__
    return {
        "data": (DataName, None),
        "depth": (Annotated[int, Field(ge=1, le=10_000)], None),
        "shortcut": (of["shortcut"], None),
        "stride": (of["stride"], None),
        "init": (of["init"], None),
        "width": (Annotated[int, Field(ge=1, le=4096)], None),
        "padding": (of["padding"], None),
        "block_layers": (Annotated[int, Field(ge=1, le=2)], None),
        "bottlenecks": (of["bottlenecks"], None),
        "grown_from": (Annotated[int, Field(ge=1, le=10_000)], None),
    }


def _fields(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    make: Any = create_model
    return make(name, __base__=_Strict, **fields)


class RecipeChoice(_fields("RecipeFields", {"name": (RecipeName, None), **_recipe_fields("")})):
    """A named recipe and single values set beside it; a bare word is a name."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"name": given}
        if isinstance(given, dict):
            return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        return given


_ARM_FIELDS = {
    **_network_fields(),
    "seeds": (Annotated[int, Field(ge=1, le=MOST_SEEDS)], None),
    "recipe": (RecipeChoice, None),
    **_recipe_fields("recipe."),
}


class Fields(_fields("ArmFields", _ARM_FIELDS)):
    """What an axis value, an include or an exclude says of an arm; what it leaves out is the study's or a default."""

    def flat(self) -> dict[str, Any]:
        """The fields that were given: `recipe` is a name, and a recipe's value is `recipe.lr`."""
        given = self.model_dump(by_alias=True, exclude_unset=True)
        return {**flat_recipe(given.pop("recipe", {})), **given}

    @model_validator(mode="after")
    def _once(self) -> "Fields":
        given = self.model_dump(by_alias=True, exclude_unset=True)
        for name in given.get("recipe", {}):
            if f"recipe.{name}" in given:
                raise ValueError(f"recipe.{name} is given twice; keep one")
        return self


def flat_recipe(given: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's choice as flat fields: `{"recipe": "cifar", "recipe.lr": 0.03}`."""
    return {"recipe" if name == "name" else f"recipe.{name}": value for name, value in given.items()}


class Claim(_Strict):
    """A sentence that the study tests: the paper's, by its id, or the study's own."""

    id: Annotated[str, Field(pattern=_CLAIM)]
    say: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)] = ""
    """The test, as `train_error(plain, 56) > train_error(plain, 20)`."""
    text: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)] = ""
    """The sentence as the report prints it; by default what `say` says."""

    @property
    def of_the_paper(self) -> bool:
        return bool(re.fullmatch(PAPER_CLAIM, self.id))

    @model_validator(mode="before")
    @classmethod
    def _id_alone(cls, given: Any) -> Any:
        return {"id": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _whose(self) -> "Claim":
        if self.of_the_paper and (self.say or self.text):
            raise ValueError(f"{self.id} is the paper's claim; give it alone, or your own a lower-case id")
        if not self.of_the_paper and not self.say:
            raise ValueError(
                f"'{self.id}' is no claim of the paper (as DEG-01), and an own claim needs `say`;"
                " write {id, say: train_error(plain, 56) > train_error(plain, 20)}"
            )
        return self


PIVOTED = Literal[
    "train_error", "test_error", "best_test_error", "clean_train_error", "validation_error", "precise_test_error",
    "clean_train_top5_error", "validation_top5_error", "test_top5_error", "precise_test_top5_error",
    "ten_crop_error", "ten_crop_top5_error", "multi_scale_error", "multi_scale_top5_error",
    "seconds", "images_per_second", "peak_memory_mib", "parameters", "multiply_adds",
]  # fmt: skip
"""What a pivot may have in its cells."""


PIVOTABLE = (
    *_network_fields(),
    "variant",
    "seed",
    *[f"recipe.{name}" for name in RECIPE_FIELDS if name != MULTIPLIER],
)
"""What a pivot may have down or across: what a record says of arms."""


def _pivotable(field: str) -> str:
    if field not in PIVOTABLE:
        like = nearest(field, PIVOTABLE) or "; give one of a network's, variant, seed, or one as recipe.lr"
        raise ValueError(f"{shown(field)} is no field of an arm{like}")
    return field


Pivotable = Annotated[str, AfterValidator(_pivotable), Field(json_schema_extra={"enum": [*PIVOTABLE]})]


class Pivot(_Strict):
    """A table of one metric: a field of the arms down, another across."""

    rows: Annotated[Pivotable, Field(description="a field of the arms, as depth or recipe.lr; variant; seed")]
    columns: Annotated[Pivotable, Field(description="another one")]
    metric: PIVOTED

    @model_validator(mode="after")
    def _apart(self) -> "Pivot":
        if self.rows == self.columns:
            raise ValueError(f"rows and columns must differ, not both {self.rows}")
        return self

    @property
    def name(self) -> str:
        return f"{self.rows} x {self.columns} x {self.metric}"


class Report(_Strict):
    """Which tables and figures the report shows."""

    tables: Annotated[tuple[Table, ...], Field(max_length=50)] = ("table",)
    figures: Annotated[tuple[Figure, ...], Field(max_length=50)] = ("curves",)
    pivots: Annotated[tuple[Pivot, ...], Field(max_length=50)] = ()

    @model_validator(mode="after")
    def _once(self) -> "Report":
        for shows in (self.tables, self.figures, [pivot.name for pivot in self.pivots]):
            twice = next((name for at, name in enumerate(shows) if name in shows[:at]), None)
            if twice:
                raise ValueError(f"{twice} is given twice; keep one")
        return self


class StudyFile(_Strict):
    """A study as its file says it: a question, its arms, seeds, claims and report."""

    name: Annotated[str, Field(pattern=NAME, description="a name for results and reports, as depth-and-init")]
    question: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
        Field(description="what the study asks, in one sentence"),
    ]
    source: Annotated[str, Field(max_length=2000, description="where in the paper, as sec. 4.2, Table 6")] = ""
    data: Annotated[DataName, Field(description="data set of every arm that names none")] = ""
    recipe: Annotated[
        RecipeChoice, Field(description="a named recipe, or {name: cifar, lr: 0.03}; by default the data set's")
    ] = RecipeChoice()
    matrix: Annotated[
        dict[str, Annotated[list[Fields], Field(min_length=1)]],
        Field(description="axes, whose product is the arms: a field and its values, or a label and mappings of fields"),
    ] = Field(default_factory=dict)
    include: Annotated[
        list[Fields], Field(max_length=MOST_ENTRIES, description="arms beside the matrix, one mapping of fields each")
    ] = Field(default_factory=list)
    exclude: Annotated[
        list[Fields], Field(max_length=200, description="arms of the matrix to leave out, by some of their fields")
    ] = Field(default_factory=list)
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS, description="seeds of every arm that names none: 0, 1, ...")] = 1
    claims: Annotated[
        list[Claim], Field(max_length=200, description="ids of the paper's claims, or own ones: {id, say, text}")
    ] = Field(default_factory=list)
    report: Annotated[Report, Field(description="tables and figures to show")] = Report()


FIELDS: tuple[str, ...] = tuple(field.alias or name for name, field in Fields.model_fields.items())
"""Names of what an arm may be given: data, depth, ..., recipe.lr."""
NETWORK_FIELDS = tuple(_network_fields())


def study_file(document: Document) -> StudyFile:
    """The file's values, checked one by one; the first that is wrong, by its line, is the error."""
    try:
        return StudyFile.model_validate_json(json.dumps({**document.value, **_axes(document)}))
    except ValidationError as error:
        problems = [(_path(each), worded(each)) for each in error.errors(include_url=False)]
    path, message = min(problems, key=lambda problem: document.line(problem[0]))
    raise StudyError(f"{document.where(path)}: {message}")


def fields(given: Mapping[str, Any], where: str) -> Fields:
    """Fields from outside a file, as `--set` gives them; `where` begins the error."""
    try:
        return Fields.model_validate_json(json.dumps(given))
    except ValidationError as error:
        raise StudyError(f"{where}: {worded(error.errors(include_url=False)[0])}") from None


def _axes(document: Document) -> dict[str, Any]:
    """The matrix with every axis as a list of mappings, whether it is a field with values or a label."""
    matrix = document.value.get("matrix", {})
    if not isinstance(matrix, dict):
        return {}
    return {"matrix": {label: _axis(label, values, document) for label, values in matrix.items()}}


def _axis(label: str, values: Any, document: Document) -> Any:
    if not isinstance(values, list):
        return values
    path = ("matrix", label)
    if len(values) > MOST_ENTRIES:
        raise StudyError(f"{document.where(path)}: {len(values):,} values; at most {MOST_ENTRIES:,}; split the study")
    if label in FIELDS:
        return [{label: value} for value in values]
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise StudyError(
                f"{document.where((*path, index))}: '{label[:60]}' is no field of an arm, and an axis of another name"
                f" lists mappings, as {{depth: 20, shortcut: A}}, not {shown(value)}{_suggestion(label, FIELDS)}"
            )
    return values


def _path(problem: ErrorDetails) -> tuple[str | int, ...]:
    """Where the value stands in the file; an axis that is a field has no mapping there, as it has for us."""
    at = problem["loc"]
    return at[:3] + at[4:] if at[0] == "matrix" and len(at) > 3 and at[3] == at[1] else at


_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "axes, as {depth: [20, 32], shortcut: [none, A]}",
    "model_type": "keys and values",
}
_EXPECTED_AT = {
    "recipe": "the name of a recipe, or {name: cifar, lr: 0.03}",
    "claims": "the id of a claim, as DEG-01, or {id, say, text}",
    "include": "a mapping of fields, as {depth: 20, shortcut: A}",
    "exclude": "a mapping of fields, as {depth: 20, shortcut: A}",
    "report": "{tables: [...], figures: [...], pivots: [...]}",
    "pivots": "{rows: depth, columns: shortcut, metric: test_error}",
}
_PATTERNS = {
    "name": "is not a name; use a-z, 0-9, - and _, first a letter or digit, at most 63",
    "id": "is no claim; give one of the paper, as DEG-01, or {id, say} with an id of a-z, 0-9 and -",
}
_LENGTHS = {"string_too_long": "characters", "too_long": "entries"}
_OUT_OF_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def worded(problem: ErrorDetails) -> str:
    """What pydantic found, as a person would say it: what was given, what is allowed, what to do."""
    kind, given = problem["type"], shown(problem["input"])
    context = problem.get("ctx", {})
    if kind in _EXPECTED:
        return f"expected {_expected(problem)}, got {given}{_unquoted(problem)}"
    if kind in _OUT_OF_BOUNDS:
        return f"must be {_bounds_of(problem)}, not {given}"
    if kind in _LENGTHS:
        return f"has {len(problem['input']):,} {_LENGTHS[kind]}; at most {context['max_length']:,}"
    if kind == "literal_error":
        return choice(problem["input"], re.findall("'([^']*)'", context["expected"]))
    if kind == "string_pattern_mismatch":
        return f"{given} {_PATTERNS[str(problem['loc'][-1])]}"
    plain: dict[str, Callable[[], str]] = {
        "extra_forbidden": lambda: _unknown_key(problem),
        "missing": lambda: f"missing; {_description(problem)}",
        "string_too_short": lambda: f"is empty; {_description(problem)}",
        "too_short": lambda: "the axis is empty: 0 arms; give at least one value, or remove it",
        "value_error": lambda: str(context["error"]),
    }
    return plain.get(kind, lambda: problem["msg"])()


def _expected(problem: ErrorDetails) -> str:
    key = next(part for part in reversed(problem["loc"]) if isinstance(part, str))
    mapping = problem["type"] == "model_type"
    return _EXPECTED_AT.get(key, _EXPECTED["model_type"]) if mapping else _EXPECTED[problem["type"]]


def _unquoted(problem: ErrorDetails) -> str:
    """What to do where a number stands in quotes."""
    given = problem["input"]
    wants_number = problem["type"] in ("int_type", "float_type")
    if wants_number and isinstance(given, str) and re.fullmatch(r"[-+]?[\d_.]+(e[-+]?\d+)?", given.strip()):
        return f"; write {given.strip().replace('_', '')} without quotes and underscores"
    return ""


def _description(problem: ErrorDetails) -> str:
    """What a key of the file is for; only required ones are asked for."""
    name = str(problem["loc"][-1])
    field = StudyFile.model_fields.get(name) if len(problem["loc"]) == 1 else None
    return (field and field.description) or f"give `{name}`"


def _unknown_key(problem: ErrorDetails) -> str:
    *outer, last = problem["loc"]
    key, allowed = str(last), _keys(tuple(outer))
    suggestion = _suggestion(key, allowed) or ("" if outer else _below(key))
    return f"unknown key '{key[:60]}'{suggestion or '; allowed: ' + ', '.join(allowed)}"


def _below(key: str) -> str:
    """What to do with a key that stands at the top of the file and belongs to an arm or a recipe."""
    if f"recipe.{key}" in FIELDS:
        return f"; write it under `recipe`, as {{{key}: ...}}"
    if key in FIELDS:
        return f"; write it under `matrix` as a list, or in an `include`, as {{{key}: ...}}"
    return nearest(key, FIELDS)


def _suggestion(key: str, allowed: Collection[str]) -> str:
    meant = _OTHER_WORDS.get(key.lower(), f"recipe.{key}")
    return f"; did you mean '{meant}'?" if meant in allowed else nearest(key, allowed)


_OTHER_WORDS = {
    "option": "shortcut",
    "options": "shortcut",
    "dataset": "data",
    "layers": "depth",
    "grid": "matrix",
    "axes": "matrix",
    "learning_rate": "recipe.lr",
    "batch_size": "recipe.batch",
    "seed": "seeds",
}


def _keys(outer: tuple[str | int, ...]) -> tuple[str, ...]:
    if not outer:
        return tuple(StudyFile.model_fields)
    if "recipe" in outer[:1] + outer[2:]:
        return ("name", *RECIPE_FIELDS)
    if outer[:2] == ("report", "pivots"):
        return tuple(Pivot.model_fields)
    named = {"claims": tuple(Claim.model_fields), "report": tuple(Report.model_fields)}
    return named.get(str(outer[0]), FIELDS)


def _bounds_of(problem: ErrorDetails) -> str:
    name = [part for part in problem["loc"] if isinstance(part, str)][-1].removeprefix("recipe.")
    bounds = _bounds(Fields.model_fields[f"value_{name}" if name in RECIPE_FIELDS else name])
    return Bounds(
        at_least=bounds.get("ge"), above=bounds.get("gt"), at_most=bounds.get("le"), below=bounds.get("lt")
    ).words


def _bounds(part: Any) -> dict[str, Any]:
    """The bounds that a field's annotation sets, however deep: `{"ge": 1, "le": 1000}`."""
    inner = (part.annotation, *part.metadata) if isinstance(part, FieldInfo) else get_args(part)
    found = {name: getattr(part, name) for name in ("ge", "gt", "le", "lt") if hasattr(part, name)}
    for each in inner:
        found |= _bounds(each)
    return found


def schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors."""
    made = StudyFile.model_json_schema(by_alias=True)
    parts = made["$defs"]
    arm = parts["Fields"]["properties"]
    parts["Claim"] = {"anyOf": [{"type": "string", "pattern": f"^{PAPER_CLAIM}$"}, parts["Claim"]]}
    parts["RecipeChoice"] = {"anyOf": [{"enum": list(RECIPES)}, parts["RecipeChoice"]]}
    for name in ("data", "recipe"):  # what they are by default depends on the arm
        made["properties"][name].pop("default")
    made["properties"]["matrix"] |= {
        "properties": {name: {"type": "array", "minItems": 1, "items": of} for name, of in arm.items()},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_without_empty_defaults(made),
        "title": "A study of Ablate",
    }


def _without_empty_defaults(node: Any) -> Any:
    """Fields of an arm have no default of their own: None stands for `not given` and is no allowed value."""
    if isinstance(node, list):
        return [_without_empty_defaults(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: _without_empty_defaults(each) for key, each in node.items() if (key, each) != ("default", None)}
