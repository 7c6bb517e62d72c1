"""The packages of the wheel: octshard's, and configs/ as octshard.configs. The rest is in pyproject.toml."""

from setuptools import find_namespace_packages, find_packages, setup

configs = {
    f"octshard.{name}": name.replace(".", "/") for name in find_namespace_packages(include=["configs*"])
}

setup(
    packages=[*find_packages(include=["octshard", "octshard.*"]), *configs],
    package_dir=configs,
    package_data={name: ["*.yaml"] for name in configs},
)
