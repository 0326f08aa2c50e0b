"""The benchmark: networks x datasets x methods x metrics, from one core to a cluster."""

from importlib.util import find_spec


def check_packages() -> None:
    """Raise ValueError where a package is missing that runs on disk need."""
    for package in ("pyarrow", "pydantic", "yaml", "filelock"):
        if find_spec(package) is None:
            raise ValueError(f"this needs the package {package}; install seewhy[bench]")
