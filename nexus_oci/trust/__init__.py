"""Trust: keys that the user gives, and what this machine can say about them before any work."""
