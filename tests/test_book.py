"""The finished book: complete, readable without a network, every image described, every link alive."""

from __future__ import annotations

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

from fercore.book import contents, notebooks, stage
from fercore.errors import FercoreError
from fercore.paths import ROOT

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
            assert target.exists(), f"{page.relative_to(book)} -> {address}"
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
