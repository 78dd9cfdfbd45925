"""Matplotlib's figures as inline SVG, with the colours and fonts of the page and unique ids.

Figures are drawn in placeholder colours, which become the custom properties of the style sheet:
one drawing then serves the light page, the dark page and paper.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

TEXT, MUTED, LINE, PAPER = "#010101", "#020202", "#030303", "#040404"
REFERENCE, EVALUATION = "#050505", "#060606"
PROPERTIES = {
    TEXT: "var(--text)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    REFERENCE: "var(--reference)",
    EVALUATION: "var(--evaluation)",
}
# Text takes the page's font: "font: 11px 'Family', ..." or, in newer releases, two declarations.
FONT = re.compile(r"font: [^;]*?([\d.]+px)[^;]*")
FAMILY = re.compile(r"font-family: [^;]*;? ?")
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text remains text: machine-readable, in the font of the page
    "font.size": 11.0,
    "text.parse_math": False,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "hatch.linewidth": 1.0,
}


@contextmanager
def style(key: str) -> Iterator[None]:
    """A style that does not depend on the user's settings.

    `key` makes the ids of a drawing unique and reproducible.
    """
    # Do not touch the user's backend: it is not used here, and would not be restored.
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **SETTINGS, "svg.hashsalt": key}
    del settings["backend"]
    with matplotlib.rc_context(settings):
        yield


def inline(figure: Figure, key: str, label: str) -> str:
    """The figure as an <svg> element; `label` is its text for screen readers."""
    target = io.BytesIO()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(target.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    used = set(re.findall(r"#([\w.-]+)", " ".join(_references(root))))
    for element in root.iter():
        _clean(element, key, used)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"class": "plot", "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _references(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        for name, value in element.attrib.items():
            if _local(name) == "href" or "url(#" in value:
                yield value


def _clean(element: ElementTree.Element, key: str, used: set[str]) -> None:
    """Local names, prefixed identities, the page's colours, no fonts."""
    element.tag = _local(element.tag)
    old = dict(element.attrib)
    element.attrib.clear()
    for name, value in old.items():
        name = _local(name)
        if name == "id":
            if value in used:
                element.set("id", f"{key}-{value}")
            continue
        if name == "href" and value.startswith("#"):
            value = f"#{key}-{value[1:]}"
        value = _recoloured(value.replace("url(#", f"url(#{key}-"))
        if name == "style":
            value = FONT.sub(r"font-size: \1", FAMILY.sub("", value))
        elif "var(" in value:
            # Custom properties work in styles, not in attributes.
            name, value = "style", f"{element.get('style', '')} {name}: {value};".strip()
        element.set(name, value)


def _recoloured(value: str) -> str:
    for colour, custom in PROPERTIES.items():
        value = value.replace(colour, custom)
    return value


def _local(name: str) -> str:
    return name.rpartition("}")[2]
