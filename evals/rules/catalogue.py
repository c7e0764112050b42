"""All rules that come with Novum, in the order in which their hits are shown."""

from novum.evals.rules.rule import Rule
from novum.evals.rules.runtime import RUNTIME_RULES

RULES: tuple[Rule, ...] = (*RUNTIME_RULES,)
