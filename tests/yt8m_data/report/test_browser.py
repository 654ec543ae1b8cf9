"""The page in a real browser: it makes no request and no complaint, and what a reader can do with it works.

Chromium is driven over its DevTools protocol through a pipe, so no driver is needed beside it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yt8m_data.report.html import PAGE_ROWS, write_report

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless --no-sandbox --disable-gpu --no-first-run "  # and no chatter of its own with anybody
    "--disable-quic --disable-background-networking --disable-component-update --disable-sync"
)
EVIL = "</script><script>document.title='broken'</script><img src=//example.invalid/x onerror=document.title='broken'>"


class Browser:
    """A Chromium with one tab; `events` is what it reported since the last `open`."""

    def __init__(self, profile: Path) -> None:
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        pipes = f"exec {CHROMIUM} {QUIET} --user-data-dir={profile} --remote-debugging-pipe about:blank 3<&{commands} 4>&{answers}"
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(["bash", "-c", pipes], pass_fds=(commands, answers), **quiet)
        os.close(commands)
        os.close(answers)
        self._buffer, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": self._session} if self._session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answer = self._wait(lambda message: message.get("id") == self._number)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, page: Path, width: int = 1280, dark: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.events = []
        self.call("Page.navigate", url=page.as_uri())
        self._wait(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=f"(() => {{ {script} }})()", returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[dict[str, Any]]:
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [event for event in self.events if event.get("method") in kinds]

    def requests(self) -> list[str]:
        return [event["params"]["request"]["url"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]

    def close(self) -> None:
        self._session = None
        self.call("Browser.close")
        self._process.wait()

    def _wait(self, wanted: Any) -> dict[str, Any]:
        while True:
            while b"\0" not in self._buffer:
                part = os.read(self._read, 1 << 16)
                assert part, "the browser is gone"
                self._buffer += part
            line, self._buffer = self._buffer.split(b"\0", 1)
            message = json.loads(line)
            if wanted(message):
                return message
            self.events.append(message)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install chromium to test the report in a browser")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory, stage) -> Path:
    """A report on 3,862 labels, one of which has a name that means harm."""
    random = np.random.default_rng(3)
    labels = [sorted({label, label ^ 1}) for label in range(3862)] + [[int(label)] for label in random.zipf(1.6, 4000) if label < 3862]
    names = {label: f"thing {label}" for label in range(3862)} | {0: EVIL, 2: "Grand piano", 3: "Piano duo", 3000: "Zither"}
    path = tmp_path_factory.mktemp("browser") / "report.html"
    write_report(
        path, title="Labels", stages=[stage("Videos", labels, 3862)], names=names, command="yt8m-data stats", versions={"numpy": "2"}
    )
    return path


def shown(browser: Browser) -> list[str]:
    return browser.run("return [...document.querySelectorAll('#label-table tbody tr')].map((row) => row.cells[1].firstChild.textContent)")


def search(browser: Browser, text: str) -> str:
    """Type into the search field; return what the page says it found."""
    browser.run(f"const field = document.getElementById('search'); field.value = ''; field.focus(); field.value = {json.dumps(text)};")
    browser.run("document.getElementById('search').dispatchEvent(new Event('input', { bubbles: true }))")
    return browser.run("return document.getElementById('found').textContent")


def test_no_complaint_and_no_request(browser, page):
    for width in (1280, 390):
        browser.open(page, width)
        assert search(browser, "piano") == "2 labels found"
        assert browser.complaints() == []
        assert browser.requests() == [page.as_uri()]


def test_a_name_that_means_harm_is_a_name(browser, page):
    browser.open(page)
    assert browser.run("return document.title") == "Labels"
    assert search(browser, "broken") == "1 label found"
    assert shown(browser) == [EVIL]
    assert browser.run("return document.images.length") == 0


def test_a_script_that_is_not_ours_is_refused(browser, page, tmp_path):
    """The policy holds even where a mark-up would slip through."""
    (tmp_path / "report.html").write_text(page.read_text().replace("<main>", "<main><script>document.title = 'broken'</script>"))
    browser.open(tmp_path / "report.html")
    assert browser.run("return document.title") == "Labels"
    assert "Content Security Policy" in json.dumps(browser.complaints())


def test_the_search_finds_by_name_and_by_id(browser, page):
    browser.open(page)
    assert search(browser, "GRAND pia") == "1 label found"
    assert shown(browser) == ["Grand piano"]
    assert search(browser, "piano thing") == "0 labels found"
    assert search(browser, "3000") == "1 label found"
    assert shown(browser) == ["Zither"]
    assert search(browser, "") == "3,862 labels with videos"
    assert len(shown(browser)) == PAGE_ROWS


def test_the_document_holds_a_page_of_rows_until_more_are_asked_for(browser, page):
    browser.open(page)
    assert len(shown(browser)) == PAGE_ROWS
    browser.run("document.getElementById('more').click()")
    assert len(shown(browser)) == 6 * PAGE_ROWS
    search(browser, "thing")
    assert len(shown(browser)) == PAGE_ROWS
    search(browser, "piano")
    assert browser.run("return document.getElementById('more').hidden")


def test_columns_sort_and_the_search_holds(browser, page):
    browser.open(page)
    counts = (
        "return [...document.querySelectorAll('#label-table tbody tr')].map((row) => Number(row.cells[2].textContent.replaceAll(',', '')))"
    )
    falling = browser.run(counts)
    assert falling == sorted(falling, reverse=True)
    heads = "document.querySelectorAll('#label-table thead button')"
    browser.run(f"{heads}[2].click()")
    rising = browser.run(counts)
    assert rising == sorted(rising)
    assert rising[0] < falling[-1]
    assert browser.run("return document.querySelector('[aria-sort]').textContent") == "Videos"
    search(browser, "piano")
    browser.run(f"{heads}[1].click()")
    assert shown(browser) == ["Grand piano", "Piano duo"]
    browser.run(f"{heads}[1].click()")
    assert shown(browser) == ["Piano duo", "Grand piano"]


def point(browser: Browser, plot: str, cut: str, across: float, down: float) -> str:
    """Move the pointer to a place within the axes of a plot; return what stands below it."""
    browser.run(f"""
        const svg = document.querySelector('figure[data-plot="{plot}"] .{cut} svg');
        svg.scrollIntoView();
        const [left, top, width, height] = svg.dataset.box.split(' ').map(Number);
        const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
        const at = {{ clientX: box.left + (left + {across} * width) * scale, clientY: box.top + (top + {down} * height) * scale }};
        svg.dispatchEvent(new PointerEvent('pointermove', at));""")
    return browser.run(f"""return document.querySelector('figure[data-plot="{plot}"] .readout').textContent""")


@pytest.mark.parametrize(("width", "cut"), [(1280, "wide"), (390, "narrow")])
def test_the_pointer_reads_the_plots(browser, page, width, cut):
    browser.open(page, width)
    data = json.loads(browser.run("return document.getElementById('data').textContent"))
    low, high = map(float, browser.run(f"return document.querySelector('[data-plot=rank_frequency] .{cut} svg').dataset.x").split())
    across = np.log(50 / low) / np.log(high / low)
    name, count = data["rows"][49][1].split("\n")[0], data["rows"][49][2]
    assert point(browser, "rank_frequency", cut, across, 0.5) == f"Rank 50: {name}, {count} videos"
    heat = data["cooccurrence"]
    order = heat[cut]
    row, column = 3, 5
    i, j = order[row], order[column]
    said = point(browser, "cooccurrence", cut, (column + 0.5) / len(order), (row + 0.5) / len(order))
    assert said == f"{100 * heat['share'][i][j]:.1f}% of the videos with {heat['names'][i]} also carry {heat['names'][j]}"


def test_a_phone_shows_its_own_cut_and_nothing_sticks_out(browser, page):
    visible = "return [...document.querySelectorAll('figure .{} svg')].filter((svg) => svg.getBoundingClientRect().width > 0).length"
    for width, here, gone in ((1280, "wide", "narrow"), (390, "narrow", "wide")):
        browser.open(page, width)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run(visible.format(here)) == 5
        assert browser.run(visible.format(gone)) == 0


def test_dark_turns_page_and_plots(browser, page):
    colors = []
    for dark in (False, True):
        browser.open(page, dark=dark)
        ink = "getComputedStyle(document.querySelector('[data-plot=rank_frequency] .wide text')).fill"
        colors.append(browser.run(f"return [getComputedStyle(document.body).backgroundColor, {ink}]"))
    assert colors[0][0] == "rgb(255, 255, 255)"
    assert colors[1][0] == "rgb(20, 24, 29)"
    assert colors[0][1] != colors[1][1]


def test_paper_is_white_and_has_no_controls(browser, page):
    browser.open(page, dark=True)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", media="print", features=dark)
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("return getComputedStyle(document.querySelector('.tools')).display") == "none"
    rows = "[...document.querySelectorAll('#label-table tbody tr')].filter((row) => row.getBoundingClientRect().height > 0)"
    assert browser.run(f"return {rows}.length") == 40
