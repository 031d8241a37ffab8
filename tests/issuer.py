"""A small OpenID Connect issuer on loopback: real HTTP, real signatures.

It signs every visitor in as the person that the test sets, and checks the client's secret and the
code's verifier. A test may spoil its tokens.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "answermill", "client-secret"


@dataclass
class Issuer:
    """The person whom it signs in, and the faults of its tokens."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "jane", "groups": ["support"]})
    spoil: dict[str, Any] = field(default_factory=dict)  # claims that are not as they should be
    signs_with: RSAKey | None = None  # another key than it publishes
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    requests: dict[str, dict[str, str]] = field(default_factory=dict)  # by code
    refused: list[str] = field(default_factory=list)

    def configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def authorize(self, query: dict[str, str]) -> str:
        code = secrets.token_urlsafe()
        self.requests[code] = query
        back = urlencode({"code": code, "state": query["state"]})
        return f"{query['redirect_uri']}?{back}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        request = self.requests.pop(form.get("code", ""), None)
        if request is None:
            return self._refuse("code")
        if authorization != base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode():
            return self._refuse("secret")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != request["code_challenge"]:
            return self._refuse("verifier")
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300}
        claims |= {"nonce": request["nonce"], **self.claims, **self.spoil}
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.signs_with or self.key)
        return {"access_token": "opaque", "token_type": "Bearer", "id_token": signed}

    def _refuse(self, what: str) -> None:
        self.refused.append(what)


@contextlib.contextmanager
def issuing() -> Iterator[Issuer]:
    """Run an issuer."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", issuer.authorize(query))
                self.end_headers()
            elif parts.path == "/keys":
                self._tell({"keys": [issuer.key.as_dict(private=False)]})
            else:
                self._tell(issuer.configuration())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            basic = self.headers.get("Authorization", "").removeprefix("Basic ")
            self._tell(issuer.token(form, basic) or {"error": "invalid_grant"})

        def _tell(self, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(400 if "error" in document else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
