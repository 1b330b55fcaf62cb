"""What pyproject.toml cannot say: the example pipelines stay in the checkout."""

from setuptools import setup
from setuptools.command.build_py import build_py


class WithoutExamples(build_py):
    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [one for one in found if package != "pipelines" or one[1] == "__init__"]


setup(cmdclass={"build_py": WithoutExamples})
