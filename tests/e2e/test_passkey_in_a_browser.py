"""A real Chromium with its own virtual authenticator: what it makes and signs of our options, the cloud takes."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.e2e.browser import Page, chromium
from tests.fakes.identity_world import PASSWORD
from tests.fakes.payment_web import Web
from tests.fakes.payment_world import PaymentWorld
from tests.stack.servers import serving

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
CREATE = """
navigator.credentials.create({publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(%s)}).then((made) => {
  const said = made.toJSON().response;
  return {name: "Chromium", client_data: said.clientDataJSON, attestation_object: said.attestationObject};
})"""
SIGN = """
navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(%s)}).then((signed) => {
  const said = signed.toJSON();
  return {
    credential_id: said.rawId, client_data: said.response.clientDataJSON, signature: said.response.signature,
    authenticator_data: said.response.authenticatorData, user_handle: said.response.userHandle,
  };
})"""


async def test_a_browser_sets_up_a_passkey_logs_in_and_pays_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(FastAPI()) as page_address, chromium(tmp_path) as browser:
        origin = page_address.replace("127.0.0.1", "localhost")
        monkeypatch.setenv("TILLBOX_PASSKEY_ORIGINS", origin)
        world = PaymentWorld(tmp_path / "cloud")
        page = await browser.open(f"{origin}/docs-of-nothing", width=400, height=400)
        await page.add_authenticator(AUTHENTICATOR)
        async with serving(world.app) as address, httpx.AsyncClient(base_url=address, timeout=60) as http:
            web, payer, shop = Web(http), world.payer(), world.shop()
            options = (await web.ask(payer, "POST", "/auth/passkeys/options", {"password": PASSWORD})).data
            added = await web.ask(payer, "POST", "/auth/passkeys", await asked(page, CREATE, options))
            assert added.brief == (201, "ok"), added.body

            options = (await http.post("/api/v1/auth/passkeys/log-in/options")).json()["data"]
            body = {"passkey": await asked(page, SIGN, options), "kind": "bearer"}
            answer = await http.post("/api/v1/auth/passkeys/log-in", json=body)
            assert answer.json()["data"]["person"]["email"] == payer.email

            payment_id = await web.asked(shop, payer, 100_00)
            options = (await web.ask(payer, "POST", f"/payments/{payment_id}/passkey-options")).data
            signed = await asked(page, SIGN, options)
            paid = await web.ask(payer, "POST", f"/payments/{payment_id}/confirm", {"passkey": signed})
            assert (paid.brief, paid.data["status"]) == ((200, "ok"), "completed")
        world.close()


async def asked(page: Page, script: str, options: dict[str, Any]) -> dict[str, str]:
    answer: dict[str, str] = await page.run(script % json.dumps(options))
    return answer
