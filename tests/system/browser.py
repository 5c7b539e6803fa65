"""Headless Chromium on the dashboard, by Debian's chromium, chromium-driver and python3-selenium."""

import contextlib
import os

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

DRIVER = "/usr/bin/chromedriver"


@contextlib.contextmanager
def browser(width=1440, height=1000):
    """A browser of its own, closed at the end."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", f"--window-size={width},{height}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service(DRIVER), options=options)
    try:
        yield driver
    finally:
        driver.quit()


def emulate(driver, width, height, scheme="light", scale=1, mobile=False):
    """A window of that size, in a light or a dark system."""
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


def element(driver, name):
    return driver.find_element(By.ID, name)


def text(driver, name):
    return driver.execute_script("return document.getElementById(arguments[0]).textContent", name)


def sign_in(driver, token):
    field = element(driver, "token")
    field.clear()
    field.send_keys(token, Keys.ENTER)


def complaints(driver):
    """What the browser's console has said since it was last asked: errors of scripts, and what the policy refused."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
