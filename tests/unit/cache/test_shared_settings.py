"""What is said of a shared store fits together, or is refused by name."""

import pytest
from pydantic import ValidationError

from llmrouter.cache.settings import SharedSettings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"address": "redis"}, "must be host:port"),
        ({"cluster": True, "database": 2}, "database 2 must be 0"),
        ({"password": "x", "password_file": "f"}, "give one"),
        ({"ca_file": "f"}, "need tls: true"),
        ({"tls": True, "key_file": "f"}, "needs the certificate_file"),
        ({"timeout_seconds": 0}, "greater than 0"),
        ({"prefix": "a b"}, "should match pattern"),
        ({"url": "redis://"}, "not permitted"),
    ],
)
def test_what_cannot_work_is_refused(given, told):
    with pytest.raises(ValidationError, match=told):
        SharedSettings(**{"address": "h:1", **given})


def test_a_password_is_read_from_where_it_is_and_never_shown(tmp_path):
    file = tmp_path / "password"
    file.write_text("hush\n")
    named = SharedSettings(address="h:1", password_file=file)
    given = SharedSettings.model_validate({"address": "h:1", "password": "hush"})
    assert named.read_password() == given.read_password() == "hush"
    assert SharedSettings(address="h:1").read_password() is None
    assert "hush" not in f"{given!r} {given.model_dump_json()}"
