"""CPFs, CNPJs, and the ids of Pix payments."""

from __future__ import annotations

import secrets
import string
import time
from typing import Optional

from catraca._errors import DocumentError, FieldError


def canonical_document(text: str) -> str:
    """The canonical form of a CPF (11 digits) or CNPJ (14 characters), with or without mask; raises
    DocumentError."""
    document = ""
    # Of several faults the first one counts.
    for c in text.strip():
        if c in ".-/ ":
            continue
        if c == "*":
            raise DocumentError("masked")
        if not (c.isascii() and c.isalnum()):
            raise DocumentError("character")
        if len(document) == 14:
            raise DocumentError("length")
        document += c.upper()
    if len(document) not in (11, 14):
        raise DocumentError("length")
    cpf = len(document) == 11
    if not (document if cpf else document[12:]).isdigit():
        raise DocumentError("character")
    if len(set(document)) == 1 and document.isdigit():
        raise DocumentError("repeated_digit")
    for place in (len(document) - 2, len(document) - 1):
        # Weights begin at 2 on the right; a CNPJ's run to 9 and begin again.
        weights = (2 + (place - 1 - i if cpf else (place - 1 - i) % 8) for i in range(place))
        remainder = sum((ord(c) - 48) * weight for c, weight in zip(document, weights)) % 11
        if ord(document[place]) - 48 != (0 if remainder < 2 else 11 - remainder):
            raise DocumentError("check_digit")
    return document


def masked_document(document: str) -> str:
    """A canonical document for print: a CPF without its outer digits, a CNPJ by its root."""
    if len(document) == 11:
        return f"***.{document[3:6]}.{document[6:9]}-**"
    return f"{document[:2]}.{document[2:5]}.{document[5:8]}/****-**"


def end_to_end_id(ispb: str, when: Optional[float] = None, suffix: Optional[str] = None) -> str:
    """A Pix EndToEndId: `E`, the ISPB, the minute in UTC (`when` in s since 1970; by default now),
    11 characters of chance."""
    alphabet = string.ascii_letters + string.digits
    if len(ispb) != 8 or any(c not in alphabet for c in ispb):
        raise FieldError("an ISPB is 8 ASCII letters or digits")
    suffix = "".join(secrets.choice(alphabet) for _ in range(11)) if suffix is None else suffix
    if len(suffix) != 11 or any(c not in alphabet for c in suffix):
        raise FieldError("the end of an EndToEndId is 11 ASCII letters or digits")
    minute = time.strftime("%Y%m%d%H%M", time.gmtime(time.time() if when is None else when))
    return "E" + ispb + minute + suffix
