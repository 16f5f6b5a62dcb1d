"""Migrations of Sieve's own tables, run by `search.store.upgrade`."""
