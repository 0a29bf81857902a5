"""Mirroring: releases, with all that refers to them, from one place to many; planned, verified, repeated, pruned.

It knows registries and stores as places only (`transfer.places`); what opens them is the pipeline's business.
"""
