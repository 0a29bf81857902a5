"""Registries (OCI distribution-spec 1.1): the only package that imports oras and requests, whose exceptions stop here.

`client.RegistryClient` speaks to one host; `end.RegistryEnd` makes one of its repositories an end of a transfer.
Import the modules where they are needed: oras alone takes a third of a second to load.
"""
