"""The manifests, by Kubernetes' own schemas, and what the schemas can't know."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from core.settings import settings

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "deploy" / "kubernetes"
KUBERNETES = "1.31"  # the oldest whose schemas they are held to

DOCUMENTS = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}-{document['metadata']['name']}")
    for path in sorted(MANIFESTS.glob("*.yaml"))
    if path.stem != "kustomization"
    for document in yaml.safe_load_all(path.read_text())
]
PODS = [p for p in DOCUMENTS if p.values[0]["kind"] in {"Deployment", "Job"}]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_manifest_is_as_its_schema_says(document):
    if document["kind"] == "ScaledObject":  # KEDA's, of which Kubernetes has no schema
        assert document["apiVersion"] == "keda.sh/v1alpha1"
        return
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_kustomization_names_every_manifest():
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    files = {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


@pytest.mark.parametrize("document", PODS)
def test_no_container_may_more_than_it_must(document):
    pod = document["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        allowed = container["securityContext"]
        assert allowed["readOnlyRootFilesystem"] is True
        assert allowed["allowPrivilegeEscalation"] is False
        assert allowed["capabilities"] == {"drop": ["ALL"]}
        assert "limits" in container["resources"]
        assert not any("URL" in entry["name"] for entry in container.get("env", []))


@pytest.mark.parametrize("document", PODS)
def test_every_mount_has_its_volume_and_each_service_a_secret_of_its_own(document):
    pod = document["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
    secret = volumes["secrets"]["secret"]["secretName"]
    assert secret == f"answermill-{document['metadata']['name']}"


def test_what_is_set_are_settings():
    text = "".join(path.read_text() for path in MANIFESTS.glob("*.yaml"))
    known = {name.upper() for name in settings.Settings.model_fields}
    assert set(re.findall(r"(?<=ANSWERMILL_)[A-Z_]+", text)) <= known


def test_workers_are_scaled_by_a_rule_that_prometheus_records():
    (scaled,) = yaml.safe_load_all((MANIFESTS / "scaling.yaml").read_text())
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
    (trigger,) = scaled["spec"]["triggers"]
    assert f"record: {trigger['metadata']['query']}\n" in rules
    names = {p.values[0]["metadata"]["name"] for p in PODS}
    assert scaled["spec"]["scaleTargetRef"]["name"] in names
    (worker,) = [p.values[0] for p in PODS if p.values[0]["metadata"]["name"] == "worker"]
    assert "replicas" not in worker["spec"]
