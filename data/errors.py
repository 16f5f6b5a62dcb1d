"""Every error that Sieve raises on purpose, in one place.

SieveError                 the work failed; the command ends with exit code 1
├── UserError              what was asked for cannot be done; one line, exit code 2, nothing written
│   └── DeviceFull         other programs fill the memory of a GPU
├── InfeasibleConfig       a configuration that cannot be built or does not fit; infeasible, not failed
│   └── DoesNotFit         the device has too little memory for it
├── TrainingDiverged       the loss is no longer finite; reported as pruned, with the reason
├── LeaseLost              another worker owns this trial now; the result is discarded and the worker goes on
├── ArtifactsAway          the store of checkpoints and classifiers does not answer; the trial goes back into the queue
├── StorageAway            the database did not answer for a minute; the same command goes on when it does
└── SealBroken             a look at the test set that is not allowed
"""


class SieveError(Exception):
    """The work failed. The message is one line for people: what was seen, where, what to do."""


class UserError(SieveError):
    """What was asked for cannot be done. One line: what was wrong, where, what to do instead."""


class DeviceFull(UserError):
    """Other programs fill the memory of a GPU, so that a trial lacks it."""


class InfeasibleConfig(SieveError):
    """A configuration that cannot be built, such as one that shrinks an image below 1x1."""


class DoesNotFit(InfeasibleConfig):
    """A configuration for which the device has too little memory, even for a few images at a time."""


class TrainingDiverged(SieveError):
    """The training loss became NaN or infinite."""


class LeaseLost(SieveError):
    """The worker no longer owns the trial: its lease expired and somebody else took it."""


class ArtifactsAway(SieveError):
    """The store of checkpoints and classifiers does not answer, and was given its time."""


class StorageAway(SieveError):
    """The database was away for longer than any call to it waits."""


class SealBroken(SieveError):
    """The test set was opened before, and no reason for another look was given."""
