"""The report in a real browser: nothing overflows, every clip plays, nothing is fetched."""

import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx import report

from .kit import WEIGHTLESS
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
# Clicks on every head of the sortable table, twice: what stands first after each click.
SORTING = """<!doctype html><body><iframe src="%s" width=360 height=800></iframe><pre></pre><script>
onload = () => {
  const page = document.querySelector('iframe').contentDocument;
  const table = page.querySelector('table.sortable');
  const heads = [...table.tHead.rows[0].cells], found = [];
  for (const head of heads) for (const _ of [1, 2]) {
    head.querySelector('button').click();
    found.push([...table.tBodies[0].rows].map(row => row.cells[0].textContent)
      .concat([heads.map(one => one.getAttribute('aria-sort') || '').join('|')]));
  }
  document.querySelector('pre').textContent = JSON.stringify(found);
};
</script></body>"""
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

LIGHT_AND_DARK = [
    pytest.param((), id="light"),
    pytest.param(("--force-dark-mode",), id="dark", marks=pytest.mark.large),
]


def measure(folder, page, *flags):
    frames = "".join(
        f'<iframe src="{page.name}" width={w} height=800></iframe>' for w in (360, 1280)
    )
    return outcome(folder, HARNESS % frames, *flags)


def outcome(folder, harness, *flags, seconds=120):
    (folder / "harness.html").write_text(harness, "utf-8")
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, (folder / "harness.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=seconds,
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


@pytest.mark.parametrize("flags", LIGHT_AND_DARK)
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


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    noise = np.random.RandomState(0)
    levels = {"reference": 0.0, "near": 0.003, "far": 0.1, "middle": 0.02}
    for name, level in levels.items():
        for file in clip_files(folder / name, [f"{i}.wav" for i in range(6)], seconds=2.0):
            samples, rate = soundfile.read(file)
            soundfile.write(file, samples + level * noise.standard_normal(len(samples)), rate)
    reference, *evaluations = [str(folder / name) for name in levels]
    asked = [f"{name}:{WEIGHTLESS}" for name in ("fad", "kad", "prdc")]
    found = fad_onnx.evaluate(
        evaluations, reference, asked, per_file=True, cache=False, compare=[evaluations[:2]]
    )
    return report.write(folder / "r.html", found.results, differences=found.differences), found


@pytest.mark.large
@pytest.mark.parametrize("flags", LIGHT_AND_DARK)
def test_the_page_of_an_evaluation_fits_and_plays_clips_and_their_references(evaluated, flags):
    page, _ = evaluated
    for one in measure(page.parent, page, *flags):
        assert one["scroll"] <= one["width"] and one["fetched"] == []
        assert one["audio"] == pytest.approx([2.0] * 3 * 6 * 2, abs=0.05)


@pytest.mark.large
def test_the_table_of_an_evaluation_sorts_by_every_column(evaluated):
    page, found = evaluated
    names = list(dict.fromkeys(one.path for one in found.results))
    values = [{one.path: v.value for one in found.results for k, v in one.metrics.items() if k == n}
              for n in ("fad", "kad", "prdc")]  # fmt: skip
    keys = [lambda name: name, *(own.__getitem__ for own in values)]
    clicks = outcome(page.parent, SORTING % page.name)
    assert len(clicks) == 8
    for index, (key, better) in enumerate(zip(keys, "lllh", strict=True)):
        best = sorted(map(key, names), reverse=better == "h")
        for (*order, said), wanted in zip(clicks[2 * index:2 * index + 2], (best, best[::-1]),
                                          strict=True):  # fmt: skip
            assert [key(name) for name in order] == wanted
            marks = said.split("|")
            rising = (better == "l") == (wanted is best)
            assert marks.pop(index) == ("ascending" if rising else "descending")
            assert not any(marks)
