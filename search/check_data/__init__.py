"""Reports problems in a set of images, before a search spends hours on it.

sieve check-data --data photos
"""
