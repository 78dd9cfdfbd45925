import base64
import io
import os
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fad_onnx import report
from fad_onnx.api.measure import FileScore, Wanted
from fad_onnx.errors import MissingDependencyError, OptionError, OutputError, StatisticsError
from fad_onnx.metrics.frechet import Gaussian
from fad_onnx.metrics.moments import Moments
from fad_onnx.metrics.registry import Value

from .report_factory import audio_set, clip_files, score

pytest.importorskip("matplotlib", reason="needs the extra [report]")
pytest.importorskip("jinja2", reason="needs the extra [report]")

from fad_onnx.pipeline.metadata import Metadata
from fad_onnx.report import blame, clips, excerpt, plots, projection, svg, tables, text

HOSTILE = [
    "<script>alert(1)<img src=x onerror=alert(1)>.wav",
    "' onmouseover='alert(1)' \" onfocus=\"alert(1).wav",
    "line\nbreak\rand\ttab.wav",
    os.fsdecode(b"bytes \xff\xfe.wav"),
    "turned \u202eround\u2066.wav",
    "{{ 7 * 7 }}{% raw %}.wav",
    "$\\frac{1}{2$.wav",
    "&lt;script&gt; &amp; ]]> --> <style><title>.wav",
    "x" * 240 + ".wav",
    "日本語 ünïcode.wav",
    "plain.wav",
]  # fmt: skip


class Page(HTMLParser):
    """Every element with its attributes, and what is wrong with the nesting."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if not (self.open and self.open[-1] == "style"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def write(path, scores, **kwargs):
    return report.write(path, scores, **kwargs).read_text("utf-8")


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Two sets under two models, hostile in every name."""
    if os.name == "nt":
        pytest.skip("Windows has no such file names")
    folder = tmp_path_factory.mktemp("clips")
    files = clip_files(folder, HOSTILE)
    found = []
    for model, dim in (("one <b>", 8), ("two", 12)):
        reference = audio_set("reference <i>", files, model, 1, dim=dim)
        for name, shift in (("far </h2>", 1.0), ("near\n", 0.2)):
            evaluation = audio_set(name, files, model, 2, shift, dim=dim)
            skipped = (("<gone>.wav", "not readable <as> audio"),)
            evaluation = replace(evaluation, skipped=skipped)
            found.append(score(reference, evaluation, warnings=[f"{name}: few <rows>"]))
    return found


@pytest.fixture(scope="module")
def path(scores, tmp_path_factory):
    return report.write(tmp_path_factory.mktemp("report") / "report.html", scores, seed=3)


@pytest.fixture(scope="module")
def html(path):
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_page_fetches_nothing_and_runs_nothing(html, page):
    assert "http:" not in html and "https:" not in html and "//" not in page.text
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "srcset", "action", "poster"}:
                assert value.startswith(("data:audio/ogg;", "data:image/png;", "#")), (tag, value)
    assert not re.search(r"url\((?!#)|@import", html)
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    assert policy.startswith("default-src 'none';") and "script" not in policy


def test_links_and_references_within_the_page_lead_somewhere(html, page):
    ids = Counter(a["id"] for _, a in page.elements if a.get("id"))
    assert ids and max(ids.values()) == 1
    targets = {a["href"][1:] for _, a in page.elements if (a.get("href") or "").startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]+)\)", html))
    targets |= {a["aria-labelledby"] for _, a in page.elements if a.get("aria-labelledby")}
    assert targets and targets <= set(ids)


def test_hostile_names_are_text_and_nothing_else(html, page):
    assert not page.open
    assert {"b", "i", "img"} & {tag for tag, _ in page.elements} == {"b"}  # the template's own
    assert len(page.all("title")) == len(page.all("style")) == 1
    names = [attributes["aria-label"] for attributes in page.all("audio")]
    for shown in (
        "<script>alert(1)<img src=x onerror=alert(1)>.wav", "line\\nbreak\\rand\\ttab.wav",
        "bytes \\udcff\\udcfe.wav", "turned \\u202eround\\u2066.wav", "{{ 7 * 7 }}{% raw %}.wav",
        "$\\frac{1}{2$.wav", "&lt;script&gt; &amp; ]]> --> <style><title>.wav",
        "日本語 ünïcode.wav",
    ):  # fmt: skip
        assert f"Listen to {shown}" in names
        assert shown in page.text
    assert "\u202e" not in html and "<gone>.wav" in page.text and "near\\n: few <rows>" in page.text


def test_the_page_can_be_read_without_seeing_it(page):
    assert page.all("html")[0]["lang"] == "en" and len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    pictures = page.all("svg")
    assert len(pictures) == 4 * 3 + 2 * 10
    assert all(one["role"] == "img" and len(one["aria-label"]) > 20 for one in pictures)
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(cell.get("scope") in {"row", "col"} for cell in page.all("th"))
    assert all("controls" in one and one["aria-label"] for one in page.all("audio"))
    assert len(page.all("figcaption")) == len(page.all("figure")) == 12


def test_scores_stand_in_the_tables_in_full_and_nearest_first(scores, page):
    shown = [float(data["value"]) for data in page.all("data")]
    by_model = [sorted(s.value for s in scores if s.model == m) for m in ("one <b>", "two")]
    assert shown == by_model[0] + by_model[1]
    for one in scores:
        assert f"{text.number(one.metrics['fad'].cells[0].value[0])} to " in page.text
        assert text.number(one.metrics["fad-inf"].value) in page.text
        assert text.number(one.metrics["kad"].value) in page.text
    assert "95 % interval" in page.text and "windows.tail" in page.text
    assert "None" not in page.text


def test_the_page_says_what_the_numbers_were_drawn_from(page, tmp_path):
    assert "Sampling: 11 pairs." in page.text
    assert "subsets of whole clips" in page.text and "no clip shares its name" not in page.text
    ours, theirs = (clip_files(tmp_path / kind, [f"{kind}{i}.wav" for i in range(10)])
                    for kind in ("a", "b"))  # fmt: skip
    reference = audio_set("r", theirs, seed=1)
    wanted = Wanted(ci=0.9, inf=True, inf_draw="embeddings")
    alone = replace(
        reference, moments=Gaussian.of(reference.moments), embeddings_by_file=None, files=()
    )
    for one, said in ((reference, "Sampling: independent."), (alone, "Sampling: fixed reference.")):
        text = Page(write(tmp_path / "r.html", [score(one, audio_set("e", ours), wanted)])).text
        assert said in text and "subsets of single embeddings, as published" in text


@pytest.mark.large
def test_ten_clips_weigh_less_than_five_megabytes_and_sound_like_the_file(tmp_path):
    files = clip_files(tmp_path, [f"{i}.wav" for i in range(12)], seconds=11.0)
    noise = np.random.RandomState(0).uniform(-1, 1, (48000 * 11, 2))
    for file in files[2:]:
        soundfile.write(file, noise, 48000)
    own = score(audio_set("r", files, seed=1), audio_set("e", files, seed=2))
    html = write(tmp_path / "r.html", [own])
    assert len(html) < 5e6
    audio = Page(html).all("audio")
    assert len(audio) == 10
    for one in audio:
        data = base64.b64decode(one["src"].partition(",")[2])
        samples, rate = soundfile.read(io.BytesIO(data))
        assert samples.ndim == 1 and len(samples) == 10 * rate
    assert "the first 10 s of" not in html  # the sets say one second: never longer than stated


def test_a_clip_is_heard_as_it_is(tmp_path):
    (file,) = clip_files(tmp_path, ["clip.wav"], seconds=3.0)
    heard = excerpt.read(str(file))
    samples, rate = soundfile.read(io.BytesIO(excerpt.ogg(heard)))
    original, _ = soundfile.read(file)
    assert rate == 16000 and heard.seconds == 3.0
    np.testing.assert_allclose(heard.samples, original, atol=1e-7)
    assert np.corrcoef(samples, original)[0, 1] > 0.9


@pytest.mark.parametrize(("rate", "played"), [(4000, 8000), (11025, 11025), (96000, 48000)])
def test_rates_that_browsers_do_not_play_are_converted(tmp_path, rate, played):
    path = tmp_path / "tone.wav"
    tone = 0.5 * np.sin(2 * np.pi * 500 / rate * np.arange(12 * rate))
    soundfile.write(path, np.stack([tone, 0 * tone], axis=1), rate)
    heard = excerpt.read(str(path))
    assert heard.rate_hz == played and heard.seconds == 10.0
    assert np.abs(heard.samples[played : 9 * played]).max() == pytest.approx(0.25, rel=0.01)
    assert soundfile.info(io.BytesIO(excerpt.ogg(heard))).samplerate == played


def test_log_mel_shows_a_sine_in_its_band_at_its_level():
    for hz, amplitude in ((500.0, 1.0), (4000.0, 0.1)):
        wave = amplitude * np.sin(2 * np.pi * hz / 32000 * np.arange(32000))
        picture = excerpt.log_mel(excerpt.Excerpt(wave.astype(np.float32), 32000))
        edges = np.linspace(*excerpt.mel(np.array([40.0, 16000.0])), excerpt.BANDS + 2)
        band = int(np.abs(edges[1:-1] - excerpt.mel(hz)).argmin())
        middle = picture[:, 10:-10].mean(axis=1)
        assert abs(int(middle.argmax()) - band) <= 1
        assert middle.max() == pytest.approx(20 * np.log10(amplitude), abs=3.0)
    silence = excerpt.log_mel(excerpt.Excerpt(np.zeros(100, np.float32), 16000))
    assert (silence == excerpt.FLOOR_DB).all() and "silence" in plots.picture_label(silence, 1.0)


def test_every_band_has_weight_and_the_mel_scale_is_undone():
    assert (excerpt.mel_bank().max(axis=1) >= 0.5).all()
    hz = np.array([40.0, 1000.0, 16000.0])
    np.testing.assert_allclose(excerpt.hertz(excerpt.mel(hz)), hz)
    assert float(excerpt.mel(1000.0)) == pytest.approx(1000.0, abs=0.1)


def test_the_plane_is_that_of_most_variance(tmp_path):
    files = [Path(f"{i}.wav") for i in range(40)]
    base = audio_set("a", files, dim=5)
    scale = np.array([1, 8, 1, 3, 1], np.float32)
    embeddings = tuple(one * scale for one in base.embeddings_by_file)
    joined = np.concatenate(embeddings).astype(np.float64)
    one = replace(base, embeddings_by_file=embeddings, moments=Moments.of(joined))
    found = projection.project(one, one, seed=1)
    values, vectors = np.linalg.eigh(np.cov(joined.T))
    expected = (joined - joined.mean(axis=0)) @ vectors[:, :-3:-1]
    for axis in (0, 1):
        agreement = np.corrcoef(found.reference.points[:, axis], expected[:, axis])[0, 1]
        assert abs(agreement) == pytest.approx(1.0)
        assert found.shares[axis] == pytest.approx(values[-1 - axis] / values.sum())
    np.testing.assert_allclose(
        found.reference.covariance, np.cov(found.reference.points.T), atol=1e-9
    )
    outline = found.reference.outline() - found.reference.mean
    whitened = np.linalg.solve(np.linalg.cholesky(found.reference.covariance), outline.T)
    np.testing.assert_allclose(np.linalg.norm(whitened, axis=0), projection.DEVIATIONS)


def test_rows_are_drawn_by_the_seed_without_replacement(tmp_path):
    files = [Path(f"{i}.wav") for i in range(80)]
    one, two = audio_set("a", files, seed=1), audio_set("b", files, seed=2)
    first, again, other = (projection.project(one, two, seed) for seed in (1, 1, 2))
    assert len(first.reference.points) == projection.SHOWN_EMBEDDINGS < first.reference.count == 800
    assert len(np.unique(first.reference.points, axis=0)) == projection.SHOWN_EMBEDDINGS
    np.testing.assert_array_equal(first.evaluation.points, again.evaluation.points)
    assert not np.array_equal(first.evaluation.points, other.evaluation.points)
    html = write(tmp_path / "r.html", [score(one, two)], seed=7)
    assert "600 of 800 reference embeddings" in html.replace("\u202f", "") and "by seed 7" in html


def test_the_same_scores_give_the_same_drawings(scores):
    found = projection.project(scores[0].reference, scores[0].evaluation)
    assert plots.projection("k", found) == plots.projection("k", found)


def test_drawings_take_the_page_s_colours_whatever_the_user_s_settings():
    import matplotlib

    values = [1.0, 2.0, 2.5, 3.0, 9.0]
    drawn = plots.distribution("key", values, 2)
    own = {"text.color": "red", "svg.fonttype": "path", "axes.grid": False, "lines.linewidth": 9.0}
    with matplotlib.rc_context(own):
        before = dict(matplotlib.rcParams)
        assert plots.distribution("key", values, 2) == drawn
        assert dict(matplotlib.rcParams) == before
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn))
    assert {"var(--text)", "var(--evaluation)", "var(--muted)", "var(--line)"} <= colours
    assert not {c for c in colours if c.startswith("#")} - {"#000000"}
    assert not set(svg.PROPERTIES) & set(re.findall("#[0-9a-f]{6}", drawn))
    assert "font-family" not in drawn and "xmlns" not in drawn and "influence on FAD" in drawn


@pytest.mark.parametrize(
    "values",
    [[0.0], [5.0], [-5.0], [1.0] * 30, [-2.0, 0.0, 1.0], list(np.geomspace(0.01, 1e4, 50)),
     [-1e-9, 1e9], [1e-300] * 2],
)  # fmt: skip
def test_any_influences_make_a_histogram_that_holds_them_all(values):
    edges = plots.bin_edges(np.sort(values))
    assert (np.diff(edges) > 0).all()
    assert np.histogram(values, edges)[0].sum() == len(values)
    assert "<svg" in plots.distribution("k", values, min(10, len(values)))


def file_scores(*names):
    influences = range(len(names), 0, -1)
    return tuple(
        FileScore(name, name, 1, 1.0, float(one), 9.0, 0.0)
        for name, one in zip(names, influences, strict=True)
    )


def test_the_worst_of_several_models_are_those_of_the_worst_mean_place():
    files = [Path(f"{n}.wav") for n in "abcd"]
    one = score(audio_set("r", files, seed=1), audio_set("e", files), Wanted(per_file=True))
    first = replace(one, files=(file_scores("a", "b", "c", "d")))
    second = replace(one, files=(file_scores("b", "d", "a", "c")))
    assert blame.chosen(blame.rankings([replace(first, metrics={"fad": Value(1.0)})]), 3) == [
        *"abc"
    ]
    both = [replace(other, metrics={"fad": Value(1.0)}) for other in (first, second)]
    assert blame.chosen(blame.rankings(both), 9) == ["b", "a", "d", "c"]
    assert [clips.shown_of_a_set(n) for n in (1, 4, 5, 100)] == [10, 10, 8, 1]


def test_a_clip_that_is_gone_says_so(tmp_path):
    files = clip_files(tmp_path / "clips", ["a.wav", "b.wav", "c.wav"])
    own = score(audio_set("r", files, seed=1), audio_set("e", files))
    files[2].unlink()
    html = write(tmp_path / "r.html", [own])
    assert html.count("<audio") == 2
    assert "This clip has no sound and no picture: cannot be opened" in html


def test_a_reference_of_statistics_is_drawn_as_its_ellipse(tmp_path):
    files = clip_files(tmp_path / "clips", ["a.wav", "b.wav"])
    reference = audio_set("r", files, seed=1)
    gaussian = Gaussian.of(reference.moments)
    bare = replace(
        reference, moments=gaussian, embeddings_by_file=None, files=(), metadata=Metadata()
    )
    own = score(bare, audio_set("e", files), Wanted(per_file=True))
    html = write(tmp_path / "r.html", [own])
    assert (
        "no reference embeddings (only statistics)" in html
        and "0 reference embeddings (rings)" in html
    )
    found = projection.project(bare, own.evaluation)
    np.testing.assert_allclose(found.reference.covariance.trace() <= gaussian.trace, True)


def test_an_evaluation_set_of_statistics_is_refused(tmp_path):
    files = [Path("a.wav"), Path("b.wav")]
    one = audio_set("r", files)
    bare = replace(audio_set("e.npz", files), embeddings_by_file=None)
    with pytest.raises(StatisticsError, match=r"e\.npz.*needs embeddings"):
        report.write(tmp_path / "r.html", [score(one, bare, Wanted())])
    assert not list(tmp_path.iterdir())


def test_what_was_not_asked_for_is_not_shown(tmp_path):
    files = clip_files(tmp_path / "clips", ["a.wav", "b.wav"])
    bare = Wanted(per_file=False)
    html = write(
        tmp_path / "r.html", [score(audio_set("r", files, seed=1), audio_set("e", files), bare)]
    )
    parsed = Page(html)
    assert len(parsed.all("figure")) == 1 and not parsed.all("audio")
    for word in ("KAD", "interval", "infinity", "Warnings", "Skipped"):
        assert word not in parsed.text


def test_why_there_is_no_infinity_is_said(tmp_path):
    files = clip_files(tmp_path / "clips", ["a.wav", "b.wav"])
    own = score(audio_set("r", files, seed=1), audio_set("e", files), Wanted(inf=True))
    assert own.metrics["fad-inf"].value is None
    assert "No FAD∞: e: FAD-infinity needs at least 40 embeddings" in write(
        tmp_path / "r.html", [own]
    )


def test_a_missing_extra_names_the_pip_line(tmp_path, monkeypatch):
    found = {"matplotlib": None, "jinja2": object()}
    monkeypatch.setattr(report, "find_spec", found.get)
    with pytest.raises(
        MissingDependencyError, match=r"matplotlib: pip install 'fad-onnx\[report\]'"
    ):
        report.write(tmp_path / "r.html", [])


def test_a_report_appears_whole_or_not_at_all(tmp_path, scores, monkeypatch):
    with pytest.raises(OptionError, match="^scores"):
        report.write(tmp_path / "r.html", [])
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("fad_onnx.report.page.render", lambda *_: "<html>")
    with pytest.raises(OutputError, match="file"):
        report.write(tmp_path / "file" / "r.html", scores)
    old = tmp_path / "old.html"
    old.write_text("old")
    assert report.write(old, scores).read_text() == "<html>"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "old.html"]


def test_numbers_and_names_as_shown():
    assert [text.number(v) for v in (None, 0.0, -0.1234567, 123456.0, 1e8)] == [
        "–", "0", "−0.1235", "123500", "1e+08",
    ]  # fmt: skip
    assert text.count(1234567) == "1\u202f234\u202f567"
    assert [text.duration(s) for s in (1.25, 119.9, 150, 9000)] == [
        "1.2 s", "119.9 s", "2.5 min", "2.5 h",
    ]  # fmt: skip
    assert text.plain("a\udc80\u202e\n") == "a\\udc80\\u202e\\n"
    assert len(text.plain("y" * 5000)) < 320
    tree = {"a": {"b": 1, "c": None, "d": {}}, "e": [1, 2], "f": [], "g": ""}
    assert text.flattened(tree) == [("a.b", "1"), ("e", "1, 2")]


def test_a_published_reference_is_named_with_its_licence():
    files = [Path("a.wav"), Path("b.wav")]
    one = audio_set("r.npz", files, extra={"name": "Songs v2", "licence": "CC-BY"})
    own = score(one, audio_set("e", files), Wanted())
    assert tables.score_table("m", [own]).reference.name == "r.npz (Songs v2, CC-BY)"


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_colours_stand_out_in_light_and_dark():
    """Web Content Accessibility Guidelines 2.2, 1.4.3: 4.5 to 1."""
    css = Path(report.__file__).with_name("style.css").read_text("utf-8")
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in css.split("@media")[:2]]
    for scheme in schemes:
        for name in ("text", "muted", "link", "reference", "evaluation"):
            for ground in ("paper", "panel"):
                pair = sorted((luminance(scheme[name]), luminance(scheme[ground])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, ground)
