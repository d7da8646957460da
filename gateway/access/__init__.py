"""Access to the gateway: who asks, and what they may spend. Called by web, workers and the command line.

`keys` are configured ones, `records` and `store` those in Redis with limits and budgets, `directory` a process's view
of all of them. `admission` checks and reserves limits before a call (`local_rates` without Redis), `periods` are
those of budgets, `spend` and `audit` the records of what was used and changed. `keyring` signs envelopes and
fingerprints.
"""
