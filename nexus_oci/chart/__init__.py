"""The Helm chart: packaged deterministically, in the form that Helm pulls from a registry."""

from nexus_oci.chart.package import PackagedChart, chart_tag, package_chart

__all__ = ["PackagedChart", "chart_tag", "package_chart"]
