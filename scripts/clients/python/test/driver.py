"""A client that is told line by line what to do: what scripts/clients/test_clients.py drives."""

import os
import sys
import time
import urllib.parse

from catraca import (
    CatracaError,
    Client,
    ClusterState,
    ConnectError,
    Decision,
    DocumentError,
    FieldError,
    NoAnswer,
    NoPrimary,
    Refused,
    StoredDecision,
    Tls,
    Transaction,
    Welcome,
    _frames,
    canonical_document,
    masked_document,
)
from catraca._options import Timing
from catraca._values import NEVER, AuthState

# Replies that may be owed while payments go on.
OWED = 64
NUMBERS = (
    "amount_centavos", "event_time_ns", "budget_us", "rail", "channel", "flags", "payer_account",
    "payee_account", "device")  # fmt: skip
TEXTS = ("id", "payer", "payee", "payer_ispb", "payee_ispb")


def transaction(said, number=None):
    """The payment that the fields tell of; of that number, where there is one."""
    fields = {name: said.get(name, "") for name in TEXTS}
    fields.update((name, int(said.get(name) or 0)) for name in NUMBERS)
    if number is not None:
        fields.update(id=f"{fields['id']}{number}", amount_centavos=number)
    return Transaction(
        **fields,
        ip=said.get("ip") or None,
        pix_key=bytes.fromhex(said.get("pix_key", "")),
        trace_id=bytes.fromhex(said.get("trace_id", "")),
    )


def options(said):
    """The arguments of a client."""
    given = {"address": said["address"].split(","), "role": said.get("role") or "primary"}
    given.update((name, said[name]) for name in ("credential", "name") if name in said)
    given["in_flight"] = int(said.get("in_flight", 0))
    times = {
        "connect_timeout_ms": "connect_timeout_s",
        "answer_timeout_ms": "answer_timeout_s",
        "base_ms": "reconnect_base_s",
        "max_ms": "reconnect_max_s",
    }
    given.update((name, int(said[told]) / 1e3) for told, name in times.items() if told in said)
    if "silence_ms" in said:
        looks = ("silence_ms", "look_every_ms", "look_time_ms")
        given["timing"] = Timing(*(int(said[told]) / 1e3 for told in looks))
    if "ca_file" in said:
        files = (said.get(name) for name in ("ca_file", "certificate_file", "key_file"))
        given["tls"] = Tls(*files)
    return {**given, "lazy": "lazy" in said}


def encoded(said):
    """The request that the fields tell of, as bytes."""
    kind, correlation = _frames.Kind[said["kind"]], int(said["correlation"])
    if kind == _frames.Kind.AUTH:
        return _frames.token_frames(said["token"].encode(), correlation)
    if kind == _frames.Kind.HELLO:
        who = said.get("credential", ""), said.get("client_name", "")
        return _frames.hello_frame(*who, int(said.get("in_flight", 0)), correlation)
    bodies = {
        _frames.Kind.SUBMIT: lambda: _frames.submit_body(transaction(said).encode()),
        _frames.Kind.LOOKUP: lambda: _frames.lookup_body(said["id"], said.get("payer")),
        _frames.Kind.PING: lambda: bytes(8),
        _frames.Kind.CLUSTER: _frames.cluster_body,
    }
    return _frames.frame(kind, correlation, bodies[kind]())


def of_error(error):
    """What an error says."""
    said = {"text": str(error), "recorded": error.recorded.value}
    if isinstance(error, DocumentError):
        return {**said, "type": "document", "reason": error.reason}
    if isinstance(error, ConnectError):
        return {**said, "type": "connect", "no_primary": isinstance(error, NoPrimary)}
    if isinstance(error, Refused):
        return {**said, "type": "refused", "code": int(error.code), "detail": error.detail,
                "retry_after_ms": error.retry_after_ms, "closing": int(error.closing)}  # fmt: skip
    if isinstance(error, FieldError):
        return {**said, "type": "field"}
    return {**said, "type": "no_answer" if isinstance(error, NoAnswer) else "protocol"}


def of_answer(answer):
    """What an answer says, named as PROTOCOL.md does."""
    if isinstance(answer, int):
        return {"kind": "PONG", "server_time_ns": answer}
    if isinstance(answer, Refused):
        return {"kind": "ERROR", **of_error(answer)}
    if isinstance(answer, AuthState):
        return {"kind": "AUTH_STATE", "expires_at_ns": answer.expires_at_ns}
    said = {name: plain(value) for name, value in vars(answer).items()}
    if isinstance(answer, (Welcome, ClusterState)):
        said["kind"] = "WELCOME" if isinstance(answer, Welcome) else "CLUSTER_STATE"
        said["role"], said["primary"] = 1 if answer.primary else 2, answer.primary_address
    if isinstance(answer, ClusterState):
        said["silence_ms"] = NEVER if answer.silence_ms is None else answer.silence_ms
        said["peer"] = answer.peer_address
    if isinstance(answer, Decision):
        flags = answer.duplicate | answer.degraded << 1 | answer.shadow_disagrees << 2
        said.update(kind="VERDICT", flags=flags)
    if isinstance(answer, StoredDecision):
        paid = {name: plain(value) for name, value in vars(answer.transaction).items()}
        said.update(kind="RECORD", record_flags=said.pop("flags"), **paid)
    return said


def plain(value):
    """A field as text or number."""
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else int(value) if isinstance(value, int) else value


def say(word, said):
    """A line for who drives this."""
    pairs = (f"{key}={urllib.parse.quote(str(value), safe='')}" for key, value in said.items())
    sys.stdout.write("\t".join([word, *pairs]) + "\n")
    sys.stdout.flush()


def of_reply(number, reply):
    """The line of one of many payments."""
    said = of_answer(reply.decision) if reply.decision else of_error(reply.error)
    say("answer", {"number": number, **said})


def without_a_client(command, said):
    """What needs none; None where it is something else."""
    if command == "document":
        document = canonical_document(said["text"])
        return {"canonical": document, "masked": masked_document(document)}
    if command == "show":
        return {"text": f"{transaction(said)} {transaction(said)!r}"}
    if command == "encode":
        return {"hex": encoded(said).hex()}
    if command == "decode":
        correlation, answer = _frames.decode_reply(bytes.fromhex(said["hex"]))
        return {"correlation": correlation, **of_answer(answer)}
    return None


class Waiting:
    """The commands for the client that waits."""

    client = None

    def perform(self, command, said):
        """Does one, and gives what is to be said of it."""
        return of_answers(getattr(self, command)(said))

    def connect(self, said):
        self.close(said)
        self.client = None
        self.client = Client(**options(said))

    def close(self, _):
        if self.client:
            self.client.close()

    def welcome(self, _):
        return self.client.welcome

    def decide(self, said):
        return self.client.decide(transaction(said))

    def submit(self, said):
        self.client.submit(transaction(said))

    def receive(self, _):
        return self.client.receive().result()

    def lookup(self, said):
        return self.client.lookup(said["id"], said.get("payer"))

    def ping(self, _):
        return self.client.ping()

    def renew(self, said):
        return AuthState(self.client.renew(said["token"]) or 0)

    def token(self, _):
        return AuthState(self.client.token_expires_at_ns or 0)

    def cluster(self, _):
        return self.client.cluster()

    def pay(self, said):
        """As many at once as may be owed; one each millisecond until there is that file, where one
        is named."""
        numbers = {}

        def tell():
            reply = self.client.receive()
            of_reply(numbers[reply.correlation], reply)

        until = said.get("until")
        for number in range(1, int(said["count"]) + 1):
            if until:
                time.sleep(0.001)
                if os.path.exists(until):
                    break
            numbers[self.client.submit(transaction(said, number))] = number
            while self.client.owed > OWED:
                tell()
        while self.client.owed:
            tell()


def of_answers(answer):
    """Nothing is said of nothing."""
    return {} if answer is None else of_answer(answer)


def parsed(line):
    """The command of a line, and its fields."""
    command, *words = line.rstrip("\n").split("\t")
    pairs = (word.partition("=") for word in words)
    return command, {key: urllib.parse.unquote(value) for key, _, value in pairs}


def main():
    """Does what the lines of the input say."""
    commands = Waiting()
    for line in sys.stdin:
        command, said = parsed(line)
        try:
            result = without_a_client(command, said)
            say("ok", commands.perform(command, said) if result is None else result)
        except CatracaError as error:
            say("error", of_error(error))


if __name__ == "__main__":
    main()
