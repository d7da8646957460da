"""Handlers of the client listener, one module a resource."""
