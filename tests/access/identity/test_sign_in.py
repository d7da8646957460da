"""Sessions of people who signed in, as Redis keeps them."""

from dataclasses import replace

import pytest

from gateway.access.identity.sign_in import Refused, SignIn
from gateway.redis.server import RedisServer
from gateway.settings.identity_sections import SignInSection
from tests.access.identity.test_identity import identity
from tests.support.issuer import ISSUER, Provider, token


async def test_session_from_before_a_change_of_the_secret_means_signing_in_again(server: RedisServer) -> None:
    made = identity(Provider())
    section = SignInSection(issuer=ISSUER, client_id="dragoman")
    person = made.match(await made.check(token()))
    tokens = await SignIn(made, section, server)._tokens(person, None)
    changed = SignIn(replace(made, secret=b"another"), section, server)
    with pytest.raises(Refused) as refused:
        await changed.refresh(tokens["refresh_token"])
    assert (refused.value.error, refused.value.status) == ("invalid_grant", 401)
