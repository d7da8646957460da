"""Tokens of other parties and of our own: who somebody is, without a key made for them."""
