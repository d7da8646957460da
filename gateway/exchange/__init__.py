"""Exchanges: one prompt, one answer. Called by web, threads and workers; knows neither HTTP requests nor batches.

`exchange` runs one: `plan` is its state, `candidates` and `walk` choose the next call, `relay` connects an upstream's
stream to a `sink`, `heartbeat` is the timer of all streams. `accounting` reserves and settles cost.
`cached` comes before it: `hit` for a stored answer, `flight` for a call that equal requests share, `recording` for
streams that are kept. `calibration` and `token_count` improve token counts; `received` reads facts for the usage
record; `missing`, `sessions` and `key_policy` refine the choice of candidates.
"""
