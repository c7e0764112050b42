"""Every exception of Novum, by who acts on it.

    NovumError
    ├── ToolError            the model: it reads the message and may call again
    │   ├── DoesNotApply     an edit, move or patch does not fit these files
    │   └── MergeConflict    two branches changed the same lines
    ├── UsageError           the user: wrong words on the command line or in a settings file
    │   ├── UnknownName      no such pack, brain, profile, policy, run
    │   ├── PackError        a pack's own files are wrong
    │   ├── RunBusy          another process works in this run folder
    │   └── MemoryMismatch   a memory was made by another embedder or format
    ├── BudgetExhausted      the user: nothing is left to spend
    ├── AuditRejected        the user: the result did not pass the audit
    ├── OperatorError        whoever runs the machine
    │   ├── SandboxUnavailable   the asked-for isolation is not to be had here
    │   ├── SandboxLost          the sandbox died under a trial (the trial is recorded as lost)
    │   │   └── SandboxNotStarted    it died before any line of the candidate ran
    │   ├── DataMissing          data of a pack is absent and cannot be made here
    │   ├── BrainUnavailable     a model's provider refuses, or does not answer for too long
    │   ├── DiskFull             no room is left to record what happened
    │   └── MemoryUnavailable    the memory's server does not answer
    └── RecordError          the records of a run do not hold together
        ├── LedgerCorrupt    the event chain or a table is damaged
        ├── MemoryCorrupt    the memory's index is damaged; it can be rebuilt from the ledger
        └── RecordingMiss    a replay asked for something that was not recorded

Anything else that is raised is a bug of ours. Every message says what happened, where the evidence
lies and what to do next.
"""


class NovumError(Exception):
    """Base of all errors that Novum raises on purpose; `exit_code` is what the command returns."""

    exit_code = 1


class ToolError(NovumError):
    """A tool call that cannot be done; the model sees the message and may call again."""


class DoesNotApply(ToolError):
    """An edit does not fit the files it was given; nothing was changed."""


class MergeConflict(ToolError):
    """Two candidates changed the same lines; `paths` names the files in conflict."""

    def __init__(self, message: str, paths: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.paths = paths


class UsageError(NovumError):
    """The user asked for something that cannot be understood or does not exist."""

    exit_code = 2


class UnknownName(UsageError):
    """No pack, brain, profile, policy or run goes by this name."""


class PackError(UsageError):
    """A benchmark pack's own files are missing, malformed or contradict one another."""


class RunBusy(UsageError):
    """Another process holds the lock of this run folder."""


class MemoryMismatch(UsageError):
    """A memory was made by another embedder or another format than is asked for now."""


class BudgetExhausted(NovumError):
    """A budget of the run is spent."""

    exit_code = 3


class AuditRejected(NovumError):
    """A result was asked for and the audit refused it."""

    exit_code = 4


class OperatorError(NovumError):
    """Something about the machine stands in the way."""


class SandboxUnavailable(OperatorError):
    """The asked-for sandbox cannot be had on this machine."""


class GpuBusy(SandboxUnavailable):
    """Somebody else uses the GPU: it may be free later, or another one is now."""


class SandboxLost(OperatorError):
    """The sandbox died under a trial for reasons of its own; the trial is recorded as lost."""


class SandboxNotStarted(SandboxLost):
    """The sandbox died before any line of the candidate ran: it cannot be the candidate's doing."""


class DataMissing(OperatorError):
    """Data that a pack needs is absent and cannot be made here."""


class BrainUnavailable(OperatorError):
    """A model cannot be asked: its provider refuses, or did not answer for too long.

    `faults` says what was tried, one line a try.
    """

    def __init__(self, message: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class DiskFull(OperatorError):
    """No room is left to record what happened; the run stops before anything is lost."""


class MemoryUnavailable(OperatorError):
    """The server of a memory does not answer; the run goes on and writes its lessons later."""


class RecordError(NovumError):
    """The records of a run do not hold together."""


class LedgerCorrupt(RecordError):
    """The event chain or a table of the ledger is damaged."""


class MemoryCorrupt(RecordError):
    """The index of a memory is damaged. `novum memory rebuild RUN` makes it anew."""


class RecordingMiss(RecordError):
    """A replay asked for an answer that the recording does not hold."""
