"""Policies: what a release of a tier may carry, what has to be proved of it, and the gates that it passes.

`loading` reads policies/, `expression` evaluates, `judging` holds facts, which are plain data, against a policy. Nothing here
reads a store or a registry: `nexus_oci.pipeline` gathers the facts.
"""
