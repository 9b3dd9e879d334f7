"""The documentation site as a browser sees it: built, served on this machine, opened in Chromium."""

import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pages


class Files(SimpleHTTPRequestHandler):
    """Serves files, and remembers with which status."""

    def log_request(self, code="-", size="-"):  # noqa: ARG002
        self.server.answers.append((self.path, int(code)))


def build(folder):
    """Build the site, with every warning an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, check=False, cwd=pages.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def serve(folder):
    """A server of a folder, which runs until it is shut down, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=folder))
    server.answers = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


class Browser:
    """Chromium without a window, and what it requested and complained about."""

    def __init__(self, chromium, driver):
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        options.add_argument("--headless=new")
        options.add_argument("--disable-dev-shm-usage")
        if os.geteuid() == 0:  # Chromium's sandbox refuses to work for root
            options.add_argument("--no-sandbox")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self._driver = webdriver.Chrome(options, webdriver.ChromeService(driver))
        self.run, self.close = self._driver.execute_script, self._driver.quit

    def set_width(self, width):
        """Show pages as on a screen of this width."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def open(self, address):
        """Load a page, with all that it loads."""
        self.complaints(), self.requests()  # those of the page before
        self._driver.get(address)

    def wait(self, script):
        """What a script returns, once it is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self._driver, 30).until(lambda driver: driver.execute_script(script))

    def type(self, selector, text):
        """Put a text into a field, key by key."""
        from selenium.webdriver.common.by import By

        field = self._driver.find_element(By.CSS_SELECTOR, selector)
        field.clear()
        field.send_keys(text)

    def complaints(self):
        """What the console has shown since it was last asked."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def requests(self):
        """The addresses requested since it was last asked, each with what was wrong with it."""
        events = [json.loads(e["message"])["message"] for e in self._driver.get_log("performance")]
        wrong = {
            event["params"]["requestId"]: event["params"]["errorText"]
            for event in events
            if event["method"] == "Network.loadingFailed"
        }
        return [
            (event["params"]["request"]["url"], wrong.get(event["params"]["requestId"]))
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
