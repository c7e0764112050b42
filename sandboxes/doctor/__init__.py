"""The doctor: attacks on the sandboxes of this machine, promise by promise."""

from novum.sandboxes.doctor.catalogue import ATTACKS, Attack
from novum.sandboxes.doctor.examine import Examination, Finding, Outcome, absent, examine

__all__ = ["ATTACKS", "Attack", "Examination", "Finding", "Outcome", "absent", "examine"]
