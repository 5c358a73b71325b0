"""Figures as data URIs. A foreign figure may come from anybody: it is taken only if it can do nothing.

An image element runs no script of an SVG, but a reader may open the figure by itself. So an SVG is
taken only if all its elements and attributes are known to be passive.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from xml.etree import ElementTree

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SVG_NAMESPACE = "{http://www.w3.org/2000/svg}"
METADATA_NAMESPACES = (
    "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}",
    "{http://creativecommons.org/ns#}",
    "{http://purl.org/dc/elements/1.1/}",
)
"""Namespaces of the description that matplotlib writes; nothing in them is drawn."""
PASSIVE_ELEMENTS = frozenset(
    {
        *("svg", "g", "defs", "use", "symbol", "title", "desc", "metadata", "style", "image"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan"),
        *("clipPath", "mask", "pattern", "marker", "linearGradient", "radialGradient", "stop"),
    }
)
OWN_TARGET = re.compile(r"\s*(?:#|data:image/(?:png|jpeg);base64,)")
"""Targets inside the file itself."""
FOREIGN_STYLE = re.compile(r"url\(\s*(?![\"']?\s*#)|@import|expression\s*\(|\\", re.IGNORECASE)
"""Parts of a style that load something, and the backslash, which can spell any of them."""
DECLARATIONS = re.compile(r"<!\s*ENTITY|<!\s*DOCTYPE[^>]*\[|<\?xml-stylesheet", re.IGNORECASE)


def figure_uri(path: str, content: bytes) -> str | None:
    """Return a figure as a data URI; None for one that is no PNG and no passive SVG."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".png" and content.startswith(PNG_SIGNATURE):
        media_type = "image/png"
    elif suffix == ".svg" and _is_passive_svg(content):
        media_type = "image/svg+xml"
    else:
        return None
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _is_passive_svg(content: bytes) -> bool:
    try:
        # In another encoding than UTF-8 the declarations could not be seen.
        text = content.decode("utf-8")
        if DECLARATIONS.search(text):
            return False
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError):
        return False
    return not any(_active_parts(root))


def _active_parts(root: ElementTree.Element) -> Iterator[str]:
    """Yield the elements and attributes that are not known to be passive."""
    for element in root.iter():
        tag = str(element.tag)
        if tag.startswith(METADATA_NAMESPACES):
            continue
        if tag.removeprefix(SVG_NAMESPACE) not in PASSIVE_ELEMENTS:
            yield tag
        if FOREIGN_STYLE.search(element.text or "") and tag == f"{SVG_NAMESPACE}style":
            yield "style"
        for name, value in element.attrib.items():
            local = name.rpartition("}")[2].lower()
            is_link = local in ("href", "src")
            if local.startswith("on") or (is_link and not OWN_TARGET.match(value)):
                yield name
            if not is_link and FOREIGN_STYLE.search(value):
                yield name
