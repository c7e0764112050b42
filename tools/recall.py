"""Ask what earlier experiments taught."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from novum.errors import ToolError
from novum.lab.records import Label, Lesson
from novum.tools.desk import Desk
from novum.tools.text import bounded

STANDING = {
    Label.CONFIRMED: "CONFIRMED, measured again with fresh seeds",
    Label.PROMISING: "promising, won its race, not confirmed",
    Label.INCONCLUSIVE: "inconclusive: the effect, if any, is below what was resolved",
    Label.NOISE: "no effect beyond noise",
    Label.REGRESSION: "made it worse",
    Label.MISSED: "missed what the benchmark requires",
    Label.HACK: "REJECTED as a hack: do not repeat",
    Label.INVALID: "did not work",
    Label.QUARANTINED: "quarantined: too good to be believed yet",
}
"""How a lesson may be spoken of. Nothing unconfirmed is ever shown as proven."""


MAX_KNOWN = 3

REFUSED = "refused by "
"""How the reason begins of what a person did not want tried."""


class Recall(BaseModel, extra="forbid"):
    """Find earlier experiments like this one, with what became of them."""

    text: str = Field(description="What to look for.", min_length=1, max_length=1_000)
    limit: int = Field(default=5, ge=1, le=20, description="How many at most.")


def recall(call: Recall, desk: Desk) -> str:
    """The nearest earlier experiments, one a line, and what is known of the matter elsewhere."""
    if desk.precedents is None:
        raise ToolError("there is no memory in this role")
    tried = render(desk.precedents.recall(call.text, call.limit)) or "nothing like it was tried"
    known = desk.precedents.recall_knowledge(call.text, MAX_KNOWN)
    if not known:
        return tried
    lines = "\n".join(f"- `{k.name}` {k.title}: {k.text} ({k.source})" for k in known)
    return bounded(f"{tried}\n\nKnown techniques, which nothing here has shown yet:\n{lines}")


def render(lessons: Sequence[Lesson]) -> str:
    """Lessons as a list for a reader, each with how far it may be believed."""
    return bounded("\n".join(f"- {describe(lesson)}" for lesson in lessons))


def is_refused(lesson: Lesson) -> bool:
    """Whether a person did not want it tried."""
    return lesson.gain is None and lesson.diff_summary.startswith(REFUSED)


def describe(lesson: Lesson) -> str:
    """One lesson in one line."""
    if is_refused(lesson):
        said = lesson.diff_summary.removeprefix(REFUSED)
        return (
            f"[{lesson.proposal}] {lesson.hypothesis} ({lesson.kind}): not tried, {REFUSED}{said}"
        )
    gain = "" if lesson.gain is None else f", measured gain {lesson.gain:+.2%}"
    return (
        f"[{lesson.proposal}] {lesson.hypothesis} ({lesson.kind}): {STANDING[lesson.label]}{gain}"
    )
