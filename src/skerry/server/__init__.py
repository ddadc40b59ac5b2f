"""The HTTP server: state machines for HTTP/1.1 and WebSocket without I/O, and the protocols that execute them."""
