"""Message threads: conversations stored by the gateway, so that a turn's request carries only its new messages."""
