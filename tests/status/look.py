"""Looks at pages in a headless Chromium, by its own protocol over a pipe, and prints as JSON what it saw.

Arguments: the browser, and the file of axe-core. Standard input: a list of {url, width, height, scheme, picture}. For each page:
how much wider it is than the window and what sticks out, the smallest text of a drawing in pixels, what was asked for besides,
what the console said, and what axe-core found. Its resolver knows no host but this machine. Fails with the browser's own words.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile

MEASURE = """(() => {
    const { clientWidth, scrollWidth } = document.documentElement;
    const isInScroll = (element) => element.closest(".scroll") !== null;
    const out = [...document.body.querySelectorAll("*")].filter((element) => !isInScroll(element) && element.getBoundingClientRect().right > clientWidth + 0.5);
    const size = (text) => parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a;
    // A name that leaves its drawing is cut off.
    const isCut = (text) => {
        const [inner, outer] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
        return inner.left < outer.left - 0.5 || inner.right > outer.right + 0.5 || inner.bottom > outer.bottom + 0.5 || inner.top < outer.top - 0.5;
    };
    const clipped = (element) => element.scrollWidth > element.clientWidth + 1 && !isInScroll(element);
    const texts = [...document.querySelectorAll("svg text")];
    return {
        title: document.title,
        overflow: scrollWidth - clientWidth,
        sticks_out: out.map((element) => element.outerHTML.slice(0, 120)),
        cut_off: texts.filter(isCut).map((text) => text.textContent).concat(
            [...document.querySelectorAll("dd, dt, td, th, li, p")].filter(clipped).map((element) => element.textContent.slice(0, 80))),
        smallest_text: texts.length ? Math.min(...texts.map(size)) : null,
        is_dark: getComputedStyle(document.documentElement).backgroundColor !== "rgb(247, 247, 245)",
    };
})()"""
AXE = """axe.run(document, { resultTypes: ["violations"] }).then((results) => ({
    checked: results.passes.length,
    violations: results.violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map((node) => `${node.html.slice(0, 200)} ${node.failureSummary}`) })),
}))"""


class Browser:
    def __init__(self, program, folder):
        to_browser, self.to_browser = os.pipe()
        self.from_browser, from_browser = os.pipe()
        arguments = ["--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb"]
        arguments += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={folder}"]
        # The protocol's pipes are file descriptors 3 and 4.
        shell = ["sh", "-c", f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}', program, *arguments]
        self.process = subprocess.Popen(
            shell, pass_fds=[to_browser, from_browser], env={**os.environ, "HOME": folder}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        os.close(to_browser)
        os.close(from_browser)
        self.number, self.rest, self.events = 0, b"", []

    def read(self):
        while b"\0" not in self.rest:
            more = os.read(self.from_browser, 1 << 16)
            if not more:
                sys.exit(f"the browser has ended: {self.process.stderr.read().decode()}")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self.to_browser, rest) :]
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.read())

    def evaluate(self, session, expression):
        result = self.call("Runtime.evaluate", session, expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            sys.exit(f"{result['exceptionDetails']}")
        return result["result"].get("value")

    def look(self, page, axe):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        size = {"width": page["width"], "height": page["height"], "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        scheme = [{"name": "prefers-color-scheme", "value": page["scheme"]}]
        self.call("Emulation.setEmulatedMedia", session, features=scheme)
        self.events.clear()
        self.call("Page.navigate", session, url=page["url"])
        self.wait("Page.loadEventFired")
        seen = self.evaluate(session, MEASURE)
        picture = self.call("Page.captureScreenshot", session, format="png", captureBeyondViewport=True, clip=self.whole(session))
        with open(page["picture"], "wb") as file:
            file.write(base64.b64decode(picture["data"]))
        events = [(event.get("method"), event.get("params", {})) for event in self.events]
        urls = [event["request"]["url"] for method, event in events if method == "Network.requestWillBeSent"]
        seen["asked_for"] = [url for url in urls if url != page["url"] and not url.startswith("data:")]
        told = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        seen["console"] = [json.dumps(event)[:400] for method, event in events if method in told]
        self.evaluate(session, axe)
        seen.update(self.evaluate(session, AXE))
        self.call("Target.closeTarget", targetId=target)
        return seen

    def whole(self, session):
        size = self.call("Page.getLayoutMetrics", session)["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}


def main():
    program, axe = sys.argv[1:]
    with open(axe, encoding="utf-8") as file:
        axe = file.read()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(program, folder)
        try:
            seen = [browser.look(page, axe) for page in json.load(sys.stdin)]
        finally:
            browser.process.kill()
            browser.process.wait()
    json.dump(seen, sys.stdout)


main()
