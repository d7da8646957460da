"""Consequences of a failed call: `failure` decides for each kind of `trouble` and names its `causes`, `retry` waits.

`live_circuits` with `live_health` stop calls of live requests to an upstream that fails, `circuits` of `circuit` those
of batches. `series` are their metrics, `shown_circuits` their state for operators.
"""
