"""[api], [platform] and [origin]."""

import msgspec
import pytest

from edgeproxy.config.platform import Api, Origin, Platform


def test_the_api_has_no_public_name_and_origins_no_private_address_unless_told_so() -> None:
    assert (Api().hostname, Api().cors_origins, Origin().allow) == ("", (), ())
    assert {"www", "api", "mail"} <= set(Platform().reserved)


@pytest.mark.parametrize("key", ["routing", "on_unknown", "on_error", "host"])
def test_what_happens_to_requests_is_one_of_two_things(key: str) -> None:
    assert getattr(Origin(), key)
    with pytest.raises(msgspec.ValidationError, match=f"Invalid enum value 'perhaps' - at `\\$.{key}`"):
        msgspec.convert({key: "perhaps"}, Origin)
