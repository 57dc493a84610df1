"""The study that `ablate init NAME` writes: small, complete and commented."""

import re

from ablations.reader import StudyError, shown
from orchestrator.studies import NAME

_TEXT = """\
# A study: a question, and the arms that answer it.  `ablate plan {name}.yaml` says what it would run and how long.
name: {name}
question: Do plain networks get worse with depth while residual ones improve?
source: sec. 4.1

# The data set of every arm: digits (seconds), cifar10, cifar10-jpeg (the same images, lossy), imagenet, or one that
# `ablate data prepare` wrote.  `ablate plan` says if its images are not there.
data: digits

# A named recipe: cifar, imagenet or digits; without this line, the data set's own.
# Single values may be set beside it: {{name: digits, lr: 0.03, iterations: 300}}
recipe: digits

# The arms are the product of the axes, the last axis fastest.  An axis is a field and its values
# (data, depth, shortcut, stride, init, width, seeds, recipe.lr, ...), or a name of yours and mappings of fields that
# move together, as  size: [{{depth: 20, width: 32}}, {{depth: 56, width: 16}}]
matrix:
  depth: [20, 56]           # 6n + 2 weighted layers
  shortcut: [none, A]       # none is plain; A, B and C are the paper's options

# Arms beside the matrix, and arms of the matrix to leave out; each names the fields that matter.
include:
  - {{depth: 56, shortcut: B, seeds: 1}}
exclude: []

# Seeds 0, 1, 2 of every arm.  One seed shows a curve; a claim needs several.
seeds: 3

# Claims of the paper by their id, as DEG-01, and your own with a test in `say`.
claims:
  - id: plain-degrades
    say: train_error(plain, 56) > train_error(plain, 20)
    text: The deeper plain network ends with the higher training error.

# What the report shows: `table` and `curves` fit every study; table-6 and figure-6 are the paper's.
report:
  tables: [table]
  figures: [curves]
"""


def template(name: str) -> str:
    """A commented study file of this name."""
    if not re.fullmatch(NAME, name):
        raise StudyError(f"{shown(name)} is not a name; use a-z, 0-9, - and _, first a letter or digit, at most 63")
    return _TEXT.format(name=name)
