"""Acceptance tests of packages: what is checked of each format, and what comes of it. The pipeline runs them in a testbed.

`guest` is the part that runs inside the testbed, by that machine's own Python; it imports nothing of the rest.
"""
