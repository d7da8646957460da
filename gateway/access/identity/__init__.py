"""Tokens of other parties and of our own: identities without a key made for them."""
