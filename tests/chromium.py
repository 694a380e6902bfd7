"""A real browser without a window, as Debian packages it together with its driver."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

SECONDS = 60
"""How long to wait for a page on a busy machine."""


def find_chromium() -> tuple[str, str] | None:
    """Find the browser and its driver; None where one of them is missing."""
    browsers = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    browser, driver = next(filter(None, browsers), None), shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def chromium(directory: Path) -> Iterator[Chrome]:
    """Start a browser with a profile of its own, whose downloads go into the directory."""
    found = find_chromium()
    assert found is not None
    options = ChromeOptions()
    options.binary_location = found[0]
    for switch in ("headless=new", "disable-dev-shm-usage", "no-first-run", "window-size=1280,900"):
        options.add_argument(f"--{switch}")
    for switch in ("disable-background-networking", "disable-component-update"):
        options.add_argument(f"--{switch}")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which Chromium demands of root
    options.add_argument(f"--user-data-dir={directory / 'profile'}")
    options.add_experimental_option("prefs", {"download.default_directory": str(directory)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options=options, service=Service(found[1]))
    try:
        driver.set_script_timeout(SECONDS)
        yield driver
    finally:
        driver.quit()


def press(driver: Chrome, *keys: str) -> None:
    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def wait(driver: Chrome, condition: str) -> object:
    """Wait until an expression of JavaScript is true, and give its value."""
    return WebDriverWait(driver, SECONDS, poll_frequency=0.05).until(
        lambda driver: driver.execute_script(f"return {condition}"), f"in vain for: {condition}"
    )


def requested_by(driver: Chrome, page: str) -> list[str]:
    """The addresses of everything that a page has asked for, itself among them."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent" and event["params"]["documentURL"] == page
    ]
