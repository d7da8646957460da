"""Filters between the pieces of an answer and its assembly (`chain`); each looks for one thing in the text."""
