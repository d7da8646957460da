"""The tools of a request: what each is for an upstream, and which of them come again."""
