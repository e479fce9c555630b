"""What axe-core has against a page.

Axe looks at each word's colours, and at those of links in text, at length. The book repeats few kinds of text many
times; so one of each kind is looked at, and formulas and the words of code are taken out for as long as it looks.
"""

from importlib.resources import files

from playwright.sync_api import Page

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
LOOK = """async ([alsoNames, known]) => {
  const put = [];
  const take = (node, by) => { node.replaceWith(by); put.push([by, node]); };
  for (const math of document.querySelectorAll("math")) take(math, document.createElement("i"));
  const kinds = new Map();
  const say = ({ localName, className }) => `${localName}.${className.baseVal ?? className}`;
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
    if (!node.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const { color, fontSize, fontWeight } = getComputedStyle(node);
    const box = node.closest(".admonition, table, pre, figure, nav, details")?.className;
    const kind = [say(node), say(node.parentElement), box, color, fontSize, fontWeight].join("|");
    if (!kinds.has(kind) && !known.includes(kind)) kinds.set(kind, node);
  }
  const options = { resultTypes: ["violations"], preload: false }; // else it asks for the sheets by itself
  const contrast = { ...options, runOnly: ["color-contrast", "link-in-text-block"] };
  const found = kinds.size ? (await axe.run({ include: [...kinds.values()] }, contrast)).violations : [];
  if (alsoNames) {
    const code = [...document.querySelectorAll(".highlight pre")].map((pre) => [pre, [...pre.childNodes]]);
    for (const [pre] of code) pre.textContent = "code";
    const off = { enabled: false };
    const on = { "label-content-name-mismatch": { enabled: true } };
    const rules = { "color-contrast": off, "link-in-text-block": off, ...on };
    found.push(...(await axe.run(document, { ...options, rules })).violations);
    for (const [pre, words] of code) pre.replaceChildren(...words);
  }
  for (const [by, node] of put.reverse()) by.replaceWith(node);
  const told = found.map(({ id, impact, nodes }) => [impact, id, nodes.length,
    nodes.slice(0, 4).map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary.slice(0, 200)}`)]);
  return [told, [...kinds.keys()]];
}"""
GRAVE = ("serious", "critical", "moderate")


known: set[str] = set()  # kinds of text on the pages so far, in their colours


def violations(page: Page, names: bool) -> list:
    """Those that are not minor: of the colours of text of a kind not yet seen, and with ``names`` of all else."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE)
    found, kinds = page.evaluate(LOOK, [names, sorted(known)])
    known.update(kinds)
    return [violation for violation in found if violation[0] in GRAVE]
