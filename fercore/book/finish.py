"""What Sphinx leaves out of a page for whoever reads it by ear, by keyboard or on a phone."""

from __future__ import annotations

import re

TABLE = re.compile(r'(<div class="pst-scrollable-table-container">)?\s*(<table\b.*?</table>)', re.DOTALL)
HEAD = re.compile(r"<th(?=[\s>])(?![^>]*\bscope=)")
UNNAMED = re.compile(r"<th\b[^>]*>(?:<p>)?\s*(?:</p>)?</th>")
FIRST = re.compile(r"(<tr\b[^>]*>\s*)<td\b([^>]*)>(.*?)</td>", re.DOTALL)
LABEL = ' aria-label="Toggle hidden content"'
IMAGE = re.compile(r'(<a\b[^>]*>\s*)?(<img\b[^>]*\bsrc="([^"]*_images/[^"]*)"[^>]*>)')


def finished(page: str) -> str:
    """HTML of a page whose tables scroll in a box of their own and say what each head is of, whose figures open at full
    size, and whose folds are called what is written on them."""
    return IMAGE.sub(_opening, TABLE.sub(_boxed, page)).replace(LABEL, "")


def _boxed(found: re.Match[str]) -> str:
    head, _, body = found[2].rpartition("</thead>")
    if (first := HEAD.search(head)) and UNNAMED.match(head, first.start()):  # then the first column names the rows
        body = FIRST.sub(r'\1<th scope="row"\2>\3</th>', body)
    text = HEAD.sub('<th scope="col"', f"{head}</thead>" if head else "") + HEAD.sub('<th scope="row"', body)
    return f"{found[1]}{text}" if found[1] else f'<div class="pst-scrollable-table-container">{text}</div>'


def _opening(found: re.Match[str]) -> str:
    return found[0] if found[1] else f'<a class="whole" href="{found[3]}">{found[2]}</a>'
