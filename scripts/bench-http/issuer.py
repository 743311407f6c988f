"""An issuer for bench-http.sh: serves the keys of its access tokens, and makes one token (RFC 9068, ES256).

Prints one line when it is ready, as a node does: where its keys are, and the token. It serves until it is stopped. Usage: issuer.py
"""

import http.server
import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://issuer.example"
AUDIENCE = "https://catraca.example"
CLIENT = "bench"
# No run is longer.
LIFETIME_S = 80_000


def main():
    key = ec.generate_private_key(ec.SECP256R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    keys = json.dumps({"keys": [{**public, "kid": "one", "use": "sig", "alg": "ES256"}]}).encode()
    now_s = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": CLIENT, "client_id": CLIENT, "jti": CLIENT, "iat": now_s, "exp": now_s + LIFETIME_S,
              "scope": "decisions:write"}
    token = jwt.encode(claims, key, algorithm="ES256", headers={"typ": "at+jwt", "kid": "one"})

    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(keys)))
            self.end_headers()
            self.wfile.write(keys)

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    ready = {"message": "ready", "jwks": f"http://127.0.0.1:{server.server_port}/jwks", "token": token}
    print(json.dumps(ready), flush=True)
    server.serve_forever()


main()
