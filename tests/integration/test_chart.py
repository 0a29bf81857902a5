"""The chart under Helm's own code, and what it renders under Kubernetes' own schemas."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.chart import PackagedChart, package_chart
from tests.integration.helm_client import HelmRefusedError, Rendered, helm_lint, helm_render, helm_sdk

pytestmark = pytest.mark.integration

CHART = Path(__file__).parents[2] / "helm" / "nexus-engine"
REPOSITORY = "registry.example:5000/team/runtime"
DIGEST = "sha256:" + "5e" * 32
KUBERNETES = ("1.30", "1.33", "1.37")
POLICY = {
    "name": "limits",
    "strategy": "first-match",
    "default": {"effect": "review", "reason": "over the <usual> & known limit"},
    "rules": [{"id": "low", "effect": "allow", "reason": "low", "when": {"field": "amount", "op": "lt", "value": 1_000_000}}],
}

ALWAYS = ["Deployment", "Pod", "Service"]
DEFAULT = sorted([*ALWAYS, "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"])
VALUE_SETS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "default": ({}, DEFAULT),
    "digest": ({"image": {"repository": REPOSITORY, "digest": DIGEST}}, DEFAULT),
    "ingress": (
        {
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "annotations": {"example.com/limit": "10"},
                "hosts": [
                    {"host": "a.example.com"},
                    {"host": "b.example.com", "paths": [{"path": "/v1", "pathType": "Exact"}, {"path": "/v2"}]},
                ],
                "tls": [{"secretName": "tls", "hosts": ["a.example.com", "b.example.com"]}],
            }
        },
        [*DEFAULT, "Ingress"],
    ),
    "httproute": (
        {
            "httpRoute": {
                "enabled": True,
                "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
                "hostnames": ["engine.example.com"],
                "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "A", "value": "b"}]}}],
                "timeouts": {"request": "10s"},
            }
        },
        [*DEFAULT, "HTTPRoute"],
    ),
    "scaling": (
        {
            "autoscaling": {
                "enabled": True,
                "minReplicas": 3,
                "targetMemoryUtilizationPercentage": 80,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
            },
            "podDisruptionBudget": {"minAvailable": "50%"},
            "networkPolicy": {
                "from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}],
                "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 443}]}],
            },
        },
        [*DEFAULT, "HorizontalPodAutoscaler"],
    ),
    "everything off": (
        {
            "serviceAccount": {"create": False},
            "podDisruptionBudget": {"enabled": False},
            "networkPolicy": {"enabled": False},
            "startupProbe": None,
            "livenessProbe": None,
            "readinessProbe": None,
            "resources": None,
            "nodeSelector": None,
            "topologySpreadConstraints": [],
            "preStopSleepSeconds": 0,
            "replicaCount": 0,
            "podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
        },
        ALWAYS,
    ),
    "files and extras": (
        {
            "nameOverride": "decider",
            "config": {
                "runtime": '  # indented first line\n[log]\nlevel = "debug"\n\n',
                "policies": {"limits.json": POLICY, "text.json": '{"name": "text", "rules": []}'},
            },
            "args": ["--set", "log.level=warn"],
            "commonLabels": {"team": "a", "cost": "1"},
            "podLabels": {"team": "b"},
            "podAnnotations": {"kubectl.kubernetes.io/default-container": "other"},
            "extraEnv": [
                {"name": "NEXUS_LOG_LEVEL", "value": "info"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
            ],
            "extraEnvFrom": [{"configMapRef": {"name": "env"}}],
            "extraVolumes": [{"name": "cache", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "cache", "mountPath": "/var/cache/nexus"}],
            "imagePullSecrets": [{"name": "registry"}],
            "priorityClassName": "high",
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "service": {"type": "LoadBalancer", "port": 8443, "nodePort": 30080, "ipFamilyPolicy": "PreferDualStack"},
            "containerPort": 9090,
            "strategy": {"type": "Recreate", "rollingUpdate": None},
        },
        [*DEFAULT, "ConfigMap"],
    ),
}

VALUE_SETS["entitlement"] = ({"entitlement": {"secretName": "engine-licence", "key": "licence.token"}}, DEFAULT)

HTTP_ROUTE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "gateway.networking.k8s.io/v1"},
        "kind": {"const": "HTTPRoute"},
        "metadata": {"type": "object", "required": ["name", "namespace"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "parentRefs": {
                    "type": "array",
                    "maxItems": 32,
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "additionalProperties": False,
                        "properties": {
                            **{key: {"type": "string"} for key in ("name", "namespace", "sectionName", "group", "kind")},
                            "port": {"type": "integer"},
                        },
                    },
                },
                "hostnames": {
                    "type": "array",
                    "maxItems": 16,
                    "items": {"type": "string", "pattern": r"^(\*\.)?[a-z0-9.-]+$"},
                },
                "rules": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "matches": {"type": "array", "items": {"type": "object"}},
                            "filters": {"type": "array", "items": {"type": "object", "required": ["type"]}},
                            "timeouts": {
                                "type": "object",
                                "additionalProperties": {"pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
                            },
                            "backendRefs": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "required": ["name", "port"],
                                    "additionalProperties": False,
                                    "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""What the chart uses of a Gateway API v1 route: a custom resource, which Kubernetes' own schemas do not hold."""


@pytest.fixture(params=VALUE_SETS, scope="module")
def rendered(request: pytest.FixtureRequest) -> Rendered:
    """The shipped chart under one of the value sets."""
    return helm_render(CHART, VALUE_SETS[request.param][0])


@pytest.fixture(scope="module")
def packaged() -> PackagedChart:
    """The shipped chart as a release packages it."""
    return package(CHART)


def package(folder: Path) -> PackagedChart:
    """A chart packaged with an image by digest."""
    values = {"image": {"repository": REPOSITORY, "digest": DIGEST}}
    return package_chart(folder, version="2.1.0+git.5", app_version="2.1.0+git.5", values=values, epoch=1_700_000_000)


def check_against_kubernetes(item: dict[str, Any]) -> None:
    """Refuse an object that a cluster of a supported version would not take, unknown fields included."""
    import jsonschema
    import kubernetes_validate  # type: ignore[import-untyped]

    if item["kind"] == "HTTPRoute":
        jsonschema.Draft202012Validator(HTTP_ROUTE).validate(item)
        return
    for version in KUBERNETES:
        assert kubernetes_validate.validate(item, version, strict=True) == version


@pytest.mark.parametrize("name", VALUE_SETS)
def test_helm_lints_and_renders_the_objects_that_the_values_ask_for(name: str) -> None:
    values, kinds = VALUE_SETS[name]
    assert helm_lint(CHART, values) == []
    assert helm_render(CHART, values).kinds() == sorted(kinds)


def test_every_object_passes_kubernetes_own_schemas(rendered: Rendered) -> None:
    for item in rendered.objects:
        check_against_kubernetes(item)


@pytest.mark.parametrize("kind", ["Deployment", "HTTPRoute"])
def test_the_schemas_do_refuse_a_wrong_object(kind: str) -> None:
    import jsonschema

    item = helm_render(CHART, VALUE_SETS["httproute"][0]).one(kind)
    item["spec"]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        check_against_kubernetes(item)


def test_every_object_carries_the_recommended_labels_and_the_namespace(rendered: Rendered) -> None:
    for item in rendered.objects:
        labels = item["metadata"]["labels"]
        assert item["metadata"]["namespace"] == "engines"
        assert {f"app.kubernetes.io/{key}" for key in ("name", "instance", "version", "managed-by", "component")} <= set(labels)
        assert labels["helm.sh/chart"] == "nexus-engine-0.1.0"
        assert all(isinstance(value, str) for value in labels.values())


def test_service_and_deployment_select_the_engines_pods_and_no_test_pod(rendered: Rendered) -> None:
    deployment, service = rendered.one("Deployment"), rendered.one("Service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selector = service["spec"]["selector"]
    assert deployment["spec"]["selector"]["matchLabels"] == selector
    assert selector.items() <= labels.items()
    for pod in (item for item in rendered.objects if item["kind"] == "Pod"):
        assert not selector.items() <= pod["metadata"]["labels"].items()
    port = deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]


def test_every_pod_keeps_to_the_restricted_standard(rendered: Rendered) -> None:
    pods = [rendered.one("Deployment")["spec"]["template"]["spec"]]
    pods += [item["spec"] for item in rendered.objects if item["kind"] == "Pod"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("repository", ["runtime", "ns/runtime", "localhost:5000/a/b", "[::1]:5000/a", "r.example/a__b/c-d"])
def test_any_repository_may_be_named(repository: str) -> None:
    rendered = helm_render(CHART, {"image": {"repository": repository, "digest": DIGEST}})
    assert {container["image"] for container in _containers(rendered)} == {f"{repository}@{DIGEST}"}


def test_the_image_is_named_by_digest_where_one_is_known() -> None:
    by_digest = helm_render(CHART, {"image": {"repository": REPOSITORY, "digest": DIGEST, "tag": "ignored"}})
    images = {container["image"] for container in _containers(by_digest)}
    assert images == {f"{REPOSITORY}@{DIGEST}"}
    assert "a tag can move" not in by_digest.notes


def test_without_a_digest_the_image_is_a_tag_and_the_notes_say_so() -> None:
    by_tag = helm_render(CHART, {"image": {"repository": REPOSITORY, "tag": "1.0.0+b"}})
    assert {container["image"] for container in _containers(by_tag)} == {f"{REPOSITORY}:1.0.0_b"}
    assert "a tag can move" in by_tag.notes


def test_policies_reach_the_engines_folder_as_json_with_their_checksums() -> None:
    values, _ = VALUE_SETS["files and extras"]
    data = helm_render(CHART, values).one("ConfigMap")["data"]
    assert data["runtime.toml"] == values["config"]["runtime"]
    assert json.loads(data["limits.json"]) == POLICY
    assert data["text.json"] == values["config"]["policies"]["text.json"]
    sums = {name: hashlib.sha256(data[name].encode()).hexdigest() for name in ("limits.json", "text.json")}
    assert data["SHA256SUMS"] == "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def test_new_files_make_new_pods_and_nothing_else_does() -> None:
    def checksum(level: str, replicas: int) -> str:
        values = {"config": {"runtime": f'[log]\nlevel = "{level}"\n'}, "replicaCount": replicas}
        template = helm_render(CHART, values).one("Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum("info", 1) == checksum("info", 2) != checksum("warn", 2)


def test_an_entitlement_is_mounted_from_its_secret_into_every_pod_that_starts_the_engine() -> None:
    rendered = helm_render(CHART, VALUE_SETS["entitlement"][0])
    (hook,) = [item for item in rendered.objects if item["kind"] == "Pod"]
    for pod in (rendered.one("Deployment")["spec"]["template"]["spec"], hook["spec"]):
        (container,) = pod["containers"]
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "entitlement"]
        assert volume["secret"] == {
            "secretName": "engine-licence", "defaultMode": 0o444, "items": [{"key": "licence.token", "path": "token"}],
        }  # fmt: skip
        (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "entitlement"]
        assert mount == {"name": "entitlement", "mountPath": "/run/nexus-entitlement", "readOnly": True}
        assert container["env"] == [{"name": "NEXUS_ENTITLEMENT_FILE", "value": "/run/nexus-entitlement/token"}]


def test_an_entitlement_stands_beside_the_values_own_environment() -> None:
    values = {"entitlement": {"secretName": "licence"}, "extraEnv": [{"name": "A", "value": "b"}]}
    (container,) = helm_render(CHART, values).one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert [entry["name"] for entry in container["env"]] == ["NEXUS_ENTITLEMENT_FILE", "A"]


@pytest.mark.parametrize("name", ["default", "files and extras"])
def test_without_an_entitlement_nothing_is_said_of_one(name: str) -> None:
    assert "entitlement" not in json.dumps(helm_render(CHART, VALUE_SETS[name][0]).objects)


@pytest.mark.parametrize("values", [{"secretName": "A_B"}, {"key": ""}, {"key": "a/b"}, {"secret": "x"}])
def test_an_entitlement_that_names_no_secret_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(HelmRefusedError, match="entitlement"):
        helm_render(CHART, {"entitlement": values})


def test_a_deployment_that_is_scaled_fixes_no_number_of_replicas() -> None:
    assert "replicas" not in helm_render(CHART, VALUE_SETS["scaling"][0]).one("Deployment")["spec"]
    assert helm_render(CHART).one("Deployment")["spec"]["replicas"] == 2


def test_a_disruption_budget_has_one_bound() -> None:
    assert "maxUnavailable" not in helm_render(CHART, VALUE_SETS["scaling"][0]).one("PodDisruptionBudget")["spec"]


def test_the_engine_may_open_no_connection_unless_values_allow_it() -> None:
    spec = helm_render(CHART).one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == []
    assert spec["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"image": {"name": "x"}}, "at '/image': additional properties 'name' not allowed"),
        ({"image": {"digest": "sha256:123"}}, "/image/digest"),
        ({"image": {"repository": "registry.example/ns/runtime:1.0"}}, "/image/repository"),
        ({"image": {"repository": "runtime:1.0"}}, "/image/repository"),
        ({"replicaCount": "2"}, "/replicaCount"),
        ({"service": {"type": "ExternalName"}}, "/service/type"),
        ({"service": {"port": 70000}}, "/service/port"),
        ({"podSecurity": {"runAsUser": 0}}, "/podSecurity/runAsUser"),
        ({"podSecurity": {"privileged": True}}, "privileged"),
        ({"ingress": {"enabled": True}}, "at '/ingress/hosts': minItems: got 0, want 1"),
        ({"httpRoute": {"enabled": True}}, "at '/httpRoute/parentRefs': minItems: got 0, want 1"),
        ({"config": {"policies": {"a.yaml": {}}}}, "'a.yaml' not allowed"),
        ({"config": {"policies": {"../a.json": {}}}}, "'../a.json' not allowed"),
        ({"config": {"policies": {"a.json": "{"}}}, "unexpected end of JSON input"),
        ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "invalid propertyName 'app.kubernetes.io/name'"),
        ({"podAnnotations": {"a": 1}}, "/podAnnotations/a"),
        ({"resources": {"limits": {"memory": "lots"}}}, "/resources/limits/memory"),
        ({"autoscaling": {"enabled": True, "minReplicas": 20}}, "minReplicas is 20, more than"),
        ({"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}}, "nothing to go by"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HelmRefusedError, match=re.escape(message)):
        helm_render(CHART, values)


def test_values_of_the_schema_and_of_the_file_are_the_same_keys() -> None:
    with helm_sdk().Chart.load(CHART) as chart:
        values, schema = chart.values, chart.schema
    assert set(schema["properties"]) - {"global"} == set(values)
    for key, value in values.items():
        known = schema["properties"][key].get("properties", {})
        if known and isinstance(value, dict):
            assert set(value) <= set(known)


def test_helm_loads_the_packaged_chart_with_versions_and_digest_written_in(packaged: PackagedChart) -> None:
    with helm_sdk().Chart.load_archive(packaged.archive) as chart:
        assert chart.metadata == json.loads(packaged.config)
        assert chart.version == "2.1.0+git.5"
    result = helm_render(packaged.archive)
    assert {container["image"] for container in _containers(result)} == {f"{REPOSITORY}@{DIGEST}"}
    assert result.one("Service")["metadata"]["labels"]["app.kubernetes.io/version"] == "2.1.0_git.5"
    for item in result.objects:
        check_against_kubernetes(item)


def test_helm_lints_the_packaged_archive_and_knows_its_digest(packaged: PackagedChart, tmp_path: Path) -> None:
    archive = tmp_path / packaged.file_name
    archive.write_bytes(packaged.archive)
    assert helm_lint(archive) == []
    assert helm_sdk().digest(archive).removeprefix("sha256:") == hashlib.sha256(packaged.archive).hexdigest()


def test_the_archive_holds_what_helm_package_would_put_there(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    files = {
        "Chart.yaml": "apiVersion: v2\nname: demo\nversion: 0.0.0\nappVersion: 0.0.0\n",
        "values.yaml": "image: {repository: x, digest: y}\n",
        ".helmignore": "# none of these\n*.bak\ncache/\n/top.txt\ndocs/*.md\n[xy].cfg\n*.lo[^g]\n",
    }
    every = "a.bak cache/x top.txt sub/top.txt docs/a.md docs/b/a.md x.cfg z.cfg a.log a.lot README.md LICENSE files/ü.txt"
    every += " templates/a.yaml templates/.hidden templates/.dir/a.yaml crds/c.yaml"
    for name, text in (dict.fromkeys(every.split(), "a: 1\n") | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    ours = tmp_path / "ours.tgz"
    ours.write_bytes(package(folder).archive)
    assert _names(ours) == _names(Path(helm_sdk().package(folder, destination=tmp_path)))


def _names(archive: Path) -> set[str]:
    """The files in a tar."""
    with tarfile.open(archive) as tar:
        return set(tar.getnames())


def _containers(result: Rendered) -> list[dict[str, Any]]:
    """Every container of every pod."""
    specs = [result.one("Deployment")["spec"]["template"]["spec"]]
    specs += [item["spec"] for item in result.objects if item["kind"] == "Pod"]
    return [container for spec in specs for container in spec["containers"]]
