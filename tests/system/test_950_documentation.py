"""The documentation: every command in it does what its page says, and every link leads somewhere.

pages.py says how pages are read. Each is run from its top to its end on a host of its own. With `pytest -rs`, what is left out is told.
"""

import concurrent.futures
import re

import pytest

from conftest import ROOT
from pages import Host, Page, matches

PAGES = {str(path.relative_to(ROOT)): Page(path) for path in
         (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "sql/examples").glob("*/README.md")))}
RUN = {name: page for name, page in PAGES.items() if any(block.is_run() for block in page.blocks)}
LEFT_OUT = [block for page in PAGES.values() for block in page.blocks if "not run" in block.notes]


@pytest.mark.parametrize("expected, printed, same", [
    ("one\ntwo\n", "one\ntwo", True),
    ("one\n", "one\ntwo", False),
    ("", "", True),
    ("", "one", False),
    ("one ... three\n", "one two three", True),
    ("one ... three\n", "one two\nthree", False),
    ("...\nthree\n", "one\ntwo\nthree", True),
    ("one\n...\n", "one", True),
    ("a.c\n", "abc", False),
])
def test_what_is_printed_is_compared_with_what_is_said(expected, printed, same):
    assert matches(expected, printed) is same


def test_a_page_that_says_what_is_not_so_fails(tmp_path):
    path = ROOT / "docs" / "none.md"
    page = tmp_path / "page.md"
    host = Host()

    def try_out(text):
        page.write_text(text)
        for block in Page(page).blocks:
            block.page = path
            host.do(block)
    try:
        try_out("```console\n$ N=1; echo one\none\n$ echo $N\n1\n```\n")
        for wrong in ("```console\n$ echo one\ntwo\n```\n", "```console\n$ false\n```\n", "<!-- run: echo; false -->\n"):
            with pytest.raises(AssertionError, match="none.md"):
                try_out(wrong)
    finally:
        host.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_written_so_that_it_can_be_run(name):
    assert PAGES[name].wrong == []


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    page, wrong = PAGES[name], []
    for link in page.links():
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = (page.path.parent / target).resolve() if target else page.path
        if not path.exists() or (anchor and anchor not in Page(path).anchors()):
            wrong.append(link)
    assert wrong == []


def test_every_page_is_listed():
    listed = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in PAGES["docs/README.md"].links()}
    assert [name for name, page in PAGES.items() if name.startswith("docs/") and page.path not in listed] == ["docs/README.md"]


def test_every_test_that_is_named_is_there():
    names = {name for page in PAGES.values() for name in re.findall(r"\b(?:test|flow)_[a-z0-9_]+\.(?:py|c)\b", page.path.read_text())}
    assert {"test_600_coherence.py"} <= names
    assert [name for name in sorted(names) if not list((ROOT / "tests").glob(f"*/{name}"))] == []


def test_what_is_not_run_is_little_and_says_why():
    assert all(len(block.notes["not run"]) > 15 for block in LEFT_OUT)
    run = sum(len(block.steps()) for page in RUN.values() for block in page.blocks if block.is_run())
    assert len(LEFT_OUT) * 8 < run, "\n".join(f"{block}: {block.notes['not run']}" for block in LEFT_OUT)


@pytest.mark.parametrize("block", LEFT_OUT, ids=str)
def test_left_out(block):
    pytest.skip(f"{block}: {block.notes['not run']}")


def carry_out(page):
    host = Host()
    try:
        for block in page.blocks:
            host.do(block)
    finally:
        host.close()


@pytest.fixture(scope="module")
def outcomes(request):
    """Pages wait more than they work, so some are run at a time."""
    names = [item.callspec.params["name"] for item in request.session.items
             if item.path == request.path and item.originalname == "test_every_command_of_a_page_does_what_it_says"]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        yield {name: pool.submit(carry_out, RUN[name]) for name in sorted(names, key=lambda name: -len(RUN[name].blocks))}


@pytest.mark.parametrize("name", RUN)
def test_every_command_of_a_page_does_what_it_says(outcomes, name):
    outcomes[name].result()
