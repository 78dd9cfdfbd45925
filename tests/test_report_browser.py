"""The report in a real browser: nothing overflows, every clip plays, nothing is fetched."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from fad_onnx import report

from .report_factory import PROTOCOL, audio_set, clip_files, score

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: chromium)")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files", "--virtual-time-budget=20000", "--dump-dom",
)  # fmt: skip
# Chromium's windows are no narrower than 500 pixels; frames are as narrow as one likes.
HARNESS = """<!doctype html><body>%s<pre></pre><script>
const ready = audio => new Promise(done => {
  const tell = () => done(audio.error ? audio.error.message : audio.duration);
  if (audio.readyState || audio.error) return tell();
  audio.onloadedmetadata = audio.onerror = tell;
});
onload = async () => {
  const found = [];
  for (const frame of document.querySelectorAll('iframe')) {
    const page = frame.contentDocument, view = frame.contentWindow;
    found.push({
      width: frame.clientWidth,
      scroll: page.documentElement.scrollWidth,
      audio: await Promise.all([...page.querySelectorAll('audio')].map(ready)),
      fetched: view.performance.getEntriesByType('resource').map(e => e.name)
        .filter(name => !name.startsWith('data:')),
      small: [...page.querySelectorAll('svg text')].map(text =>
        parseFloat(view.getComputedStyle(text).fontSize) * text.ownerSVGElement.clientWidth
        / text.ownerSVGElement.viewBox.baseVal.width).filter(size => size < 9).length,
      ground: view.getComputedStyle(page.documentElement).backgroundColor,
      axis: view.getComputedStyle(page.querySelector('svg text')).fill,
    });
  }
  document.querySelector('pre').textContent = JSON.stringify(found);
};
</script></body>"""


def measure(folder, page, *flags):
    frames = "".join(
        f'<iframe src="{page.name}" width={w} height=800></iframe>' for w in (360, 1280)
    )
    (folder / "harness.html").write_text(HARNESS % frames, "utf-8")
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, (folder / "harness.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r"<pre>(.+)</pre>", done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(unescape(found[1]))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    names = ["a" * 120 + ".wav", "very/".replace("/", "_") * 20 + ".wav", "<b>c.wav", "d e f.wav"]
    files = clip_files(folder / "clips", names, seconds=1.5)
    long = "/folder" * 30
    found = []
    for model in ("a-model-with-a-long-name-and-options", "b"):
        one = audio_set(long + "/reference", files, model, 1, rows_each=20)
        for name in ("/near", "/far", "/other"):
            other = audio_set(long + name, files, model, 2, 0.5, rows_each=20, extra={
                "protocol": PROTOCOL | {"provider": f"{name[1:]}-ExecutionProvider"},
                "weights": {"main": {"file": long + name + ".pth", "sha256": "e" * 64}},
            })  # fmt: skip
            found.append(score(one, other))
    return report.write(folder / "report.html", found)


@pytest.mark.parametrize("flags", [(), ("--force-dark-mode",)], ids=["light", "dark"])
def test_the_page_fits_plays_and_fetches_nothing(page, flags):
    found = measure(page.parent, page, *flags)
    assert [one["width"] for one in found] == [360, 1280]
    for one in found:
        assert one["scroll"] <= one["width"]
        assert one["audio"] == pytest.approx([1.5] * 12, abs=0.05)
        assert one["fetched"] == [] and one["small"] == 0
    light = {("rgb(255, 255, 255)", "rgb(27, 31, 36)")}
    seen = {(one["ground"], one["axis"]) for one in found}
    assert (seen == light) == (not flags)
