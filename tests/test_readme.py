"""What the pages show works, their generated parts are up to date, and what they name exists."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from fad_onnx.cli import main
from fad_onnx.networks import table
from fad_onnx.networks.selection import variants

from .kept import as_list, as_tar, files_of
from .kit import WEIGHTLESS

ROOT = Path(__file__).parents[1]
# Shown to users: every block of theirs runs. Pages for maintainers need torch, or hours.
SHOWN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [
    *SHOWN,
    *(ROOT / name for name in ("CONTRIBUTING.md", "RELIABILITY.md", "CHANGELOG.md")),
    *(ROOT / "exporters").glob("*.md"),
    *(ROOT / "benchmarks").glob("*.md"),
]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
every_shown_page = pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)


def blocks(page, wanted):
    found = re.findall(r"```(\w*)\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    return [block for kind, block in found if kind == wanted]


@pytest.fixture
def tasks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    import tasks

    return tasks


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words --help by version")
@every_page
def test_generated_parts_are_up_to_date(page, tasks):
    text = page.read_text("utf-8")
    assert tasks.generated(text) == text, "run: python tasks.py docs"


def test_every_generated_part_has_one_page(tasks):
    text = "".join(page.read_text("utf-8") for page in tasks.PAGES)
    for name in tasks.PARTS:
        assert text.count(f"<!-- {name}: begin") == text.count(f"<!-- {name}: end") == 1, name


def test_every_network_is_in_the_parity_table():
    """Models that differ by nothing but their checkpoint need one; the page names the rest."""
    page = (ROOT / "docs" / "parity.md").read_text("utf-8")
    missing = page[page.index("not in the table") : page.index("<!-- parity: begin")]
    unknown = re.findall(r"`([\w-]+)`", missing)
    findings = json.loads((ROOT / "benchmarks" / "parity.json").read_text("utf-8"))["findings"]
    measured = {
        one.graph for finding in findings for one in variants(table.model(finding["model"]))
    }
    asked = [model for model in table.models().values() if model.name not in unknown]
    every = {one.graph for model in asked for one in variants(model)}
    assert every - measured == set(), "run: python -m exporters verify MODEL --into ..."


def test_the_example_on_the_page_is_the_file():
    (shown,) = blocks(ROOT / "docs" / "own-models.md", "json")
    assert shown == (ROOT / "docs" / "example" / "bands.json").read_text("utf-8")


def test_the_two_commands_stand_alone():
    lines = [block for block in blocks(ROOT / "README.md", "sh") if "venv" in block]
    assert len(lines) == 2 and all(len(line.splitlines()) == 1 for line in lines)


@pytest.fixture
def place(clips, tmp_path, monkeypatch, own_models):
    """A folder with everything that the examples name."""
    place = Path(shutil.copytree(ROOT / "docs" / "example", tmp_path / "place"))
    for name in ("reference", "generated", "system-a", "system-b", "system-c", "path/to/reference",
                 "path/to/generated"):  # fmt: skip
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(clips)
    as_tar(clips, place / "clips.tar")
    as_list(clips, place / "clips.txt")
    for number in range(2):
        shards = place / "shards"
        shards.mkdir(exist_ok=True)
        as_tar(clips, shards / f"{number:03}.tar", files_of(clips)[number::2])
    monkeypatch.chdir(place)
    return place


def commands(page):
    """Environment and words of each command."""
    for block in blocks(page, "sh"):
        if "venv" not in block:
            for line in filter(str.strip, block.splitlines()):
                words = shlex.split(line, comments=True)
                program = words.index("fad-onnx")
                yield dict(word.split("=", 1) for word in words[:program]), words[program + 1 :]


@every_shown_page
def test_every_command_runs_but_for_its_weights(page, place, monkeypatch):
    """With the weightless model for the default; what needs weights says how to get them."""
    for environment, (command, *arguments) in commands(page):
        needs_weights = command == "pull" or {"-m", "--weights"} & set(arguments)
        needs_weights = (needs_weights and "--models" not in arguments) or "--captions" in arguments
        if command in ("score", "stats", "embed") and not needs_weights:
            arguments += [] if arguments[0].endswith(".npz") else ["-m", WEIGHTLESS]
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            status = main([command, *arguments])
        assert status == (1 if needs_weights else 0), (command, arguments)


def numbers_of(table):
    """The cells of a table in Markdown by its heads."""
    head, _, *rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table]
    return {(row[0], name): float(cell) for row in rows
            for name, cell in zip(head[1:], row[1:], strict=True)}  # fmt: skip


def test_the_table_of_synthetic_systems_is_what_its_commands_print(place, capsys):
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| dataset | FAD"))
    shown = numbers_of(lines[start : start + 5])
    block = next(block for block in blocks(ROOT / "README.md", "sh") if "demo --folder" in block)
    for line in block.splitlines():
        capsys.readouterr()
        assert main(shlex.split(line, comments=True)[1:]) == 0
    printed = numbers_of(capsys.readouterr().out.splitlines())
    assert len(shown) == 18 and list(shown) == list(printed)
    assert list(shown.values()) == pytest.approx(list(printed.values()), rel=1e-3)


@every_shown_page
def test_every_python_block_runs(page, place):
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {"__name__": "__main__"})


@every_page
def test_links_between_pages_lead_somewhere(page):
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, heading = target.partition("#")
            found = page.parent / path if path else page
            assert found.exists(), target
            if heading:
                titles = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.MULTILINE)
                assert heading in {title.lower().replace(" ", "-") for title in titles}, target


@every_page
def test_files_that_pages_name_exist(page):
    """Tests by their function, files by their path from the top."""
    text = page.read_text("utf-8")
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    files = re.findall(r"\b(?:tests|fad_onnx|exporters|benchmarks|docs)/[\w/.-]+\.\w+", text)
    meant = [name for name in files if not re.search("FAMILY|MODEL|NAME", name)]
    assert [name for name in meant if not (ROOT / name).exists()] == []
    functions = set(re.findall(r"(?<![./])\btest_\w+\b(?!\.py)", text))
    assert [name for name in functions if f"def {name}(" not in sources] == []


def test_commands_that_repeat_a_test_select_one():
    """`-k` in RELIABILITY.md names words of tests in that file."""
    text = (ROOT / "RELIABILITY.md").read_text("utf-8")
    for name, quoted, word in re.findall(r'(tests/\w+\.py) -k (?:"([^"]+)"|(\w+))', text):
        functions = re.findall(r"def (test_\w+)", (ROOT / name).read_text("utf-8"))
        for part in re.split(r" or ", quoted or word):
            wanted = part.removeprefix("not ")
            assert any(wanted in function for function in functions), (name, part)
