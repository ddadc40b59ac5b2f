"""`local:` processes of one machine speak over unix sockets; the consumer that owns the journal's file is the hub."""
