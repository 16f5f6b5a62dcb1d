"""The database: Optuna's storage made safe, Sieve's own tables, claims and leases, the record of the seal."""
