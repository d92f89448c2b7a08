"""The version of this package, which is that of the program and of the crate.

Stage:  ground. A test holds it against Cargo.toml.
"""

__version__ = "0.1.0"
