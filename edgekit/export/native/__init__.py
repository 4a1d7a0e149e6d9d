"""The native engine's plan (.ekm) of an integer graph."""
