"""What Schemathesis has to know of NDJSON: here one JSON text on a line."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def as_line(_context, value):
    """A value as one line."""
    return json.dumps(value).encode() + b"\n"


@schemathesis.deserializer("application/x-ndjson")
def of_line(_context, response):
    """The answer to one line."""
    (line,) = response.content.splitlines()
    return json.loads(line)
