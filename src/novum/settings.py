"""Settings: what the user may choose, where it may be said, and what happens when it is misspelt.

The command line beats `NOVUM_*` variables, which beat `novum.toml`, which beats the defaults. An
unknown key is an error that names the nearest known one. A section's key is written with two
underscores in a variable (`NOVUM_BUDGET__WALL_S=600`) and as a table in the file (`[budget]`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from novum.errors import UsageError
from novum.tables import laid_over

PREFIX = "NOVUM_"
FILE = "novum.toml"
OTHER_VARIABLES = ("NOVUM_COMPILE_CACHE",)
"""Variables that begin like settings and belong to the harness."""
SANDBOXES = ("auto", "bubblewrap", "docker", "process")
WEB = ("http://", "https://")
SECRETS = ("api_key", "url")
"""Keys whose values are not repeated in an error."""
Role = Literal["planner", "coder", "auditor"]


class BudgetSettings(BaseModel, extra="forbid", use_attribute_docstrings=True):
    """What a run may spend; the first limit that is reached ends it. Nothing set means no limit."""

    experiments: int | None = Field(default=None, ge=1)
    """Proposals that are tried."""
    wall_s: float | None = Field(default=None, gt=0)
    """Wall-clock seconds, certification of the champion included."""
    gpu_hours: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    """Model tokens, in and out."""
    cost_usd: float | None = Field(default=None, gt=0)
    """Money for models."""
    target: float | None = None
    """Stop when the best candidate reaches this value of the metric."""
    plateau: int | None = Field(default=None, ge=1)
    """Stop after this many experiments in a row without progress."""


class BrainSettings(BaseModel, extra="forbid", use_attribute_docstrings=True):
    """Which model plays which role, and how providers are reached.

    A spec is `playbook`, `openai:MODEL`, `anthropic:MODEL`, `ollama:MODEL`, `recorded:RUN`
    (answers from the trace of an earlier run), `external` (ideas come from `novum submit` and chat
    alone) or `scripted:FILE`.
    """

    default: str = "playbook"
    """Plays every role that has none of its own. `playbook` needs no network and no key."""
    planner: str | None = None
    coder: str | None = None
    auditor: str | None = None
    """A model that reviews changes and may add suspicion; nobody does unless it is named here."""
    base_url: str | None = None
    """Address of any server that speaks OpenAI's protocol (vLLM, llama.cpp, ...)."""
    api_key: SecretStr | None = None
    """Key for the provider; by default the provider's own variable is read."""
    timeout_s: float = Field(default=120, gt=0)
    """Of one call."""
    patience_s: float = Field(default=900, ge=0)
    """How long a call is tried again while the provider is busy, down or out of reach."""
    max_answer_tokens: int = Field(default=8192, gt=0)
    """What one answer may be long."""
    context_chars: int = Field(default=120_000, ge=4_000)
    """Of the conversation that one call sends; the oldest tool output is folded first."""
    protocol: Literal["auto", "native", "json"] = "auto"
    """`native` uses the provider's tool calls, `json` asks for one JSON object a turn (small local
    models); `auto` begins native and changes when the model does not call tools."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Of all roles together that one model plays."""
    prices: dict[str, tuple[float, float]] = {}
    """USD for a million tokens in and out, by spec: `{ "openai:MODEL" = [2.5, 10.0] }`. What is
    not listed has no known price: it is counted as such, and a limit on money refuses it."""
    coder_turns: int = Field(default=24, ge=1)
    """Turns that a coder may take for one candidate."""

    def role(self, role: Role) -> str:
        """The spec that plays a role."""
        own: str | None = getattr(self, role)
        return own or self.default


class SandboxSettings(BaseModel, extra="forbid", use_attribute_docstrings=True):
    """Where experiments run."""

    kind: str = "auto"
    """`auto` takes the strongest there is; `docker:IMAGE` another image; `process` isolates
    nothing: for your own code only."""

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in SANDBOXES and not (kind.startswith("docker:") and len(kind) > 7):
            raise ValueError(f"there is {', '.join(SANDBOXES)} and docker:IMAGE")
        return kind


class MemorySettings(BaseModel, extra="forbid", use_attribute_docstrings=True):
    """Where lessons are kept, and how they are found again."""

    where: str | None = None
    """A folder that carries lessons from run to run, or the http address of a Chroma server; by
    default each run has a memory of its own in its folder."""
    embedder: str = "ngrams"
    """`ngrams` needs nothing, `minilm` the extra `semantic`, `openai:MODEL` a provider."""

    @field_validator("where")
    @classmethod
    def _is_reachable(cls, where: str | None) -> str | None:
        if where is not None and "://" in where and not where.startswith(WEB):
            raise ValueError("a memory is a folder or begins with http:// or https://")
        return where


class ApprovalSettings(BaseModel, extra="forbid", use_attribute_docstrings=True):
    """Which steps wait for a person (`novum approve`, or /approve in chat)."""

    ask: Literal["nothing", "plan", "run"] = "nothing"
    """`plan` waits before the code of an idea is written, `run` before its trials."""
    wait_s: float | None = Field(default=None, ge=0)
    """What nobody answered for so long is refused; by default it waits for ever."""
    yes: bool = False
    """Approve everything at once, and record that."""


class NotifySettings(BaseModel, extra="forbid", use_attribute_docstrings=True):
    """Who is told when something happens while nobody looks. Nothing of this is kept in a run."""

    url: SecretStr | None = None
    """Webhook: gets a JSON object by POST, whose `text` says it in a line."""
    command: str = ""
    """Program with its arguments: the object is its standard input, its parts are `MESSAGE_*`."""
    on: tuple[Literal["champion", "stop", "failure", "approval"], ...] = (
        "champion",
        "stop",
        "failure",
        "approval",
    )
    """What is told."""
    timeout_s: float = Field(default=10, gt=0)
    """Of one try."""
    tries: int = Field(default=5, ge=1)
    """How often a message is tried before it is given up."""

    @field_validator("url")
    @classmethod
    def _is_web(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(WEB):
            raise ValueError("a webhook begins with https:// or http://")
        return url


class PathSettings(BaseModel, extra="forbid", use_attribute_docstrings=True):
    """Where things lie."""

    runs: Path = Path("runs")
    """Folder of the runs' folders."""
    cache: Path = Path("~/.cache/novum")
    """Data that packs prepare, shared by all runs."""
    scratch: Path | None = None
    """Where trials work while they run; by default the system's temporary folder."""
    mirror: Path | None = None
    """Folder, best on another disk or machine, in which a second copy of the run is kept."""

    @field_validator("mirror")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        # `resume` may be typed in another folder.
        return None if folder is None else folder.expanduser().absolute()


class Settings(BaseSettings):
    """Everything that decides how a run works."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
    )

    benchmark: str = "nanochat"
    """Id of an installed pack, or the folder of one."""
    profile: str | None = None
    """Size of the benchmark; by default the pack's own."""
    start: str | None = None
    """Starting solution; by default the pack's own."""
    threads: int = Field(default=2, ge=1, le=256)
    """Lines of research that work side by side."""
    slots: int | None = Field(default=None, ge=1)
    """Trials that run side by side; by default as many as the cores or GPUs carry."""
    policy: str = "frontier"
    """How the next candidate to build on is chosen."""
    confirm_trials: int | None = Field(default=None, ge=2, le=64)
    """Trials an arm of each confirmation and of the final test, declared beforehand and looked at
    once. By default as few as decide it are run: 2, 4 or 8."""
    noise: Literal["first", "needed"] = "first"
    """When the start is measured: before anything else, or only once the trial of an idea has to be
    compared with it (`needed`), which a claim (`novum submit --claim`) never has."""
    ablate: float = Field(default=0.1, ge=0, lt=1)
    """After a champion is confirmed, each of its changes is taken out once to say what it is worth,
    with so many trials as a share of those before. 0 leaves it out."""
    screens: bool = True
    """Where the profile has a cheaper fidelity, try candidates at it first, and save the full trial
    of those that fall behind; a screen that does not predict is switched off by itself."""
    budget: BudgetSettings = BudgetSettings()
    brain: BrainSettings = BrainSettings()
    sandbox: SandboxSettings = SandboxSettings()
    memory: MemorySettings = MemorySettings()
    approval: ApprovalSettings = ApprovalSettings()
    notify: NotifySettings = NotifySettings()
    paths: PathSettings = PathSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The file's values come as an argument of their own, so that each source can be named in
        # an error; there is no .env file and no folder of secrets.
        return (init_settings, env_settings)

    def saved(self) -> dict[str, Any]:
        """What run.toml keeps: everything but secrets."""
        hidden: Any = {"brain": {"api_key"}, "notify": True}
        return self.model_dump(mode="json", exclude_none=True, exclude=hidden)


def load_settings(
    given: Mapping[str, Any] | None = None, *, folder: Path | None = None
) -> Settings:
    """Resolve the settings from the command line, the environment and `novum.toml`.

    Args:
        given: from the command line, nested (`{"budget": {"wall_s": 600}}`); `None` is not given.
        folder: where `novum.toml` is looked for; the working folder unless said.

    Raises:
        UsageError: a key is unknown or a value is wrong; the message says where it was found.
    """
    path = (folder or Path.cwd()) / FILE
    file = _read(path)
    _check_keys(file, f"{path}")
    _check_variables()
    said = _pruned(given or {})
    _check_keys(said, "the command line")
    variables = EnvSettingsSource(Settings)()
    merged = laid_over(laid_over(file, variables), said)
    try:
        return Settings.model_validate(InitSettingsSource(Settings, merged)())
    except ValidationError as error:
        raise UsageError(_explain(error, said, variables, path)) from error


def restore_settings(saved: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Settings:
    """The settings of an earlier run, with what the command line changes now.

    Raises:
        UsageError: a value is wrong, or another version of Novum wrote keys that are unknown here.
    """
    said = _pruned(given or {})
    _check_keys(saved, "run.toml")
    _check_keys(said, "the command line")
    try:
        return Settings.model_validate(laid_over(dict(saved), said))
    except ValidationError as error:
        raise UsageError(_explain(error, said, {}, Path("run.toml"))) from error


def keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every setting as `section.key`, with its description."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            yield from keys(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.description or ""


def _section(annotation: Any) -> type[BaseModel] | None:
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _check_keys(
    values: Mapping[str, Any], where: str, model: type[BaseModel] = Settings, prefix: str = ""
) -> None:
    for name, value in values.items():
        if name not in model.model_fields:
            raise UsageError(f"{where} has an unknown setting {prefix + name!r}." + _nearest(name))
        section = _section(model.model_fields[name].annotation)
        if section is None:
            continue
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: {prefix + name!r} is a section; write `[{prefix}{name}]`.")
        _check_keys(value, where, section, f"{prefix}{name}.")


def _check_variables() -> None:
    known = {PREFIX + key.upper().replace(".", "__"): key for key, _ in keys()}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in (*known, *OTHER_VARIABLES):
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UsageError(f"the environment has an unknown setting {name}.{hint}")


def _nearest(name: str) -> str:
    known = {key.rpartition(".")[2]: key for key, _ in keys()}
    known |= {key.partition(".")[0]: key.partition(".")[0] for key, _ in keys()}
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {known[close[0]]!r}?" if close else f" Known are: {', '.join(known)}."


def _pruned(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without `None`: what the command line did not say."""
    inner = {k: _pruned(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    return {k: v for k, v in inner.items() if v is not None and v != {}}


def _explain(
    error: ValidationError, said: Mapping[str, Any], variables: Mapping[str, Any], path: Path
) -> str:
    lines = []
    for fault in error.errors():
        place = [str(part) for part in fault["loc"]]
        sources = ((said, "the command line"), (variables, "the environment"))
        where = next((name for values, name in sources if _holds(values, place)), str(path))
        value = "[hidden]" if place[-1] in SECRETS else repr(fault["input"])
        lines.append(
            f"{'.'.join(place)} = {value} ({where}): {fault['msg'].removeprefix('Value error, ')}"
        )
    return "wrong settings:\n" + "\n".join(lines)


def _holds(values: Mapping[str, Any], place: list[str]) -> bool:
    found: Any = values
    for part in place:
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return True
