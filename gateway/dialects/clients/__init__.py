"""Shared by the client faces of chat completions and Responses: tools, content, turns, errors, and Messages events."""
