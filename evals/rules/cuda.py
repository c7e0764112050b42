"""Rules on C, C++ and CUDA sources, over tokens: comments and strings are not code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from novum.evals.rules.clex import Token, with_macros
from novum.evals.rules.rule import BLOCK, CONFIRM, NOTE, Found, Rule

SYSTEM = frozenset(
    """system popen fork vfork execv execve execvp execl execlp execle posix_spawn setsid
            daemon socket connect bind mprotect ptrace process_vm_writev process_vm_readv
            syscall clock_settime settimeofday kill setenv putenv unsetenv Py_SetProgramName
            PyRun_SimpleString PyRun_String PyEval_SetTrace PyEval_EvalCode Py_CompileString
            dup2 pipe sched_setaffinity setpriority personality""".split()
)
WORDS = frozenset("bind connect daemon kill personality pipe socket write remove".split())
"""Names that a kernel may give to things of its own: only to call them means anything."""
DOORS = frozenset(
    """dlsym dlopen dlvsym fopen freopen ifstream ofstream fstream open openat getenv mmap
            mmap64 memfd_create shm_open PyImport_ImportModule PyObject_SetAttrString
            PyEval_GetFrame PyEval_GetGlobals PyEval_GetLocals PyThreadState_Get dl_iterate_phdr
            fdopen fwrite write unlink remove""".split()
)
MEASURED = frozenset(
    """cudaEventElapsedTime cudaEventRecord cudaEventSynchronize cudaDeviceSynchronize
            cudaStreamSynchronize cuEventElapsedTime cuEventRecord clock_gettime gettimeofday
            time clock cudaMemcpy cudaMemcpyAsync cudaLaunchKernel cuLaunchKernel memcmp strcmp
            printf malloc free cudaMalloc cudaFree""".split()
)
KEYWORDS = frozenset(
    "if else for while return true false int float double const static void".split()
)
PERSISTING = re.compile(
    r"accessPolicyWindow|AccessPolicyWindow|PersistingL2|persistingL2|hitProp|cudaAccessProperty|evict_last",
)
THREADS = frozenset(
    """thread jthread pthread_create async cudaLaunchHostFunc cudaStreamAddCallback
            cuLaunchHostFunc cuStreamAddCallback std_thread hardware_concurrency_pool""".split()
)
CLOCKS = ("nvmlDeviceSet", "nvmlDeviceReset", "rsmi_dev_", "nvidia-smi")
JOINS = frozenset(
    """cudaStreamWaitEvent cudaStreamSynchronize cudaDeviceSynchronize cudaEventSynchronize
            cuStreamWaitEvent cuStreamSynchronize cuCtxSynchronize synchronize block wait""".split()
)


def _calls(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """Words that are called or named with a following bracket."""
    for i, token in enumerate(tokens[:-1]):
        if token.kind == "word" and tokens[i + 1].text == "(":
            yield i, token


def _named(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """Words that stand for functions of the system: called, or handed on under another name."""
    for i, token in enumerate(tokens):
        if token.kind != "word" or (i > 0 and tokens[i - 1].text in (".", ">")):
            continue
        after = tokens[i + 1].text if i + 1 < len(tokens) else ""
        if after == "(" or (token.text not in WORDS and after != ":"):
            yield i, token


def _system(tokens: Sequence[Token]) -> Iterable[Found]:
    tokens = with_macros(tokens)
    for _, token in _named(tokens):
        if token.text in SYSTEM:
            yield Found(token.line, f"calls {token.text}", BLOCK)
        elif token.text in DOORS:
            yield Found(token.line, f"calls {token.text}", CONFIRM)
    for token in tokens:
        if token.kind == "word" and token.text in ("ifstream", "ofstream", "fstream", "filesystem"):
            yield Found(token.line, f"uses {token.text}", CONFIRM)
        if token.kind == "string":
            if re.search(r"/proc/(self|\d|%)|/dev/shm|LD_PRELOAD|/etc/", token.text):
                yield Found(token.line, f"names {token.text[:60]}", BLOCK)
            if any(c in token.text for c in CLOCKS):
                yield Found(token.line, f"names {token.text[:60]}", BLOCK)
        if token.kind == "word" and token.text.startswith(CLOCKS[:3]):
            yield Found(token.line, f"sets clocks by {token.text}", BLOCK)


def _constructors(tokens: Sequence[Token]) -> Iterable[Found]:
    for token in tokens:
        if token.kind == "word" and token.text in (
            "constructor",
            "__constructor__",
            "ifunc",
            "destructor",
        ):
            yield Found(
                token.line, f"__attribute__(({token.text})): runs when the library is loaded"
            )
        if token.kind in ("string", "directive") and re.search(
            r"\.init_array|\.ctors|\.preinit_array|\.fini_array|pragma\s+init", token.text
        ):
            yield Found(token.line, f"puts code where loading runs it: {token.text[:40]}")


def _redefinitions(tokens: Sequence[Token]) -> Iterable[Found]:
    for token in tokens:
        if token.kind == "directive" and (match := re.match(r"#\s*define\s+(\w+)", token.text)):
            name = match.group(1)
            if name in MEASURED:
                yield Found(token.line, f"#define {name}", BLOCK)
            elif name in KEYWORDS:
                yield Found(token.line, f"#define {name}", BLOCK)
            elif "##" in token.text:
                yield Found(token.line, f"pastes tokens in {name}", CONFIRM)
        if token.kind == "directive" and re.match(r'#\s*include\s*["<](/|.*\.\.)', token.text):
            yield Found(token.line, f"includes {token.text[9:60]}", BLOCK)
    for i, token in _calls(tokens):
        if token.text in MEASURED and _is_definition(tokens, i):
            yield Found(token.line, f"defines its own {token.text}", BLOCK)


def _is_definition(tokens: Sequence[Token], i: int) -> bool:
    """A type before the name and a body after the arguments."""
    if i == 0 or not (tokens[i - 1].kind == "word" or tokens[i - 1].text in "*&"):
        return False
    if tokens[i - 1].text in ("return", "else", "case", "throw", "new"):
        return False
    depth = 0
    for j in range(i + 1, min(len(tokens), i + 200)):
        depth += {"(": 1, ")": -1}.get(tokens[j].text, 0)
        if depth == 0:
            return j + 1 < len(tokens) and tokens[j + 1].text == "{"
    return False


def _persisting(tokens: Sequence[Token]) -> Iterable[Found]:
    for token in tokens:
        if token.kind in ("word", "string") and (match := PERSISTING.search(token.text)):
            yield Found(token.line, match.group(0))


def _threads(tokens: Sequence[Token]) -> Iterable[Found]:
    for i, token in enumerate(tokens):
        if token.kind == "word" and token.text in THREADS:
            qualified = i >= 2 and tokens[i - 1].text == ":" and tokens[i - 2].text == ":"
            if token.text in ("thread", "async", "jthread") and not qualified:
                continue
            yield Found(token.line, f"hands work to {token.text}")


def _streams(tokens: Sequence[Token]) -> Iterable[Found]:
    words = {t.text for t in tokens if t.kind == "word"}
    for token in tokens:
        if token.kind == "word" and re.match(r"cu(da)?StreamCreate|getStreamFromPool", token.text):
            joined = bool(words & JOINS)
            yield Found(
                token.line,
                f"{token.text}{'' if joined else ' without a join'}",
                NOTE if joined else CONFIRM,
            )


def _memories(tokens: Sequence[Token]) -> Iterable[Found]:
    """Static counters that are asked, and static tables keyed by a pointer."""
    statics: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if token.kind == "word" and token.text in ("static", "thread_local"):
            head = [
                t for t in _until(tokens, i, ";={(") if t.text not in ("static", "thread_local")
            ]
            text = " ".join(t.text for t in head)
            if re.search(r"\b(unordered_map|map|set|unordered_set)\b", text) and (
                "*" in text or re.search(r"\b(uintptr_t|uint64_t|size_t|int64_t)\b", text)
            ):
                yield Found(token.line, f"static table: {text[:60]}", CONFIRM)
            elif (
                head
                and head[-1].kind == "word"
                and re.search(r"\b(int|long|size_t|unsigned|atomic)\b", text)
            ):
                statics[head[-1].text] = token.line
    for name, line in statics.items():
        positions = [i for i, t in enumerate(tokens) if t.kind == "word" and t.text == name]
        grows = any(_grows(tokens, i) for i in positions)
        asked = any(_is_asked(tokens, i) for i in positions)
        if grows and asked:
            yield Found(line, f"counts calls in {name} and asks for it", CONFIRM)


def _until(tokens: Sequence[Token], i: int, stops: str) -> list[Token]:
    found: list[Token] = []
    for token in tokens[i : i + 60]:
        if token.kind == "punct" and token.text in stops:
            break
        found.append(token)
    return found


def _grows(tokens: Sequence[Token], i: int) -> bool:
    after = "".join(t.text for t in tokens[i + 1 : i + 3])
    before = "".join(t.text for t in tokens[max(0, i - 2) : i])
    return (
        after in ("++", "+=", "--")
        or before in ("++", "--")
        or "fetch_add" in {t.text for t in tokens[i + 1 : i + 3]}
    )


def _is_asked(tokens: Sequence[Token], i: int) -> bool:
    window = [t.text for t in tokens[max(0, i - 6) : i + 6]]
    return bool({"if", "%", "?", "while", "switch"} & set(window)) or any(
        a in ("<", ">", "=") and b == "=" for a, b in zip(window, window[1:], strict=False)
    )


CUDA_RULES = (
    Rule(
        "native-system",
        BLOCK,
        "calls the operating system from a kernel's host code",
        "kernels launch and return; files and symbols cost a second look",
        native=_system,
    ),
    Rule(
        "native-constructors",
        BLOCK,
        "runs code when the library is loaded, before anybody called it",
        "registration macros of PyTorch do it for you",
        native=_constructors,
    ),
    Rule(
        "native-redefinitions",
        BLOCK,
        "gives its own meaning to functions that measure or compare, or pastes names together",
        "token pasting in dispatch macros costs a second look",
        native=_redefinitions,
    ),
    Rule(
        "persisting-cache",
        CONFIRM,
        "keeps inputs in the cache from call to call",
        "hints within one kernel; the harness flushes and resets between calls",
        native=_persisting,
    ),
    Rule(
        "native-threads",
        BLOCK,
        "hands work to host threads or callbacks",
        "none within one kernel call",
        native=_threads,
    ),
    Rule(
        "streams",
        NOTE,
        "makes streams of its own",
        "overlap is a real optimisation when the streams are joined again",
        native=_streams,
    ),
    Rule(
        "native-memories",
        CONFIRM,
        "remembers inputs or counts calls in static variables",
        "plans and handles that do not depend on the inputs",
        native=_memories,
    ),
)
