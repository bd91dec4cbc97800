"""Make the PrometheusRule of ``deploy/kubernetes`` from the rules of ``deploy/prometheus``: ``python -m deploy.rules``.

Kustomize cannot put one file into another, and alerts should be written once. A test compares.
"""

import textwrap
from pathlib import Path

DEPLOY = Path(__file__).parent
RULES = DEPLOY / "prometheus" / "rules.yml"
RESOURCE = DEPLOY / "kubernetes" / "components" / "monitoring" / "rules.yaml"
HEAD = """\
# Made by `python -m deploy.rules` from deploy/prometheus/rules.yml: change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: cameo
spec:
"""


def resource() -> str:
    """The file's whole text, its comments included."""
    text = RULES.read_text(encoding="utf-8")
    return HEAD + textwrap.indent(text[text.index("groups:") :], "  ")


if __name__ == "__main__":
    RESOURCE.write_text(resource(), encoding="utf-8")
