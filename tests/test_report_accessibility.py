"""The reports under axe-core, in a real browser: no violation in any light, at any width.

The script is part of the package axe-playwright-python, of which nothing else is used.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from .test_report_browser import CHROMIUM, evaluated, outcome, page  # noqa: F401 - fixtures

FOUND = find_spec("axe_playwright_python")
AXE = FOUND and Path(FOUND.origin).with_name("axe.min.js")
LEFT_OUT = CHROMIUM is None or AXE is None
pytestmark = [
    pytest.mark.large,
    pytest.mark.skipif(
        LEFT_OUT and not os.environ.get("CI"),
        reason="needs Chromium, and pip install --no-deps axe-playwright-python",
    ),
]
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
HARNESS = """<!doctype html><body>%s<pre></pre><script>
const brief = rule => ({id: rule.id, help: rule.help,
  nodes: rule.nodes.slice(0, 3).map(node => node.html.slice(0, 200) + ' ' + node.failureSummary)});
onload = async () => {
  const found = [];
  for (const frame of document.querySelectorAll('iframe')) {
    const {axe} = frame.contentWindow;
    const said = await axe.run(frame.contentDocument, {runOnly: %s});
    found.push({width: frame.clientWidth, passes: said.passes.map(rule => rule.id),
      violations: said.violations.map(brief), incomplete: said.incomplete.map(brief)});
  }
  document.querySelector('pre').textContent = JSON.stringify(found);
};
</script></body>"""


def checked(report, *flags, change=lambda html: html):
    """What axe-core says of a page, on a phone and on a desk."""
    html = change(report.read_text("utf-8"))
    # The page lets no other script run. What it looks like does not depend on that.
    policy = html.index("<meta http-equiv")
    html = html[:policy] + html[html.index(">", policy) + 1 :]
    copy = report.with_name("axe.html")
    script = AXE.read_text("utf-8").replace("</script", "<\\/script")
    copy.write_text(html.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    frames = "".join(
        f'<iframe src="{copy.name}" title="{w}" width={w} height=800></iframe>' for w in (360, 1280)
    )
    return outcome(report.parent, HARNESS % (frames, list(TAGS)), *flags, seconds=600)


@pytest.mark.parametrize("flags", [(), ("--force-dark-mode",)], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["page", "evaluated"])
def test_axe_finds_no_violation(kind, flags, request):
    made = request.getfixturevalue(kind)
    report = made[0] if kind == "evaluated" else made
    found = checked(report, *flags)
    assert [one["width"] for one in found] == [360, 1280]
    for one in found:
        assert "color-contrast" in one["passes"] and len(one["passes"]) > 20
        assert one["violations"] == []


def test_axe_would_find_what_is_wrong(page):  # noqa: F811
    def spoiled(html):
        return html.replace('<html lang="en"', "<html").replace(
            "</main>", '<p style="color: #bbb; background: #fff">faint</p><img src=""></main>'
        )

    for one in checked(page, change=spoiled):
        wrong = {rule["id"] for rule in one["violations"]}
        assert {"html-has-lang", "color-contrast", "image-alt"} <= wrong
