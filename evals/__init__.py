"""How results are judged: audit, rules, probes, significance; and suites that judge the judges."""
