"""All rules that come with Novum, in the order in which their hits are shown."""

from novum.evals.rules.building import BUILDING_RULES
from novum.evals.rules.cuda import CUDA_RULES
from novum.evals.rules.files import FILES_RULES
from novum.evals.rules.native import NATIVE_RULES
from novum.evals.rules.objects import OBJECTS_RULES
from novum.evals.rules.patching import PATCHING_RULES
from novum.evals.rules.rule import Rule
from novum.evals.rules.runtime import RUNTIME_RULES
from novum.evals.rules.state import STATE_RULES
from novum.evals.rules.system import SYSTEM_RULES
from novum.evals.rules.text import TEXT_RULES

RULES: tuple[Rule, ...] = (
    *RUNTIME_RULES,
    *PATCHING_RULES,
    *SYSTEM_RULES,
    *NATIVE_RULES,
    *FILES_RULES,
    *OBJECTS_RULES,
    *STATE_RULES,
    *TEXT_RULES,
    *CUDA_RULES,
    *BUILDING_RULES,
)
