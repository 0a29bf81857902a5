{{/* The chart's name, at most 63 characters (a DNS label). */}}
{{- define "nexus-engine.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of every object: the release's name, with the chart's name unless it is in there already. */}}
{{- define "nexus-engine.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "nexus-engine.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What picks the engine's pods. Immutable in a Deployment, so nothing that changes between versions is in it. */}}
{{- define "nexus-engine.selectorLabels" -}}
app.kubernetes.io/name: {{ include "nexus-engine.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: engine
{{- end -}}

{{/* Labels that name chart and version. A label's value may not hold "+", and it ends in a letter or digit. */}}
{{- define "nexus-engine.versionLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: nexus
{{- end -}}

{{/* Labels of the engine's objects. */}}
{{- define "nexus-engine.labels" -}}
{{ include "nexus-engine.selectorLabels" . }}
{{ include "nexus-engine.versionLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of the engine's pods; podLabels win over commonLabels. */}}
{{- define "nexus-engine.podLabels" -}}
{{ include "nexus-engine.selectorLabels" . }}
{{ include "nexus-engine.versionLabels" . }}
{{- with merge (dict) .Values.podLabels .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What picks the pod of `helm test`, and never a pod of the engine. */}}
{{- define "nexus-engine.testLabels" -}}
app.kubernetes.io/name: {{ include "nexus-engine.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{/* Annotations of the engine's pods. Nothing tells a running engine that its files have changed: new files make new pods. */}}
{{- define "nexus-engine.podAnnotations" -}}
{{- $own := dict "kubectl.kubernetes.io/default-container" "engine" -}}
{{- if include "nexus-engine.hasConfig" . -}}
{{- $_ := set $own "checksum/config" (toJson .Values.config | sha256sum) -}}
{{- end -}}
{{- toYaml (merge (dict) .Values.podAnnotations $own) -}}
{{- end -}}

{{- define "nexus-engine.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "nexus-engine.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* repository@digest where the digest is known, else repository:tag; a tag may not hold "+". */}}
{{- define "nexus-engine.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag | replace "+" "_") -}}
{{- end -}}
{{- end -}}

{{/* "true" where the chart writes files for the engine; empty where the image's own are used. */}}
{{- define "nexus-engine.hasConfig" -}}
{{- if or .Values.config.runtime .Values.config.policies -}}true{{- end -}}
{{- end -}}

{{/* The "restricted" Pod Security Standard, pod level. Only the ids are values. */}}
{{- define "nexus-engine.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.podSecurity.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.podSecurity.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.podSecurity.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The "restricted" Pod Security Standard, container level, and a root that cannot be written. */}}
{{- define "nexus-engine.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop:
    - ALL
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The constraints of the values, each given the engine's own pods as labelSelector unless it names others. */}}
{{- define "nexus-engine.topologySpreadConstraints" -}}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "nexus-engine.selectorLabels" . | fromYaml)) -}}
{{- $constraints := list -}}
{{- range .Values.topologySpreadConstraints -}}
{{- $constraints = append $constraints (merge (dict) . $own) -}}
{{- end -}}
{{- toYaml $constraints -}}
{{- end -}}

{{/* The entitlement's token, as a file of a Secret, for what asks for it before the engine starts. Nothing without a Secret. */}}
{{- define "nexus-engine.entitlementEnv" -}}
{{- if .Values.entitlement.secretName -}}
- name: NEXUS_ENTITLEMENT_FILE
  value: /run/nexus-entitlement/token
{{- end -}}
{{- end -}}

{{- define "nexus-engine.entitlementMount" -}}
{{- if .Values.entitlement.secretName -}}
- name: entitlement
  mountPath: /run/nexus-entitlement
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "nexus-engine.entitlementVolume" -}}
{{- if .Values.entitlement.secretName -}}
- name: entitlement
  secret:
    secretName: {{ .Values.entitlement.secretName }}
    defaultMode: 0444
    items:
      - key: {{ .Values.entitlement.key | quote }}
        path: token
{{- end -}}
{{- end -}}
