"""How to prove it: suites that every backend inherits, fakes with real semantics, private servers, faults."""
