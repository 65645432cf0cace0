"""The three ways in which work can end without success."""


class UserError(Exception):
    """Something the user can mend: one line with what, where and how. Exit code 2."""


class CaseError(Exception):
    """One case cannot be used: it is quarantined with this reason and the run goes on."""


class TimeSliceEnded(Exception):
    """Work stopped at a checkpoint; the same command goes on from there. Exit code 75."""
