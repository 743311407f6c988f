"""How a node shows who it is, and how this client does."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from os import PathLike
from typing import Optional, Union

from catraca._errors import FieldError


@dataclass(frozen=True)
class Tls:
    """TLS 1.3 to the nodes' port for it (listen_tls). Their certificates must be of an authority in
    `ca_file`, and of the host that the address names: there is no way around either. With
    `certificate_file` and `key_file` the client shows a certificate. All three are PEM files, read
    once; the system's authorities are not asked."""

    ca_file: Union[str, PathLike[str]]
    certificate_file: Optional[Union[str, PathLike[str]]] = None
    key_file: Optional[Union[str, PathLike[str]]] = None

    def context(self) -> ssl.SSLContext:
        """What makes sockets secure; FieldError for files that can't be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cafile=self.ca_file)
        except (OSError, ValueError) as error:
            raise FieldError(f"{self.ca_file} holds no authorities: {error}") from error
        if (self.certificate_file is None) != (self.key_file is None):
            raise FieldError("a client's certificate and its key are given together")
        if self.certificate_file is not None and self.key_file is not None:
            try:
                # A key with a password is none: nobody is there to be asked for it.
                context.load_cert_chain(self.certificate_file, self.key_file, password="")
            except (OSError, ValueError) as error:
                both = f"{self.certificate_file} with {self.key_file}"
                raise FieldError(f"{both} is no certificate to show: {error}") from error
        return context


def told(error: BaseException) -> str:
    """What is told of a connection that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the connection can't be made secure: its certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the connection can't be made secure: {error.reason or error}"
    return str(error) or type(error).__name__
