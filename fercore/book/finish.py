"""What Sphinx leaves out of a page for whoever reads it by ear, by keyboard or on a phone."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, NavigableString, Tag

BOX = "pst-scrollable-table-container"
SHARE = re.compile(r"(?<=\d) ([%°])")


def finished(page: str) -> str:
    """HTML of a page whose tables scroll in a box of their own and say what each head is of, whose figures open at full
    size, whose folds are called what is written on them, where a cell's folded code comes after what it made, and where
    no line begins with a per cent sign."""
    soup = BeautifulSoup(page, "html.parser")
    for table in soup.find_all("table"):
        _name_heads(table)
        if BOX not in table.parent.get("class", []):
            table.wrap(soup.new_tag("div", attrs={"class": BOX}))
    for image in soup.select("img[src*='_images/']"):
        if image.find_parent("a") is None:
            image.wrap(soup.new_tag("a", attrs={"class": "whole", "href": image["src"]}))
    for fold in soup.select("[aria-label='Toggle hidden content']"):
        del fold["aria-label"]
    for code in soup.select("div.cell.tag_hide-input > details.above-input"):
        code.parent.append(code.extract())
    for text in soup.find_all(string=SHARE):
        if type(text) is NavigableString and text.find_parent(["pre", "code", "title"]) is None:
            text.replace_with(SHARE.sub("\N{NO-BREAK SPACE}\\1", text))
    return str(soup)


def _name_heads(table: Tag) -> None:
    """``scope`` of each head; where the first column has no name, it names the rows."""
    first = table.select_one("thead th")
    if first is not None and not first.get_text(strip=True):
        for cell in table.select("tbody > tr > td:first-child"):
            cell.name = "th"
    for head in table.find_all("th"):
        head["scope"] = head.get("scope") or ("col" if head.find_parent("thead") else "row")
