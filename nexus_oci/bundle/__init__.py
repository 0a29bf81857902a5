"""Bundles: a release, or what it has more than another, in one file or in numbered parts, for sites without a network.

A bundle is an OCI image layout inside a tar, with a signed inventory first. `inventory` says what is in it, `layout` where each
byte stands, `collect` what belongs to it; `writing` and `parts` write it, `opened`, `stream` and `repair` read it.
"""
