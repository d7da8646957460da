"""Claude Code's conventions within a Messages request."""

# Claude Code's first system block. It holds a hash that would keep any other upstream's prefix cache from ever hitting.
BILLING_HEADER = "x-anthropic-billing-header"
