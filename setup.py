"""Map the six folders at the root into the package; everything else is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

FOLDERS = ("agents", "tools", "memory", "sandboxes", "benchmarks", "evals")
OWN = ("novum", "novum.lab", "novum.app", "novum.app.latency", "novum.app.web")

setup(
    packages=[
        *OWN,
        *(
            f"novum.{p}"
            for f in FOLDERS
            for p in (f, *(f"{f}.{c}" for c in find_namespace_packages(f)))
        ),
    ],
    package_dir={"novum": "src/novum"} | {f"novum.{f}": f for f in FOLDERS},
)
