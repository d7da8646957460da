"""Token counts of a prompt without a call: estimated from its size (`estimate`) or read in full (`prompt`)."""
