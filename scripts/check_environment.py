"""Print the requirements that this environment does not meet; exit status 1 where there is one. Offline.

    python scripts/check_environment.py requirements.txt requirements-dev.txt

pip installs what a package needs before the package, so an interrupted installation is noticed too.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def read_requirements(path: Path) -> list[str]:
    """The lines of a requirements file, without comments and empty lines."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def unmet(requirements: list[str]) -> list[str]:
    """Those of `requirements` that are not installed in a version they allow."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # a new environment; several of the packages bring it
        return requirements
    missing = []
    for requirement in map(Requirement, requirements):
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            missing.append(str(requirement))
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            missing.append(f"{requirement} (found {found})")
    return missing


if __name__ == "__main__":
    missing = unmet([line for name in sys.argv[1:] for line in read_requirements(Path(name))])
    print(*missing, sep="\n", end="\n" if missing else "")
    sys.exit(bool(missing))
