"""The one compiled part: the inner loops of tree walks.  Without a compiler they run in Python."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "reconciler.host._walk",
            ["reconciler/host/_walk.c"],
            optional=True,
            extra_compile_args=["-O2", "-std=c11", "-Wall", "-Wextra"],
            py_limited_api=True,
        )
    ]
)
