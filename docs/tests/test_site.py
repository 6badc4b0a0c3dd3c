"""The site is built with the network cut and no warning, and read page by page: links, pictures, formulas, search."""

import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
import reference

ROOT = Path(__file__).resolve().parents[2]
GALLERY = sorted((ROOT / "examples" / "gallery").glob("plot_*.py"))
CUT = """
import runpy, socket, sys
def refused(*_):
    raise OSError("the documentation is built without a network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refused
sys.argv = ["sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", sys.argv[1]]
runpy.run_module("sphinx", run_name="__main__")
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site; FNN_SITE names one that is built already."""
    pytest.importorskip("sphinx")
    if "FNN_SITE" in os.environ:
        return Path(os.environ["FNN_SITE"])
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-c", CUT, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return folder


class Page(html.parser.HTMLParser):
    """What a page links to, shows and loads, and where it can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.pictures, self.loads, self.ids = [], [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, given):
        given = {name: value or "" for name, value in given}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "img":
            self.pictures.append(given.get("src", ""))
        if tag == "script" and "src" in given:
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon"):
            self.loads.append(given["href"])


@pytest.fixture(scope="session")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def outside(link):
    return re.match(r"[a-z]+:|//", link) is not None


def target(path, link):
    return (path.parent / unquote(link.partition("#")[0].partition("?")[0])).resolve() if link[0] != "#" else path


def test_links_and_their_anchors_lead_somewhere(site, pages):
    known = {path.resolve(): page for path, page in pages.items()}
    lost = []
    for path, page in pages.items():
        for link in filter(None, page.links):
            if outside(link) or link == "#":
                continue
            there, anchor = target(path, link).resolve(), unquote(link.partition("#")[2])
            if not there.exists() or (anchor and there in known and anchor not in known[there].ids):
                lost.append(f"{path.relative_to(site)}: {link}")
    assert not lost, lost[:20]


def test_pictures_are_there(site, pages):
    shown = {target(path, source) for path, page in pages.items() for source in page.pictures if not outside(source)}
    assert all(path.exists() and path.stat().st_size > 500 for path in shown)
    names = " ".join(path.name for path in shown)
    assert all(script.stem in names for script in GALLERY), "every script of the gallery has its picture"


def test_a_page_loads_nothing_from_elsewhere(site, pages):
    loads = {path: [*page.loads, *page.pictures] for path, page in pages.items()}
    assert not [
        (path.name, link) for path, links in loads.items() for link in links if outside(link) and "data:" not in link
    ]
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)]*", styles)
    assert not [path for path in pages if "cdn." in path.read_text(encoding="utf-8")]


def test_formulas_are_rendered_by_a_script_of_the_site(site, pages):
    with_formulas = {path: page for path, page in pages.items() if 'class="math' in path.read_text(encoding="utf-8")}
    assert len(with_formulas) >= 10
    for path, page in with_formulas.items():
        (script,) = [link for link in page.loads if "mathjax" in link]
        assert target(path, script).stat().st_size > 1e5


def test_no_markup_is_left_over(pages):
    """What Markdown or reStructuredText would have turned into code and formulas."""
    left = []
    for path in pages:
        if "_modules" in path.parts:
            continue
        text = re.sub(
            r"<(pre|script|style|code|span class=\"math|div class=\"math)[\s\S]*?</\w+>", "", path.read_text()
        )
        text = re.sub(r"<[^>]+>", "", text)
        left += [
            f"{path.name}: {found}" for found in re.findall(r".{0,30}(?:\$[^$\n]+\$|``|:math:|\ue000).{0,30}", text)
        ]
    assert not left, left[:10]


def test_every_public_name_has_its_place(pages):
    ids = set().union(*(page.ids for path, page in pages.items() if path.parent.name == "api"))
    names = [name for room in reference.rooms() for name in reference.public(room)]
    import fnn

    names = {*names, *(f"fnn.{name}" for name in fnn.__all__)}
    rooms = {f"fnn.{room}" for room in reference.rooms()}
    assert not [name for name in names if name not in ids and name not in rooms]
    assert len(names) > 450


def test_the_search_finds_words_of_every_kind_of_page(site):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\);?", text, re.S)[1])
    for word in ("dropout", "momentum", "checkpoint", "hyperband"):
        assert any(term.startswith(word[:7]) for term in index["terms"]), word
    assert "Coming from torch" in index["titles"]


def test_the_gallery_is_a_course():
    assert len(GALLERY) >= 14
    for script in GALLERY:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 60, f"{script.name}: {len(lines)} lines"
