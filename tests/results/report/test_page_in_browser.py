"""The page in Chromium: sorts, filters, opens records, and logs no error."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium and no google-chrome on PATH (docs/report.md)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(
    browser: Browser, report_page: str, tmp_path: Path
) -> Iterator[Callable[..., tuple[Page, list[str]]]]:
    """Opens the page from disk; the list collects errors, alerts and further requests."""
    file = tmp_path / "report.html"
    file.write_text(report_page)
    contexts = []

    def opened(width: int = 1280, **options: Any) -> tuple[Page, list[str]]:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page, wrong = context.new_page(), []
        page.on("console", lambda it: wrong.append(it.text) if it.type != "log" else None)
        page.on("pageerror", lambda it: wrong.append(str(it)))
        page.on("dialog", lambda it: (wrong.append(it.message), it.dismiss()))
        page.on("request", lambda it: wrong.append(it.url) if it.url != file.as_uri() else None)
        page.goto(file.as_uri())
        return page, wrong

    yield opened
    for context in contexts:
        context.close()


Open = Callable[..., tuple[Page, list[str]]]


def first_cells(page: Page, table: str) -> list[str]:
    return page.locator(f"{table} tbody tr > :first-child").all_inner_texts()


def test_it_opens_without_errors_or_requests(open_page: Open) -> None:
    page, wrong = open_page()
    page.wait_for_load_state("networkidle")
    assert page.locator("div.dt-container").count() == page.locator("table.sorted").count() > 3
    page.mouse.move(200, 200)
    assert [it for it in wrong if not it.startswith("data:")] == []


def test_a_click_on_a_head_sorts_by_the_number(open_page: Open, markup: str) -> None:
    page, wrong = open_page()
    table = "#table-table8"
    before = first_cells(page, table)
    assert before[0] == "B-standard"
    head = page.locator(f"{table} th", has_text="mAP (demo)")
    head.click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    by_map = ["+ cosine", markup, "+ distill w/ mixup", "D-efficient"]  # 9.5 before 12
    assert [it for it in first_cells(page, table) if it in by_map] == by_map
    head.locator("[role=button]").press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert [it for it in first_cells(page, table) if it in by_map] == by_map[::-1]
    assert wrong == []


def test_the_filter_keeps_the_rows_that_match(open_page: Open) -> None:
    page, _ = open_page()
    page.locator("#table-table8").get_by_label("Filter").fill("cosine")
    expect(page.locator("#table-table8 tbody tr")).to_have_count(1)
    assert first_cells(page, "#table-table8") == ["+ cosine"]
    assert page.locator("#table-table9 tbody tr").count() > 1


def test_a_number_leads_to_its_record_by_keyboard_too(open_page: Open) -> None:
    page, wrong = open_page()
    number = page.locator("#table-table8 td a", has_text="48.00")
    number.focus()
    page.keyboard.press("Enter")
    entry = page.locator("#record-demo-detect-d-efficient-seed0")
    expect(entry.locator("> summary")).to_be_focused()
    expect(entry.get_by_text("trickbench detect --variant d-efficient")).to_be_visible()
    expect(entry.get_by_text("a" * 64)).to_be_visible()
    entry.get_by_role("link", name="its pretraining's record").click()
    parent = page.locator("#record-demo-pretrain-d-efficient-seed0")
    expect(parent).to_have_attribute("open", "")
    page.locator("#table-table8 td a", has_text="(n=2)").first.click()
    expect(page.locator("#run-pretrain-best-heading")).to_be_focused()
    assert wrong == []


def test_the_same_link_opens_a_closed_record_again(open_page: Open) -> None:
    page, _ = open_page()
    number = page.locator("#table-table8 td a", has_text="48.00")
    entry = page.locator("#record-demo-detect-d-efficient-seed0")
    number.click()
    expect(entry).to_have_attribute("open", "")
    entry.locator("> summary").click()
    expect(entry).not_to_have_attribute("open", "")
    number.click()
    expect(entry).to_have_attribute("open", "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(open_page: Open, scheme: str, width: int) -> None:
    page, _ = open_page(width, color_scheme=scheme)
    page.locator("#table-table8 td a", has_text="48.00").click()
    expect(page.locator("#record-demo-detect-d-efficient-seed0")).to_have_attribute("open", "")
    found = Axe().run(page).response["violations"]
    serious = [
        (it["id"], [node["html"][:200] for node in it["nodes"]][:3])
        for it in found
        if it["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_light_and_dark_differ(open_page: Open) -> None:
    colours = [
        open_page(color_scheme=it)[0].evaluate("getComputedStyle(document.body).backgroundColor")
        for it in ("light", "dark")
    ]
    assert colours == ["rgb(255, 255, 255)", "rgb(20, 23, 28)"]


def test_a_phone_does_not_scroll_the_page_sideways(open_page: Open) -> None:
    page, _ = open_page(390)
    for entry in page.locator("details").all():
        entry.evaluate("it => { it.open = true }")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_print_has_no_controls(open_page: Open) -> None:
    page, _ = open_page()
    page.emulate_media(media="print")
    assert not page.locator(".dt-search").first.is_visible()
    assert not page.locator("nav").is_visible()
    assert page.locator("#table-table8 table").is_visible()


def test_a_script_that_came_in_anyhow_would_not_run(
    open_page: Open, browser: Browser, report_page: str, tmp_path: Path
) -> None:
    file = tmp_path / "injected.html"
    file.write_text(
        report_page.replace("</main>", "<script>document.title = 'ran'</script></main>")
    )
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.title() == "trickbench: protocol demo"
    assert page.locator("div.dt-container").count() > 3
    page.close()
