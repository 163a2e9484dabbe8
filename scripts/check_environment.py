"""Print the requirements that this environment does not satisfy; exit status 1 if there are any. Works offline.

    python scripts/check_environment.py requirements.txt requirements-dev.txt

pip installs a package after its dependencies, so this also detects an interrupted installation.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def read_requirements(path: Path) -> list[str]:
    """Return the lines of a requirements file without comments and empty lines."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def unmet(requirements: list[str]) -> list[str]:
    """Return the requirements that are not installed in an allowed version."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # a new environment
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
