"""What a delivery says, and its signature."""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from edgeproxy.config.webhooks import secret_bytes
from edgeproxy.control.store import Event
from edgeproxy.control.store.outbox import timestamp
from edgeproxy.control.webhooks.message import body, headers, new_secret, signature

EVENT = Event(
    number=7, id="msg_7", type="domain.active", subject="a.test", workspace_id="w", at=1614265330.5, data=b'{"domain":"a.test"}'
)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example that its libraries are tested with."""
    first = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert first == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_body_has_type_timestamp_and_data() -> None:
    assert msgspec.json.decode(body(EVENT)) == {
        "type": "domain.active",
        "timestamp": "2021-02-25T15:02:10.500Z",
        "data": {"domain": "a.test"},
    }
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"


def test_each_secret_signs_id_time_and_content() -> None:
    keys = [new_secret(), new_secret()]
    content = body(EVENT)
    fields = headers(EVENT.id, content, keys, 1700000000.9)
    assert fields["webhook-id"] == "msg_7"
    assert fields["webhook-timestamp"] == "1700000000"
    assert fields["content-type"] == "application/json"
    expected = [
        base64.b64encode(hmac.digest(secret_bytes(key), b"msg_7.1700000000." + content, hashlib.sha256)).decode()
        for key in keys
    ]
    assert fields["webhook-signature"] == f"v1,{expected[0]} v1,{expected[1]}"


def test_new_secrets_are_random_and_of_the_right_form() -> None:
    assert len(secret_bytes(new_secret())) == 32
    assert new_secret() != new_secret()
