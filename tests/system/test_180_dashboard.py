"""The dashboard as an operator uses it, in headless Chromium: it is told the token, shows what happens, purges, explains, and says
what is wrong when something is. Its charts, keyboard and colours too."""

import os
import re
import signal
import time

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import browser, complaints, element, emulate, sign_in, text
from conftest import ROOT, SLOW, copy_sql, running, wait_for

APPLE = "/api/stocks/AAPL"

# For each text that is seen: its colour against what is behind it, as WCAG 2.2 (1.4.3) counts contrast.
CONTRAST = """
const light = (rgb) => rgb.map((c) => (c /= 255, c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0.99) return colour.slice(0, 3);
  }
  return [255, 255, 255];
};
const faint = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement, style = getComputedStyle(element);
  if (!walk.currentNode.textContent.trim() || !element.checkVisibility() || element.closest(':disabled, option, .hidden, .skip')) continue;
  const [a, b] = [light(numbers(style.color).slice(0, 3)), light(behind(element))].sort((x, y) => y - x);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) faint.push(`${walk.currentNode.textContent.trim()} ${style.color} on ${behind(element)}`);
}
for (const field of document.querySelectorAll('input[placeholder]')) {
  const style = getComputedStyle(field, '::placeholder'), ground = behind(field);
  const seen = numbers(style.color).slice(0, 3).map((c, at) => c * style.opacity + ground[at] * (1 - style.opacity));
  const [a, b] = [light(seen), light(ground)].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(`${field.placeholder} ${seen} on ${ground}`);
}
return faint;
"""

# Functions of the page's modules, each with what it must give.
COMPUTE = """
const done = arguments[0];
Promise.all(['series', 'format', 'health'].map((name) => import(`/dashboard/${name}.js`))).then(([series, format, {judge}]) => {
  const line = new series.Series(), sample = (at, requests, uptime) => ({at, requests, uptime});
  line.add(sample(1000000, 10, 1));
  line.add(sample(1002000, 30, 3));
  line.add(sample(1030000, 40, 31));
  const rate = (pair) => pair && series.perSecond(...pair, (s) => s.requests);
  const rates = [rate(line.between(2000, 1)), rate(line.between(60000)), line.line(2000, (a, b) => rate([a, b])).map(({y}) => y)];
  line.add(sample(1032000, 3, 1));
  rates.push(line.between(60000) ?? 'restarted');
  line.add(sample(1032000 + series.SPAN_MS, 5, 901));
  rates.push(line.samples.length);
  const bounds = [10, 100, 1000];
  const cache = {backend: 'redis', reachable: true, breaker: 'closed', distrusted: false, last_error: null, outbox: 2,
    l1: {enabled: true, trusted: true}, log: {followed: true}};
  const stats = {writer: {state: 'ready'}};
  const word = (changes, problem = null) => judge({problem, stats, seen: 0, cache: {...cache, ...changes}}, undefined, 5000).word;
  done({
    rates,
    quantiles: [0.5, 0.9, 1].map((part) => series.quantile(bounds, [5, 0, 0, 0], [15, 10, 0, 0], part)),
    beyond: [series.quantile(bounds, undefined, [0, 0, 0, 4], 0.5), series.quantile(bounds, [1, 0, 0, 0], [1, 0, 0, 0], 0.5) ?? 'none'],
    shares: [series.shares({l1: 10, l2: 0, origin: 0}, {l1: 40, l2: 10, origin: 10}).hits, series.shares({l1: 1, l2: 1, origin: 1}, {l1: 1, l2: 1, origin: 1}) ?? 'none'],
    words: [word({outbox: 0}), word({}), word({reachable: false}), word({}, new Error('away'))],
    percents: [0, 0.00001, 0.5, 0.99999, 1, undefined].map(format.percent),
    rates_shown: [0, 0.001, 0.5, 5, 1234.5, 2e6].map(format.rate),
    sizes: [0, 1023, 1536, 5 * 2 ** 30].map(format.bytes),
    durations: [0, 0.2, 59, 3600, 90061].map(format.duration),
    latencies: [7, 1500, 25000, 3e6].map((us) => format.latency(us).join(' ')),
  });
}, (error) => done(String(error)));
"""

# What has the focus, and whether that can be seen.
FOCUS = """
const at = document.activeElement, style = getComputedStyle(at), next = at.nextElementSibling && getComputedStyle(at.nextElementSibling);
const seen = (s) => s && s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1;
const name = at.id || at.dataset.focus || at.value || at.getAttribute('aria-labelledby') || at.className || at.tagName;
return [name, seen(style) || (at.type === 'radio' && seen(next))];
"""


@pytest.fixture(scope="module")
def stack(make_session_stack, tmp_path_factory):
    """One whose Redis these tests stop. Its breaker tries again soon, and it has something slow; a purge among 60,000 keys takes 3 s."""
    sql = copy_sql(tmp_path_factory.mktemp("dashboard") / "sql", slow=SLOW)
    return make_session_stack("--sql", sql, "--set", "breaker.open=500ms", "--set", "log.slow=20ms", "--set", "cache.job_rate=20000",
                              "--set", "redis.timeout=1s", "--set", "redis.connect_timeout=1s")


@pytest.fixture(scope="module")
def driver():
    with browser() as driver:
        yield driver


def open_page(driver, stack, token=None):
    """The page as a new tab has it; signed in with TOKEN."""
    emulate(driver, 1440, 1000)
    driver.get(stack.url + "/dashboard/")
    driver.execute_script("sessionStorage.clear()")
    driver.refresh()
    if token:
        sign_in(driver, token)
        wait_for("the dashboard is open", lambda: element(driver, "main").is_displayed())


@pytest.fixture
def page(driver, stack):
    """The page, open and live; whatever its scripts complain of fails the test."""
    complaints(driver)
    emulate(driver, 1440, 1000)
    driver.get(stack.url + "/dashboard/")
    if element(driver, "signin").is_displayed():
        sign_in(driver, stack.admin_token)
    wait_for("it has polled", lambda: text(driver, "pill") == "All well")
    yield driver
    # A chart that could not be drawn, or what the policy refused; what a server away answers is told on the page.
    said = [line for line in complaints(driver) if "Failed to load resource" not in line]
    assert not said, said


def says(driver, name, words, seconds=20.0):
    return wait_for(f"#{name} says {words!r}", lambda: re.search(words, text(driver, name)), seconds)


def test_the_files_come_with_a_strict_policy(stack):
    answer = stack.get("/dashboard", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, "/dashboard/")
    answer = stack.get("/docs", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, "/dashboard/docs.html")
    names = [path.name for path in (ROOT / "dashboard").iterdir()]
    for name in ["", "lib/chart.js", *names]:
        answer = stack.get(f"/dashboard/{name}")
        assert answer.status_code == 200, name
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-cache"
    assert stack.get("/dashboard/main.js").headers["Content-Type"].startswith("text/javascript")
    assert stack.get("/dashboard/nothing").status_code == 404
    assert stack.get("/dashboard/../stack").status_code == 404


def test_it_asks_for_the_token_and_says_what_is_wrong_with_it(driver, stack, memory_without_token):
    open_page(driver, stack)
    sign_in(driver, "not-the-token-at-all")
    says(driver, "signin-error", "not valid")
    sign_in(driver, "no-header-holds-a-\u20ac")
    says(driver, "signin-error", "cannot be sent")
    assert not element(driver, "main").is_displayed()
    sign_in(driver, stack.admin_token)
    wait_for("the dashboard is open", lambda: element(driver, "main").is_displayed())
    assert stack.admin_token not in driver.current_url
    kept = driver.execute_script("return [document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
    assert [stack.admin_token in place for place in kept] == [False, False, True]
    driver.refresh()
    says(driver, "pill", "All well")
    element(driver, "leave").click()
    assert element(driver, "signin").is_displayed()
    assert driver.execute_script("return sessionStorage.length") == 0
    open_page(driver, memory_without_token)
    sign_in(driver, "there-is-none-to-be-right")
    says(driver, "signin-error", "none is configured")


def test_who_signs_in_again_finds_it_live(page, stack):
    element(page, "pause").click()
    says(page, "pill", "Paused")
    element(page, "leave").click()
    assert text(page, "pill") == "Signed out"
    sign_in(page, stack.admin_token)
    says(page, "pill", "All well")
    assert text(page, "pause") == "Pause"


def test_many_resources_do_not_push_the_rest_away(page):
    before = page.execute_script("return document.body.scrollHeight")
    after = page.execute_script("""document.getElementById('resources').append(...Array.from({length: 250}, () => {
        const row = document.createElement('tr'), cell = document.createElement('td');
        cell.append('resource');
        row.append(cell);
        return row;
    })); return document.body.scrollHeight""")
    assert after < before + 300


@pytest.fixture(scope="module")
def memory_without_token(make_session_stack):
    return make_session_stack("--l2", "memory", "--set", "auth.admin_token_file=")


def test_it_shows_what_happens_without_being_loaded_again(page, stack):
    page.execute_script("window.loadedOnce = true")
    stack.get("/api/stocks/MSFT")
    for _ in range(30):
        stack.get(APPLE)
    wait_for("the key is at the top", lambda: page.execute_script("return document.querySelector('#top button')?.textContent") == "stocks:detail:AAPL")
    says(page, "tile-requests", r"^[1-9]")
    says(page, "tile-hits", r"^\d")
    for name, words in (("l1-state", "^trusted$"), ("l2-state", "^reachable$"), ("l2-facts", r"Holds[\d.]+ [KM]iB, \d+ keys"),
                        ("l2-facts", "followed"), ("origin-state", "^writable$")):
        says(page, name, words)
    drawn = """return ['tiers-chart', 'requests-chart'].map((name) => {
        const canvas = document.getElementById(name), data = Chart.getChart(canvas).data.datasets[0].data;
        return data.some(({y}) => y !== null) && canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte);
    })"""
    wait_for("the charts are drawn", lambda: page.execute_script(drawn) == [True, True])
    assert re.search(r"lately L1 \d", element(page, "tiers-chart").get_attribute("aria-label"))
    assert page.execute_script("return window.loadedOnce")


def test_it_rests_while_nobody_looks(page, stack):
    asked = 0

    def others():
        """Requests but those that are made here."""
        nonlocal asked
        asked += 1
        return stack.counters()["requests"] - asked

    def rests():
        """Whether nothing is asked for in the time of more than one round."""
        before = others()
        time.sleep(3)
        return others() == before
    first = page.current_window_handle
    page.switch_to.new_window("tab")
    try:
        # The page may be slow to hear that nobody looks on.
        wait_for("it rests", rests)
        before = others()
    finally:
        page.close()
        page.switch_to.window(first)
    wait_for("it polls again", lambda: others() > before + 5)


def test_it_purges_what_a_dry_run_has_counted(page, stack):
    for ticker in ("AAPL", "MSFT", "NVDA"):
        stack.get(f"/api/stocks/{ticker}")
    count = len(stack.keys("stocks:detail:*"))
    assert count >= 3
    element(page, "purge-what").send_keys("stocks:detail:*", Keys.ENTER)
    says(page, "purge-outcome", f"^{count} keys would be removed")
    assert len(stack.keys("stocks:detail:*")) == count
    element(page, "purge-go").click()
    assert "stocks:detail:*" in element(page, "purge-question").text
    element(page, "purge-no").click()
    assert len(stack.keys("stocks:detail:*")) == count
    element(page, "purge-go").click()
    element(page, "purge-yes").click()
    says(page, "purge-outcome", f"^Done: {count} entries removed")
    assert stack.keys("stocks:detail:*") == []
    # What the server refuses is said in its words.
    element(page, "purge-what").clear()
    element(page, "purge-what").send_keys("*", Keys.TAB)
    element(page, "purge-go").click()
    element(page, "purge-yes").click()
    says(page, "purge-outcome", "would empty the cache")


def test_the_progress_of_a_long_purge_is_shown(page, stack):
    redis = stack.redis()
    stack.get(APPLE)
    # Redis has much else to look through.
    pipe = redis.pipeline(transaction=False)
    for number in range(60000):
        pipe.set(f"else:{number}", 1)
    pipe.execute()
    page.execute_script("""window.seen = [];
        new MutationObserver(() => window.seen.push(document.getElementById('purge-outcome').textContent))
            .observe(document.getElementById('purge-outcome'), {childList: true, characterData: true, subtree: true});""")
    element(page, "purge-what").send_keys("stocks:detail:*")
    element(page, "purge-go").click()
    element(page, "purge-yes").click()
    says(page, "purge-outcome", "^Done: 1 entry removed in ", 60)
    assert any("of the keys looked at" in line for line in page.execute_script("return window.seen"))
    assert not element(page, "purge-progress").is_displayed()
    redis.flushdb()


def test_a_key_is_taken_into_the_purge_box_and_a_tag_is_purged(page, stack):
    for _ in range(3):
        stack.get(APPLE)
    # In one step: the list is drawn anew now and then.
    wait_for("the key is listed", lambda: page.execute_script("""
        const button = document.querySelector("#top button[data-focus='stocks:detail:AAPL']");
        button?.click();
        return Boolean(button);"""))
    assert element(page, "purge-what").get_attribute("value") == "stocks:detail:AAPL"
    element(page, "purge-go").click()
    element(page, "purge-yes").click()
    says(page, "purge-outcome", "^Done: 1 entry removed")
    stack.get(APPLE)
    page.find_element(By.CSS_SELECTOR, "input[value=tag]").send_keys(Keys.SPACE)
    assert not element(page, "purge-count").is_enabled()
    element(page, "purge-what").clear()
    element(page, "purge-what").send_keys("stock:AAPL")
    element(page, "purge-go").click()
    element(page, "purge-yes").click()
    says(page, "purge-outcome", "^In force")
    assert "fwd=miss" in stack.get(APPLE).headers["Cache-Status"]


def test_it_explains_a_url(page, stack):
    wait_for("it is in memory", lambda: "detail=L1" in stack.get(APPLE).headers["Cache-Status"])
    element(page, "explain-url").send_keys(stack.url + APPLE, Keys.ENTER)
    says(page, "explain-outcome", "(?s)hit L1.*stocks:detail:AAPL.*fresh, .*PRIMARY KEY")
    element(page, "explain-url").clear()
    element(page, "explain-url").send_keys("/api/stocks/<b>", Keys.ENTER)
    says(page, "explain-outcome", "400")


def test_it_tells_what_was_slow_and_where_the_time_went(page, stack):
    assert stack.get("/api/slow?steps=1500000").status_code == 200
    says(page, "slow", r"slowsteps=1500000statement [\d.]+ (ms|s).*counter")
    says(page, "resources", "slow")


def test_its_arithmetic_and_its_words(page):
    assert page.execute_async_script(COMPUTE) == {
        "rates": [10, 1, [None, 10, None, None], "restarted", 2],
        "quantiles": [10, 82, 100],
        "beyond": [1000, "none"],
        "shares": [0.8, "none"],
        "words": ["All well", "Degraded", "Degraded", "Down"],
        "percents": ["0", "< 0.1", "50.0", "> 99.9", "100", "–"],
        "rates_shown": ["0", "< 0.01", "0.50", "5.0", "1,235", "2M"],
        "sizes": ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"],
        "durations": ["0 s", "< 1 s", "59 s", "1 h", "1 d 1 h"],
        "latencies": ["7 µs", "1.5 ms", "25 ms", "3.0 s"],
    }


def test_an_outage_of_redis_is_shown_and_its_end(page, stack):
    stack.signal(stack.redis_pid, signal.SIGSTOP)
    try:
        says(page, "pill", "Degraded", 40)
        says(page, "notices", "Redis does not answer")
        assert text(page, "l2-state") == "away"
        assert page.title.startswith("Degraded")
        assert stack.get(APPLE).status_code == 200
        element(page, "purge-what").send_keys("stocks:*")
        element(page, "purge-go").click()
        element(page, "purge-yes").click()
        says(page, "purge-outcome", "cannot be told")
    finally:
        stack.signal(stack.redis_pid, signal.SIGCONT)
    says(page, "pill", "All well", 40)
    says(page, "notices", "^$")
    says(page, "problems", "l2 breaker open")
    stack.kill(stack.redis_pid)
    says(page, "notices", "Redis does not answer")
    stack.up()
    says(page, "pill", "All well")


def test_larder_away_is_shown_and_its_end(page, stack):
    stack.signal(stack.larder_pid, signal.SIGTERM)
    says(page, "pill", "Down")
    says(page, "notices", "larder does not answer.*cannot be reached")
    wait_for("larder has ended", lambda: not running(stack.larder_pid))
    stack.up()
    says(page, "pill", "All well")
    assert os.path.samefile(f"/proc/{stack.larder_pid}/exe", os.environ.get("LARDER", ROOT / "build" / "larder"))


def test_it_can_be_used_by_keyboard_alone(page, stack):
    stack.get(APPLE)
    reached = []
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    for _ in range(60):
        name, seen = page.execute_script(FOCUS)
        if name == "BODY" or name in reached:
            break
        assert seen, f"the focus on {name} cannot be seen"
        reached.append(name)
        ActionChains(page).send_keys(Keys.TAB).perform()
    for name in ("pause", "theme", "leave", "latency-filter", "pattern", "purge-what", "purge-soft", "purge-count", "purge-go", "explain-url"):
        assert name in reached, (name, reached)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_every_state_and_nothing_is_too_wide(page, stack, scheme):
    emulate(page, 1440, 1000, scheme)
    element(page, "explain-url").send_keys(APPLE, Keys.ENTER)
    says(page, "explain-outcome", "stock")
    element(page, "purge-what").send_keys("stocks:*")
    element(page, "purge-go").click()
    assert page.execute_script(CONTRAST) == []
    for level in ("good", "warn", "bad"):
        page.execute_script("document.querySelectorAll('#pill, .state, #purge-outcome').forEach((e) => { e.dataset.level = arguments[0]; })", level)
        assert page.execute_script(CONTRAST) == [], level
    emulate(page, 360, 740, scheme, mobile=True)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    assert page.execute_script(CONTRAST) == []


def test_it_leads_to_the_description_of_all_routes(page):
    page.find_element(By.LINK_TEXT, "API").click()
    wait_for("the routes are listed", lambda: "/api/stocks/{ticker}" in page.find_element(By.TAG_NAME, "main").text)
    assert not element(page, "notice").is_displayed()
    for scheme in ("dark", "light"):
        emulate(page, 1440, 1000, scheme)
        assert page.execute_script(CONTRAST) == []
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_theme_can_be_chosen_and_is_kept(page):
    ground = "return getComputedStyle(document.body).backgroundColor"
    emulate(page, 1440, 1000, "light")
    light = page.execute_script(ground)
    element(page, "theme").click()
    assert page.execute_script(ground) == light
    element(page, "theme").click()
    assert element(page, "theme").get_attribute("aria-label") == "Theme: dark"
    dark = page.execute_script(ground)
    assert dark != light
    page.refresh()
    assert page.execute_script(ground) == dark
    page.execute_script("localStorage.clear()")


def test_without_charts_the_numbers_have_to_do(page, stack):
    page.execute_cdp_cmd("Network.enable", {})
    page.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/lib/chart.js"]})
    try:
        page.refresh()
        says(page, "pill", "All well")
        assert "libjs-chart.js" in page.find_element(By.CSS_SELECTOR, "#tiers-chart-title").find_element(By.XPATH, "../..").text
    finally:
        page.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
