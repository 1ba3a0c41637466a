"""A small OpenID Connect provider on loopback: it signs in whoever it is told to, without a question."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "medground-test"


def secrets(port: int, issuer: str) -> str:
    """The secrets of an app at ``port`` whose visitors sign in with ``issuer``, and that has one maintainer."""
    return f"""
        [auth]
        redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
        cookie_secret = "a cookie secret that only this test knows"
        client_id = "{CLIENT}"
        client_secret = "a client secret that only this test knows"
        server_metadata_url = "{issuer}/.well-known/openid-configuration"
        [maintain]
        emails = ["boss@example.org"]
        """


@contextmanager
def provider(claims: dict) -> Iterator[str]:
    """The address of a running provider; ``claims`` (such as e-mail) may be changed while it runs."""
    key = RSAKey.generate_key(2048, {"kid": "test", "use": "sig"})
    nonces: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            if url.path == "/.well-known/openid-configuration":
                self.answer(described(address))
            elif url.path == "/jwks":
                self.answer({"keys": [key.as_dict(private=False)]})
            elif url.path == "/authorize":
                code = f"code-{len(nonces)}"
                nonces[code] = asked.get("nonce", "")
                self.send_response(302)
                query = urlencode({"code": code, "state": asked["state"]})
                self.send_header("Location", f"{asked['redirect_uri']}?{query}")
                self.end_headers()
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            nonce = nonces[body["code"][0]]
            now = int(time.time())
            token = {"iss": address, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 600, "nonce": nonce, **claims}
            signed = jwt.encode({"alg": "RS256", "kid": "test"}, token, key)
            self.answer({"access_token": "x", "token_type": "Bearer", "expires_in": 600, "id_token": signed})

        def answer(self, content: dict) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def described(address: str) -> dict:
    """The provider's description of itself."""
    return {
        "issuer": address,
        "authorization_endpoint": f"{address}/authorize",
        "token_endpoint": f"{address}/token",
        "jwks_uri": f"{address}/jwks",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
