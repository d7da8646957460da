"""Access to the gateway: who asks, and what they may spend. Called by web, workers and the command line.

`keys` are configured ones (`key_text` is their form), `records` and `store` those in Redis with limits and budgets,
`directory` a process's view of all of them, `configured` builds them from settings; `identity/` knows clients by tokens
of other parties.

`admission` checks and reserves limits before a call (`reservation` has its values, `refusals` its
replies; `local_rates` and `outage` work without Redis), `ledger` settles afterwards. `periods` are those of budgets,
`spend` and `audit` the records of use and of changes, `alerts` report crossed thresholds. `keyring` signs envelopes and
fingerprints.
"""
