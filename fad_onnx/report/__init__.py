"""One self-contained HTML page about scores: numbers, figures, the worst clips, the protocol.

No other module imports this package at load time, because it needs the extra `[report]`. The page
fetches nothing, which its content security policy enforces. Its only script sorts the table of
`evaluate`.

    import fad_onnx
    from fad_onnx import report
    wanted = fad_onnx.Wanted(inf=True, ci=0.95, kad=True, per_file=True)
    report.write("report.html", fad_onnx.compare("reference/", ["generated/"], wanted=wanted))
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MissingDependencyError, OptionError
from ..files import outputs

if TYPE_CHECKING:
    from ..api.comparison import Difference
    from ..api.measure import Compared

NEEDED = ("matplotlib", "jinja2")
PIP_LINE = "pip install 'fad-onnx[report]'"


def require() -> None:
    """MissingDependencyError without the extra; call it before hours of work."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"a report needs {' and '.join(missing)}", PIP_LINE)


def write(
    path: str | PathLike[str], scores: Sequence[Compared], *, seed: int = 0,
    differences: Sequence[Difference] | None = None,
) -> Path:  # fmt: skip
    """Write the report on these scores, whole or not at all; return its absolute path.

    `scores` are those that `api.compare` returns, of any number of evaluation datasets and models,
    made with embeddings kept. `seed` determines which embeddings a figure shows if it cannot show
    all. With `differences`, from `evaluate`, the page begins with a sortable table of all numbers.
    The file has one or two megabytes for ten clips. Raises OptionError without scores,
    StatisticsError for an evaluation dataset without embeddings, MissingDependencyError without
    the extra, OutputError.
    """
    require()
    if not scores:
        raise OptionError("scores", "there are no scores to report")
    from . import page

    html = page.render(scores, seed, datetime.now(UTC), differences)
    return outputs.write_bytes(path, html.encode("utf-8"))
