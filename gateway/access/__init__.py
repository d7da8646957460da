"""Access to the gateway: client keys and signing keys."""
