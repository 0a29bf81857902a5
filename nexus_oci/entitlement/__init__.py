"""Licence entitlements: signed tokens that say who may run which engine, and how a token is judged where it is used."""
