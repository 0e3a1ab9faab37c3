"""The finished book: complete, readable without a network, every image described, every link alive."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

from fercore import provenance, records
from fercore.book.site import contents, notebooks, stage
from fercore.data.twin_designs import DESIGNS
from fercore.errors import FercoreError
from fercore.ledger.found import stale
from fercore.paths import ROOT, records_root, reference_records

pytestmark = pytest.mark.slow


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(), "html.parser")


@pytest.fixture(scope="module")
def pages(book: Path) -> list[Path]:
    return [book / f"{name}.html" for name in contents()]


def remote(address: str) -> bool:
    return bool(urlsplit(address).scheme and urlsplit(address).scheme != "data") or address.startswith("//")


def test_every_page_is_there(pages: list[Path], book: Path) -> None:
    assert all(page.is_file() for page in pages)
    start = soup(book / "index.html").find("meta", attrs={"http-equiv": "Refresh"})
    assert start and "book/index.html" in start["content"]
    assert (book / "searchindex.js").is_file()


def test_nothing_is_loaded_from_a_network(pages: list[Path], book: Path) -> None:
    for page in pages:
        for tag in soup(page).find_all(src=True):
            assert not remote(tag["src"]), f"{page.name}: {tag['src']}"
        for tag in soup(page).find_all("link", href=True):
            assert not remote(tag["href"]), f"{page.name}: {tag['href']}"
    for sheet in (book / "_static").rglob("*.css"):
        foreign = re.findall(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^"')]+""", sheet.read_text(errors="replace"))
        assert not foreign, f"{sheet.name}: {foreign}"


def test_formulas_are_typeset_from_local_files(pages: list[Path]) -> None:
    page = next(page for page in pages if page.stem == "notation")
    sources = [tag["src"] for tag in soup(page).find_all("script", src=True) if "mathjax" in tag["src"].lower()]
    assert sources and all((page.parent / urlsplit(source).path).is_file() for source in sources)


def test_every_image_has_an_alternative_text(pages: list[Path]) -> None:
    for page in pages:
        for image in soup(page).find_all("img"):
            text = image.get("alt", "").strip()
            assert text and not text.startswith(("_images", "../_images")), f"{page.name}: {image.get('src')}"


def test_every_local_link_leads_somewhere(pages: list[Path], book: Path) -> None:
    for page in pages:
        for tag in soup(page).find_all(["a", "img", "script", "link"]):
            address = tag.get("href") or tag.get("src") or ""
            if not address or remote(address) or address.startswith(("data:", "javascript:")):
                continue
            parts = urlsplit(address)
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_file(), f"{page.relative_to(book)} -> {address}"
            if parts.fragment and target.suffix == ".html" and target.stem not in ("search", "genindex"):
                assert soup(target).find(id=unquote(parts.fragment)), f"{page.relative_to(book)} -> {address}"


@pytest.mark.parametrize("name", notebooks())
def test_launch_and_download_hit_the_source(name: str, book: Path) -> None:
    source = ROOT / f"{name}.ipynb"
    links = [tag["href"] for tag in soup(book / f"{name}.html").find_all("a", href=True)]
    repository = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    place = repository["url"].removeprefix("https://github.com/")
    assert f"https://colab.research.google.com/github/{place}/blob/{repository['branch']}/{name}.ipynb" in links
    assert any("mybinder.org" in link and unquote(link).endswith(f"{name}.ipynb") for link in links)
    (download,) = {link for link in links if "_sources" in link and link.endswith(".ipynb")}
    assert (book / f"{name}.html").parent.joinpath(download).read_bytes() == source.read_bytes()


def test_times_and_versions_come_from_the_notebooks(book: Path) -> None:
    page = soup(book / "book" / "execution.html")
    rows = [row.get_text(" ", strip=True) for row in page.find("table").find_all("tr")]
    assert len(rows) == len(notebooks()) + 1 and all("smoke" in row for row in rows[1:])
    assert "2.15.0" in page.get_text() and "1.0.4.post1" in page.get_text()


def staged(name: str, root: Path = ROOT / "_build" / "src") -> list[nbformat.NotebookNode]:
    """The cells of a notebook as the book shows them."""
    return nbformat.read(root / f"{name}.ipynb", as_version=4).cells


def pictures_and_tables(cell: nbformat.NotebookNode) -> int:
    found = [output.get("data", {}) for output in cell.get("outputs", [])]
    return sum("image/png" in data or "<table" in data.get("text/html", "") for data in found)


@pytest.mark.parametrize("name", notebooks())
def test_every_figure_and_table_says_how_it_was_made(name: str, book: Path) -> None:
    cells = staged(name)
    showing = [k for k, cell in enumerate(cells) if pictures_and_tables(cell)]
    assert showing and all(pictures_and_tables(cells[k]) == 1 for k in showing)
    for k in showing:
        below = BeautifulSoup(cells[k + 1].source, "html.parser").find("details", id=f"made-{cells[k].id}")
        assert below, f"{cells[k].id} does not say how it was made"
        told = {term.text: term.find_next("dd") for term in below.find("dl").find_all("dt")}
        assert {"command", "parameters", "commit", "data", "numbers"} <= set(told), cells[k].id
        assert told["command"].text.startswith(f"papermill {name}.ipynb out.ipynb -p preset smoke")
        numbers = base64.b64decode(told["numbers"].a["href"].partition("base64,")[2]).decode()
        assert len(numbers.splitlines()) > 1, f"{cells[k].id}: no numbers"
        assert soup(book / f"{name}.html").find("details", id=f"made-{cells[k].id}")
    assert sum("<details" in cell.source and cell.id.endswith("-made") for cell in cells) == len(showing)


@pytest.mark.parametrize("name", ["ledger", "equations", "execution", *(f"cards/{twin}" for twin in DESIGNS)])
def test_generated_tables_say_how_they_were_made(name: str, book: Path) -> None:
    below = soup(book / "book" / f"{name}.html").find("details", class_="made")
    assert "commit" in below.text and below.find("a", download=True)


def test_every_page_opens_with_a_box_and_closes_with_what_comes_next(book: Path) -> None:
    for name in notebooks():
        first, *_, last = staged(name)
        box = first.source.partition("\n> **You will learn** ")[2]
        assert box.startswith(tuple("abcdefghijklmnopqrstuvwxyz")) and "\n> **You need** " in box, name
        assert re.search(r"\n>\n> \*\*Time\*\*: \d+ minutes to read; to execute on \d cores, .*`smoke` \d", box), name
        assert last.source.startswith("**Next.** ") and "](" in last.source, name


def test_what_is_folded_is_named(book: Path) -> None:
    cells = {cell.id: cell for cell in staged("notebooks/lan/training")}
    assert cells["parameters"].metadata["mystnb"]["code_prompt_show"] == "Parameters and what they mean"
    assert {"solution", "hide-cell"} <= set(cells["solution-1"].metadata["tags"])
    page = soup(book / "notebooks" / "lan" / "training.html")
    assert page.select(".tag_hide-cell details") and not page.find(string=re.compile("# Parameters"))


@pytest.mark.parametrize("edited", [False, True], ids=["the code as it is", "the code edited since"])
def test_no_stale_record_is_shown_unmarked(
    edited: bool, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if edited:
        monkeypatch.setattr(provenance, "code_of", lambda paper: "edited")
    stage(ROOT / "_runs" / "smoke", tmp_path / "src")
    known = {r.name: r for root in (reference_records(), records_root()) for r in records.find(root)}
    seen = set()
    for name in notebooks():
        marked = ""
        for cell in staged(name, tmp_path / "src"):
            shown = set(re.findall(r"Record (\w[\w-]+-f\d+-s\d+-[0-9a-f]{10})", cell.source))
            mark = cell.source.partition("How was this made")[0]
            marked += mark if "Stale" in mark else ""
            if edited and re.search(r"\d records? (below|above)", cell.source):
                assert "Stale</b>" in cell.source or "Stale:</b>" in cell.source, f"{name}, {cell.id}"
            for record in shown:
                assert (record in marked) == stale(known[record]), f"{name}, {cell.id}"
            seen |= shown
    ledger = (tmp_path / "src" / "book" / "ledger.md").read_text().partition('<details class="made"')[0]
    linked = dict(re.findall(r">record ([\w-]+)</a>( \*\*stale\*\*)?", ledger))
    assert linked and {name: bool(mark) for name, mark in linked.items()} == {
        name: stale(known[name]) for name in linked
    }
    assert {r.name for r in records.find()} <= seen, "every committed record is shown on a page"


def spoil_exception(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["papermill"]["exception"] = True
    nbformat.write(notebook, path)


def spoil_output(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="spoilt", traceback=[])]
    nbformat.write(notebook, path)


def spoil_source(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["fercore"]["source_hash"] = "0"
    nbformat.write(notebook, path)


def spoil_code(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["fercore"]["code_hash"] = "0"
    nbformat.write(notebook, path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (Path.unlink, "not been executed"),
        (spoil_exception, "it failed"),
        (spoil_output, "ValueError: spoilt"),
        (spoil_source, "source has changed"),
        (spoil_code, "code that it uses has changed"),
    ],
)
def test_what_is_unsound_is_not_staged(spoil: Callable[[Path], None], reason: str, book: Path, tmp_path: Path) -> None:
    runs, target = tmp_path / "runs", tmp_path / "src"
    shutil.copytree(ROOT / "_runs" / "smoke" / "notebooks", runs / "notebooks")
    name = notebooks()[0]
    spoil(runs / f"{name}.ipynb")
    with pytest.raises(FercoreError, match=reason) as caught:
        stage(runs, target)
    assert name in str(caught.value)
    assert list(tmp_path.iterdir()) == [runs], "nothing half-written"
