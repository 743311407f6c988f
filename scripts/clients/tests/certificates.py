"""Invented authorities and certificates for tests, made with openssl, as PEM files of a folder."""

import functools
import pathlib
import ssl
import subprocess
import tempfile

# Nobody trusts these authorities but the tests of one run.
DAYS = "2"
# The certificates of each authority, and the names that each is for.
LOCAL = "subjectAltName=DNS:localhost,IP:127.0.0.1"
ELSEWHERE = "subjectAltName=DNS:elsewhere.example"
AUTHORITIES = {
    "ca": {"server": LOCAL, "elsewhere": ELSEWHERE, "client": LOCAL},
    "foreign": {"stranger": LOCAL},
}


class Certificates:
    """An authority with certificates of `server`, `elsewhere` and `client`, and a foreign one with
    that of a `stranger`."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="catraca-certificates.")
        for authority, signed in AUTHORITIES.items():
            self._make(authority, "basicConstraints=critical,CA:TRUE")
            by = ["-CA", self.path(authority), "-CAkey", self.path(f"{authority}-key")]
            for name, names in signed.items():
                self._make(name, "basicConstraints=critical,CA:FALSE", "-addext", names, *by)
        self.path("garbage").write_text(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        )

    def _make(self, name, constraints, *more):
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                DAYS,
                "-subj",
                f"/CN={name}",
                "-out",
                self.path(name),
                "-keyout",
                self.path(f"{name}-key"),
                "-addext",
                constraints,
                *more,
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )

    def path(self, name):
        """Where the file of this name is."""
        return pathlib.Path(self._folder.name) / f"{name}.pem"

    def shown(self, name):
        """What a driver is told to show this certificate to nodes of the authority."""
        return {
            "ca_file": self.path("ca"),
            "certificate_file": self.path(name),
            "key_file": self.path(f"{name}-key"),
        }

    def server(self, name, newest=ssl.TLSVersion.TLSv1_3):
        """What a fake node shows this certificate with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(name), self.path(f"{name}-key"))
        context.maximum_version = newest
        return context

    def thumbprint(self, name):
        """SHA-256 of the certificate, as the configuration of a node wants it."""
        said = subprocess.run(
            ["openssl", "x509", "-in", self.path(name), "-noout", "-fingerprint", "-sha256"],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        return said.strip().partition("=")[2].replace(":", "").lower()


@functools.lru_cache(maxsize=1)
def certificates():
    """Made once for all tests; gone when the program ends."""
    return Certificates()
