"""Every error that Holdfast raises on purpose; each message names the value, the expectation and the remedy.

HoldfastError
├── ConfigError     what was asked for does not exist or does not fit (attack, parameter, threat, suite)
├── InputError      the data: range, shape, labels, emptiness, a file that cannot be read
├── ModelError      the model: weights, NaN answers, training mode, access that an attack needs
└── StoreError      the run on disk: not writable, full, held by another writer, from another plan

The command line prints the message as one line and exits with 2.
"""


class HoldfastError(Exception):
    """The root: catching it catches all that Holdfast raises on purpose."""


class ConfigError(HoldfastError, ValueError):
    """What was asked for does not exist or does not fit."""


class InputError(HoldfastError, ValueError):
    """The data cannot be used as it is."""


class ModelError(HoldfastError, RuntimeError):
    """The model cannot be measured as it is."""


class StoreError(HoldfastError, OSError):
    """The run on disk cannot be read or written as asked."""
