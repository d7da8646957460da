"""Identity by tokens instead of client keys: those of OpenID providers, and those that the gateway issues itself."""
