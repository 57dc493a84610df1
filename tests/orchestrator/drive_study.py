"""`ablate run`, but that its trials are watched by chaos: the one difference is the entry that workers call."""

import json
import sys
from dataclasses import replace
from typing import Any

from ablations import attempt, cli
from orchestrator.worker import Setting


def main(given: dict[str, Any]) -> None:
    """`arguments` of the command line, and the `site` that the watched entry asks for."""
    honest = attempt.setting

    def watched(*asked: Any) -> Setting:
        setting = honest(*asked)
        return replace(setting, entry="chaos_entry:real", site={**setting.site, **given["site"]})

    attempt.setting = watched
    sys.argv = ["ablate", *given["arguments"]]
    cli.main()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
