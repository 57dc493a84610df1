"""The page of one trial: a file that opens from disk, asks the network for nothing, and draws without a script."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from reports.arms import called
from reports.drawing import draw, variables
from reports.page.shell import environment, part, policy, script
from reports.trials import TrialFacts, trial_figures

TONES: Mapping[str, str] = {
    "finished": "finished", "diverged": "diverged", "failed": "failed", "running": "running", "missing": "missing",
    "partial": "partial", "error": "error", "killed": "killed", "at work": "running", "stopped": "stopped",
    "interrupted": "stopped", "ended": "finished",
}  # fmt: skip
"""The colour of each word."""
HEADLINE = (
    ("last_test_error", "test error, last"),
    ("best_test_error", "test error, best"),
    ("tail_train_error", "training error, tail"),
    ("last_ten_crop_error", "top-1 error, 10-crop"),
)


def sheet(template: str, *, title: str, places: Sequence[tuple[str, str]], **more: object) -> str:
    """A page in the frame that those of one trial and of all studies share. `places` are ids with their names."""
    scripts = [script("theme.js"), script("toggle.js")]
    return (
        environment()
        .get_template(template)
        .render(
            title=title,
            places=places,
            scripts=scripts,
            policy=policy(scripts),
            style="\n".join((variables(), part("page.css"), part("lists.css"))),
            tones=TONES,
            **more,
        )
    )


def address(path: str) -> str:
    """A file beside the page as a link that cannot lead anywhere else, whatever it is called."""
    return quote(path)


def trial_page(
    trial: TrialFacts, *, about: Mapping[str, str], studies: Mapping[str, str], index: str | None = None
) -> str:
    """The page as text. `studies` has the path of each study's page, from this one on, where there is such a page."""
    figures = [(figure, draw(figure)) for figure in trial_figures(trial)]
    network = trial.run.params.get("network", {})
    places = {
        "figures": figures, "probes": trial.probes, "parameters": True, "attempts": True, "files": trial.files,
        "studies": True,
    }  # fmt: skip
    names = dict.fromkeys(name for probe in trial.probes for name in probe if name != "iteration")
    return sheet(
        "trial.html.j2",
        title=trial.run.name,
        places=[(name, name.capitalize()) for name, there in places.items() if there],
        trial=trial,
        tone=TONES[trial.standing],
        network=called(network["shortcut"], network["depth"]) if {"shortcut", "depth"} <= set(network) else "",
        figures=figures,
        headline=_headline(trial),
        probe_names=tuple(names),
        studies=[(study, address(studies[study.name]) if study.name in studies else "") for study in trial.studies],
        index=address(index) if index else "",
        about=about,
    )


def _headline(trial: TrialFacts) -> list[tuple[str, str, str]]:
    run = trial.run
    found = [(title, f"{run.result[name]:.2f}", "%") for name, title in HEADLINE if name in run.result]
    if "images_per_second" in run.costs:
        found.append(("throughput", f"{run.costs['images_per_second']:,.0f}", "images/s"))
    if "peak_memory_mib" in run.costs:
        found.append(("memory at most", f"{run.costs['peak_memory_mib']:,.0f}", "MiB"))
    if "device_energy_joules" in run.costs:
        found.append(("energy of the device", f"{run.costs['device_energy_joules'] / 3600:,.1f}", "Wh"))
    return found
