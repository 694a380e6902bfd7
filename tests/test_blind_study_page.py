"""The page of a study in a real browser: what raters press is what the tally counts."""

import json
from collections import Counter
from itertools import cycle
from statistics import median

import pytest
from blind_studies import moving
from chromium import chromium, press, requested_by, wait
from command_line import caller
from media_files import write_clip
from processes import wait_until
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from tempprop.blind_study.documents import QUESTIONS, Answers
from tempprop.blind_study.making import StudyPlan, make_study

pytestmark = pytest.mark.browser

FPS = 8
HALF_A_FRAME = 0.5 / FPS


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The key and the page of a study of four pairs, two checks and a clip beside itself."""
    directory = tmp_path_factory.mktemp("study")
    for name in ("fox", "owl", "bear", "hare"):
        write_clip(directory / "older" / f"{name}.mp4", moving(2, num_frames=6))
        write_clip(directory / "newer" / f"{name}.mp4", moving(3, num_frames=5))
    places = (str(directory / "older"), str(directory / "newer"))
    made = make_study(StudyPlan(*places, directory / "study.html", identical=1))
    return made.key, directory / "study.html"


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path) as driver:
        yield driver


@pytest.fixture
def page(browser, study):
    """The page of the study, begun by a rater."""
    browser.get(study[1].as_uri())
    begin(browser, "ada")
    return browser


def begin(driver, rater_id):
    field = driver.find_element(By.ID, "rater")
    field.clear()
    field.send_keys(rater_id, Keys.ENTER)
    wait(driver, "session !== null")


def now_asked(driver):
    """Trial, question and the sides' tokens that are on the screen."""
    return tuple(
        driver.execute_script(
            "const { trial, question } = steps[position];"
            "return [trial.trial, question.name, trial.left.token, trial.right.token]"
        )
    )


def answer(driver, key):
    wait(driver, "!document.getElementById('answers').disabled")
    press(driver, key)


def test_what_is_pressed_is_what_is_counted(page, study, tmp_path, monkeypatch, capsys):
    key, _ = study
    trials = {trial.trial: trial for trial in key.trials}
    choices = {"a": "left", "b": "right", "n": "same", Keys.LEFT: "left", Keys.RIGHT: "right"}
    pressed, counts = [], Counter()
    for letter, _ in zip(cycle(choices), range(2 * len(trials)), strict=False):
        trial, question, left, right = now_asked(page)
        answer(page, letter)
        pressed.append((trial, question, left, right, choices[letter]))
        token = {"left": left, "right": right}.get(choices[letter])
        role = trials[trial].sides.get(token, "same")
        counts[trials[trial].kind, question, role] += 1
    wait(page, "!document.getElementById('end').hidden")
    path = tmp_path / f"answers-{key.study_id}-ada.json"
    wait_until(path.exists)

    document = Answers.model_validate_json(path.read_bytes())
    kept = [(a.trial, a.question, a.left, a.right, a.choice) for a in document.answers]
    assert kept == pressed
    assert sorted((trial, question) for trial, question, *_ in pressed) == sorted(
        (trial, question) for trial in trials for question in QUESTIONS
    )

    call = caller(monkeypatch, capsys)
    tally = call("study", "--results", path, study[1].with_suffix(".key.json"), "--json").json
    for row in tally["pooled"]:
        expected = [counts["pair", row["question"], role] for role in ("a", "b", "same")]
        assert [row["a"], row["b"], row["same"]] == expected
    (rater,) = tally["raters"]
    right = sum(counts["check", question, "original"] for question in QUESTIONS)
    assert (rater["rater_id"], rater["checks"], rater["checks_right"]) == ("ada", 4, right)
    assert (rater["answered"], rater["asked"]) == (14, 14)
    assert rater["reaction_seconds"] > 0
    assert sum(counts.values()) == 14


def test_both_clips_play_in_a_loop_and_in_step(page):
    wait(page, "player.plays >= 1")
    differences = page.execute_async_script(
        """
        const done = arguments[0], found = [];
        const until = player.plays + 2;
        (function look() {
          const moving = !player.busy && player.videos.every((v) => !v.paused && !v.ended);
          if (moving) found.push(player.videos[0].currentTime - player.videos[1].currentTime);
          if (player.plays < until) requestAnimationFrame(look);
          else done(found);
        })();
        """
    )
    assert len(differences) > 10
    # A busy machine may hold one of them up for a moment.
    assert median(map(abs, differences)) < HALF_A_FRAME


@pytest.mark.parametrize("ahead", [0.2, -0.2, 0.4])
def test_clips_that_have_come_apart_meet_again(browser, tmp_path, ahead):
    for place in ("older", "newer"):
        write_clip(tmp_path / place / "fox.mp4", moving(0, num_frames=80))
    out = tmp_path / "study.html"
    make_study(StudyPlan(str(tmp_path / "older"), str(tmp_path / "newer"), out, checks=0))
    browser.get(out.as_uri())
    begin(browser, "ada")
    wait(browser, "player.videos.length && player.videos.every((v) => v.currentTime > 0.2)")
    browser.execute_async_script(
        """
        const [ahead, done] = arguments, [left, right] = player.videos;
        const hasty = ahead > 0 ? left : right;
        player.busy = true;
        hasty.playbackRate = 2;
        (function look() {
          if (Math.abs(left.currentTime - right.currentTime) < Math.abs(ahead)) {
            requestAnimationFrame(look);
          } else {
            hasty.playbackRate = 1;
            player.busy = false;
            done();
          }
        })();
        """,
        ahead,
    )
    wait(
        browser,
        "player.plays === 0 && !player.videos.some((v) => v.seeking || v.ended) && "
        "Math.abs(player.videos[0].currentTime - player.videos[1].currentTime) < 0.02",
    )


def test_a_reload_loses_nothing(page):
    for letter in "abn":
        answer(page, letter)
    before = (now_asked(page), page.execute_script("return answersFile().answers"))
    page.refresh()
    wait(page, "session !== null")
    assert (now_asked(page), page.execute_script("return answersFile().answers")) == before
    assert page.find_element(By.ID, "rater-shown").text == "ada"
    assert page.find_element(By.ID, "count").text == "2 of 7"


def test_another_rater_begins_anew_and_the_first_goes_on(page):
    answer(page, "a")
    first = now_asked(page)
    page.execute_script("document.getElementById('another').click()")
    wait(page, "session === null && !document.getElementById('welcome').hidden")
    begin(page, "bob")
    assert page.execute_script("return answersFile().answers") == []
    page.execute_script("document.getElementById('another').click()")
    wait(page, "session === null && !document.getElementById('welcome').hidden")
    begin(page, "ada")
    assert now_asked(page) == first


def test_every_rater_sees_each_method_on_the_left_half_of_the_time(page, study):
    key, _ = study
    raters = [f"rater-{number}" for number in range(60)]
    schedules = page.execute_script(
        "return arguments[0].map((rater) =>"
        " schedule(rater).map(({ trial, left, right }) => [trial, left.token, right.token]))",
        raters,
    )
    trials = {trial.trial: trial for trial in key.trials}
    pairs_with_a_left = Counter()
    for shown in schedules:
        assert {trial for trial, *_ in shown} == trials.keys()
        for kind, role in (("pair", "a"), ("check", "original")):
            of_kind = [row for row in shown if trials[row[0]].kind == kind]
            left = [trial for trial, left, _ in of_kind if trials[trial].sides[left] == role]
            assert len(left) == len(of_kind) / 2
            pairs_with_a_left.update(left)
    assert all(15 < count < 45 for count in pairs_with_a_left.values())
    assert len({tuple(trial for trial, *_ in shown) for shown in schedules}) > 50
    again = page.execute_script("return schedule('rater-0').map(({ trial }) => trial)")
    assert again == [trial for trial, *_ in schedules[0]]


def test_nothing_is_asked_of_the_network_and_nothing_could_be(page, study):
    for letter in "abn":
        answer(page, letter)
    address = study[1].as_uri()
    asked_for = requested_by(page, address)
    assert [url for url in asked_for if not url.startswith("blob:null/")] == [address]
    assert page.get_log("browser") == []
    violated = page.execute_async_script(
        """
        const done = arguments[0], found = [];
        document.addEventListener("securitypolicyviolation", (event) => {
          found.push(event.effectiveDirective);
          if (found.length === 3) done(found.sort());
        });
        fetch("https://example.com/").catch(() => {});
        new Image().src = "https://example.com/picture.png";
        const script = document.createElement("script");
        script.textContent = "window.intruder = true";
        document.body.append(script);
        """
    )
    assert violated == ["connect-src", "img-src", "script-src-elem"]
    assert page.execute_script("return window.intruder") is None


def test_going_back_and_changing_an_answer(page):
    first = now_asked(page)
    answer(page, "a")
    second = now_asked(page)
    answer(page, "b")
    third = now_asked(page)
    press(page, Keys.BACKSPACE, Keys.BACKSPACE)
    assert now_asked(page) == first
    given = page.find_element(By.CSS_SELECTOR, '[aria-pressed="true"]')
    assert given.get_dom_attribute("data-choice") == "left"
    press(page, "n")
    assert now_asked(page) == third
    press(page, Keys.BACKSPACE, Keys.ENTER)
    assert now_asked(page) == third
    changed, kept = page.execute_script("return answersFile().answers")
    assert (changed["trial"], changed["question"], changed["choice"]) == (*first[:2], "same")
    assert (kept["trial"], kept["question"], kept["choice"]) == (*second[:2], "right")


def test_a_pair_is_answered_after_it_was_seen(page):
    page.execute_script("setPlaying(false)")
    asked = now_asked(page)
    press(page, "a")
    assert now_asked(page) == asked
    assert page.find_element(By.ID, "hint").text == "Watch the pair once."
    press(page, " ")
    wait(page, "!document.getElementById('answers').disabled")
    page.find_element(By.CSS_SELECTOR, '[data-choice="right"]').click()
    assert now_asked(page)[:2] == (asked[0], "smoothness")


def test_pause_and_single_frames(page):
    wait(page, "player.plays >= 1 && !player.busy && player.videos[0].currentTime > 0.2")
    press(page, " ")
    assert page.execute_script("return player.videos.every((v) => v.paused)")

    def frames():
        wait(page, "!player.busy")
        times = page.execute_script("return player.videos.map((v) => v.currentTime)")
        return [int(time * FPS) for time in times]

    page.execute_async_script("const done = arguments[0]; step(-99).then(done)")
    assert frames() == [0, 0]
    for number in (1, 2, 3):
        press(page, ".")
        assert frames() == [number, number]
    press(page, ",")
    assert frames() == [2, 2]
    press(page, "r")
    wait(page, "player.videos.every((v) => !v.paused)")


def test_small_clips_are_shown_alike_and_enlarged_by_whole_pixels(page):
    for size in ((1280, 900), (700, 700)):
        page.set_window_size(*size)
        wait(page, "player.videos.length && player.videos.every((v) => v.style.width)")
        left, right = (element.rect for element in page.find_elements(By.TAG_NAME, "video"))
        assert (left["width"], left["height"]) == (right["width"], right["height"])
        assert left["width"] % 64 == 0
        assert left["height"] == left["width"] * 48 / 64
        assert left["y"] == right["y"]
        assert left["x"] + left["width"] < right["x"]
        rendering = "return getComputedStyle(player.videos[0]).imageRendering"
        assert page.execute_script(rendering) == "pixelated"
        assert page.execute_script("return document.documentElement.scrollHeight <= innerHeight")


def test_what_is_on_the_screen_can_be_read_out_and_reached(page):
    wait(page, "!document.getElementById('answers').disabled")
    focused = page.switch_to.active_element
    assert focused.text == "Which looks more real and better drawn?"
    assert page.find_element(By.ID, "answers").accessible_name == focused.text
    reached = []
    for _ in range(9):
        press(page, Keys.TAB)
        reached.append(page.switch_to.active_element.accessible_name)
    assert reached[:3] == ["Left A", "No difference N", "Right B"]
    assert {"Pause space", "Replay R", "One frame back", "One frame on"} <= set(reached)
    names = [figure.accessible_name for figure in page.find_elements(By.TAG_NAME, "figure")]
    assert names == ["Left clip", "Right clip"]


def test_clips_of_every_kind_play(browser, tmp_path):
    suffixes = (".mp4", ".webm", ".gif", ".webp")
    for place, order in (("older", suffixes), ("newer", suffixes[::-1])):
        for number, suffix in enumerate(order):
            size = (47, 63) if suffix in (".gif", ".webp") else (48, 64)
            write_clip(tmp_path / place / f"{number}{suffix}", moving(2, *size))
    out = tmp_path / "study.html"
    made = make_study(StudyPlan(str(tmp_path / "older"), str(tmp_path / "newer"), out, checks=1))
    browser.get(out.as_uri())
    begin(browser, "ada")
    for _ in range(5):
        answer(browser, "n")
        answer(browser, "n")
        assert not browser.find_element(By.ID, "trouble").is_displayed()
    wait(browser, "!document.getElementById('end').hidden")
    path = tmp_path / f"answers-{made.key.study_id}-ada.json"
    wait_until(path.exists)
    assert len(json.loads(path.read_text())["answers"]) == 10


def test_clips_that_the_browser_cannot_play(browser, study):
    browser.get(study[1].as_uri())
    browser.execute_script(
        "for (const clip of document.querySelectorAll('[id^=clip-]')) clip.textContent = 'AAAA'"
    )
    begin(browser, "ada")
    trouble = browser.find_element(By.ID, "trouble")
    wait(browser, "!document.getElementById('trouble').hidden")
    assert "cannot play one of the clips" in trouble.text
    press(browser, "a")
    assert browser.execute_script("return answersFile().answers") == []


def test_a_browser_that_keeps_nothing(browser, study):
    browser.get(study[1].as_uri())
    browser.execute_script("Storage.prototype.setItem = () => { throw new Error('full'); }")
    begin(browser, "ada")
    assert "keeps nothing" in browser.find_element(By.ID, "storage-warning").text
    answer(browser, "a")
    wait(browser, "answersFile().answers.length === 1")
