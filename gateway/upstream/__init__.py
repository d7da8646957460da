"""The side of the gateway that faces model servers: where a request goes, how it gets there, when it is tried again."""
