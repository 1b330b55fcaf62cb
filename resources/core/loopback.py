"""What a machine calls itself: what is sent there leaves it by no network."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
