"""Three upstreams, of which two fail, and reloads under load: short forms of faults in `make chaos`."""

from tests.chaos.route_faults import failing_in_turn, reloading_under_load

WAYS = ("503", "closing at once", "an error in a 200", "402", "cutting before content")


async def test_no_client_sees_an_error_while_one_of_three_upstreams_is_healthy() -> None:
    seen, failed_calls = await failing_in_turn(WAYS, 16)
    assert seen == {"200 c": 16 * len(WAYS)}
    assert failed_calls < seen.total()


async def test_no_request_or_stream_fails_through_reloads() -> None:
    seen = await reloading_under_load(160, 8)
    assert seen.total() == 160
