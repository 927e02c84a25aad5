"""The paper's audio experiment and analyses on our own models: SaFa beside the ways of joining that it replaces."""
