"""Commands that build, evaluate, convert and promote model versions.

Workers never import this package.
"""
