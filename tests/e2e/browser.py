"""A real Chromium without a window, driven over its DevTools protocol, for the tests of our pages.

    async with chromium(tmp_path) as browser:
        page = await browser.open("http://127.0.0.1:8700/", width=800, height=480)
        await page.press("Enter")
        await page.until("document.querySelector('#result:not([hidden])')")
        assert page.complaints == []

Waiting happens inside the page, frame by frame, so that no test sleeps. Protocol: chromedevtools.github.io.
"""

import asyncio
import base64
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

PATIENCE_S = 20.0
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-port=0",
    "--remote-debugging-address=127.0.0.1",
)
_ANNOUNCES = "DevTools listening on "
_KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Backspace": (8, "")}

# Resolves with the value as soon as it is true; the page's own frames are the clock.
_UNTIL = """
new Promise((resolve) => {{
  const look = () => {{ const found = {condition}; if (found) resolve(Boolean(found)); else setTimeout(look, 20); }};
  look();
}})"""


class Page:
    """One page of one size. ``complaints`` collects errors of the console, of scripts and of loading."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []

    async def run(self, expression: str) -> Any:
        """Evaluate JavaScript in the page, waiting for promises, and return its value."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = await self._call("Runtime.evaluate", **asked)
        if "exceptionDetails" in answer:
            raise AssertionError(f"the page failed on {expression!r}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        try:
            await asyncio.wait_for(self.run(_UNTIL.format(condition=condition)), PATIENCE_S)
        except TimeoutError as error:
            shown = await self.run("document.body.innerText")
            raise AssertionError(f"never came true: {condition}; the page shows: {shown}") from error

    async def press(self, *keys: str) -> None:
        """Press keys on the keyboard: characters, Enter, Escape or Backspace."""
        for key in keys:
            code, text = _KEYS[key] if key in _KEYS else (ord(key), key)
            pressed = {"key": key, "windowsVirtualKeyCode": code, "text": text}
            await self._call("Input.dispatchKeyEvent", type="keyDown", **pressed)
            await self._call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    async def click(self, selector: str) -> None:
        """Click in the middle of what ``selector`` finds, as a finger would."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = await self.run(f"(() => {{ const b = {box}; return [b.x + b.width / 2, b.y + b.height / 2]; }})()")
        for kind in ("mousePressed", "mouseReleased"):
            await self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def text(self, selector: str) -> str:
        """Return what a reader sees of the element."""
        found = await self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return str(found).replace("\u00a0", " ").replace("\u202f", " ")

    async def screenshot(self, path: Path) -> None:
        """Write what is shown as a PNG file."""
        answer = await self._call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(answer["data"]))

    async def add_authenticator(self, options: dict[str, Any]) -> None:
        """Give the page a virtual authenticator, of the protocol's ``VirtualAuthenticatorOptions``."""
        await self._call("WebAuthn.enable")
        await self._call("WebAuthn.addVirtualAuthenticator", options=options)

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self._browser.call(method, parameters, self._session)

    async def begin(self, url: str, *, width: int, height: int) -> None:
        """Show ``url`` and wait until it has loaded."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self._call("Emulation.setDeviceMetricsOverride", **size)
        await self._call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    def hear(self, method: str, parameters: dict[str, Any]) -> None:
        """Take one event of the protocol."""
        match method:
            case "Runtime.exceptionThrown":
                self.complaints.append(str(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(parameters["args"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")


class Browser:
    """One Chromium process; its pages share no storage with any other test's."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    async def open(self, url: str, *, width: int, height: int) -> Page:
        """Open ``url`` in a new page of this size."""
        target = await self.call("Target.createTarget", {"url": "about:blank"})
        attached = await self.call("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        page = Page(self, attached["sessionId"])
        self._pages[attached["sessionId"]] = page
        await page.begin(url, width=width, height=height)
        return page

    async def call(self, method: str, parameters: dict[str, Any], session: str = "") -> dict[str, Any]:
        """Call one method of the protocol and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        answered = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._connection.send(json.dumps(message | ({"sessionId": session} if session else {})))
        return await asyncio.wait_for(answered, 2 * PATIENCE_S)

    async def listen(self) -> None:
        """Sort what Chromium says into answers and events, until it ends."""
        async for message in self._connection:
            said = json.loads(message)
            if "id" in said:
                self._answer(said)
            elif page := self._pages.get(said.get("sessionId", "")):
                page.hear(said["method"], said["params"])

    def _answer(self, said: dict[str, Any]) -> None:
        waiting = self._waiting.pop(said["id"])
        if waiting.done():
            return
        if "error" in said:
            waiting.set_exception(AssertionError(f"chromium refused: {said['error']}"))
        else:
            waiting.set_result(said["result"])


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """Run one Chromium with a fresh profile in ``folder``, and end it by its own process id."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise AssertionError("Chromium is not installed; `make servers` installs it")
    process = await asyncio.create_subprocess_exec(
        program,
        *_FLAGS,
        f"--user-data-dir={folder / 'chromium'}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(folder)},
        start_new_session=True,
    )
    if process.stderr is None:
        raise AssertionError("the pipe that was asked for is not there")
    try:
        address = await asyncio.wait_for(_address(process.stderr), PATIENCE_S)
        draining = asyncio.create_task(_drain(process.stderr))
        async with connect(address, max_size=None, compression=None, proxy=None) as connection:
            browser = Browser(connection)
            listening = asyncio.create_task(browser.listen())
            try:
                yield browser
            finally:
                listening.cancel()
                await asyncio.wait((listening,))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await draining


async def _address(stderr: asyncio.StreamReader) -> str:
    while line := (await stderr.readline()).decode(errors="replace"):
        if line.startswith(_ANNOUNCES):
            return line.removeprefix(_ANNOUNCES).strip()
    raise AssertionError("Chromium ended before it was ready")


async def _drain(stderr: asyncio.StreamReader) -> None:
    while await stderr.readline():
        pass
