"""A number, a title and an anchor for every figure of a chapter, moving or still.

The second figure of chapter 7 is Figure 7.2, at `#fig-7-2`. The line above it is a link to itself, and its words are the
figure's own: the label of a moving figure, the alternative text of a still one. Screen readers hear these in the figure.
"""

import html
import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

PICTURE = re.compile(r'<img class="figure-(?:poster|still)" alt="([^"]*)"')
LINE = '<p class="figure-number" id="{anchor}"><a href="#{anchor}">{name}</a> <span aria-hidden="true">{title}</span></p>'


def figures(
    doctree: nodes.document, env: BuildEnvironment, page: str
) -> Iterator[tuple[nodes.raw, str, str, str]]:
    """The pictures of a page in their order: the node, its anchor, its name and its title. None for no chapter."""
    chapter = env.toc_secnumbers.get(page, {}).get("", ())
    if not chapter:
        return
    pictures = (
        (node, found)
        for node in doctree.findall(nodes.raw)
        if node.get("format") == "html" and (found := PICTURE.search(node.astext()))
    )
    for at, (node, found) in enumerate(pictures, 1):
        number = (chapter[0], at)
        anchor = f"fig-{'-'.join(map(str, number))}"
        name = f"Figure {'.'.join(map(str, number))}"
        yield node, anchor, name, html.unescape(found[1])


class NumberFigures(SphinxPostTransform):
    """The lines above the figures."""

    default_priority = 3  # before MyST-NB takes the outputs out of their bundles

    def run(self) -> None:
        found = list(figures(self.document, self.env, self.env.docname))
        for node, anchor, name, title in found:
            bundle = node
            while (
                isinstance(bundle.parent, nodes.container)
                and bundle.get("nb_element") != "mime_bundle"
            ):
                bundle = bundle.parent
            line = LINE.format(anchor=anchor, name=name, title=html.escape(title))
            place = bundle.parent.index(bundle)
            bundle.parent.insert(place, nodes.raw("", line, format="html"))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(NumberFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
