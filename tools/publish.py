"""What readers and teachers take with them, put into the site: the PDF, the slides, and one zip of all pages.

`python tools/publish.py zip` writes the zip of the site as it is to `_build/`. `python tools/publish.py` copies what
`make pdf` and `make slides` made into `_build/html`, then packs the zip, and lists all of it wherever a page has an
empty `<div class="book-downloads">`: so pages list what there is.
"""

import html
import re
import shutil
import sys
import zipfile
from pathlib import Path

import yaml
from chapters import ROOT

SITE = ROOT / "_build" / "html"
FOLDER = "downloads"
PLACE = re.compile(r'(<div class="book-downloads">).*?(</div>)', re.DOTALL)
DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold: the same pages give the same bytes
LEFT_OUT = {".buildinfo", ".doctrees"}


def short_name(root: Path = ROOT) -> str:
    """The book's title as a file's name."""
    title = yaml.safe_load((root / "_config.yml").read_text(encoding="utf8"))["title"]
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))


def pack(site: Path, out: Path) -> None:
    """Zip all files of ``site``, but other zips of it, in a folder named as the zip. The same files: the same bytes."""
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            if LEFT_OUT & set(Path(name).parts) or Path(name) == Path(FOLDER) / out.name:
                continue
            info = zipfile.ZipInfo(f"{out.stem}/{name}", DATE)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            archive.writestr(info, (site / name).read_bytes(), compresslevel=9)


def listed(site: Path, name: str) -> list[tuple[str, str]]:
    """Address and words of what there is to take."""
    files = [
        (f"{FOLDER}/{name}.pdf", "The whole book as a PDF"),
        (f"{FOLDER}/{name}.zip", "All pages in one zip: unpack it, and open index.html"),
        ("slides/index.html", "Slides for lectures, with the figures in them"),
    ]
    found = [(path, words, site / path) for path, words in files if (site / path).exists()]
    size = {file: "" if file.suffix == ".html" else f" ({file.stat().st_size / 1e6:.0f} MB)" for *_, file in found}
    return [(path, words + size[file]) for path, words, file in found]


def fill(site: Path, name: str) -> int:
    """List on the pages what there is; the number of places that were filled."""
    links, count = listed(site, name), 0
    for page in sorted(site.rglob("*.html")):
        text = page.read_text(encoding="utf8")
        up = "../" * (len(page.relative_to(site).parts) - 1)
        items = "".join(f'<li><a href="{up}{html.escape(path)}">{html.escape(words)}</a></li>' for path, words in links)
        new, places = PLACE.subn(rf"\1{f'<p>To take with you:</p><ul>{items}</ul>' if items else ''}\2", text)
        count += places
        if new != text:
            page.write_text(new, encoding="utf8")
    return count


def publish(site: Path, made: Path, name: str) -> Path:
    """Put PDF and slides from the folder ``made`` into ``site``, pack it, and list them; the zip."""
    folder = site / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(site / "slides", ignore_errors=True)
    folder.mkdir()
    if (made / "book.pdf").exists():
        shutil.copy(made / "book.pdf", folder / f"{name}.pdf")
    if (made / "slides").exists():
        shutil.copytree(made / "slides", site / "slides")
    out = folder / f"{name}.zip"
    fill(site, name)
    pack(site, out)
    fill(site, name)
    return out


def main(arguments: list[str]) -> str | None:
    if not (SITE / "index.html").exists():
        return f"{SITE}: need the built book: run make book first"
    name = short_name()
    out = SITE.parent / f"{name}.zip"
    if arguments == ["zip"]:
        pack(SITE, out)
    else:
        out = publish(SITE, SITE.parent, name)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
