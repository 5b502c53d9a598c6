{{/* Every name of an object begins with this: at most 28 characters, since StatefulSets add to it twice. */}}
{{- define "isthmus.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $whole := .Release.Name -}}
{{- if .Values.fullnameOverride -}}
{{- $whole = .Values.fullnameOverride -}}
{{- else if not (contains $name .Release.Name) -}}
{{- $whole = printf "%s-%s" .Release.Name $name -}}
{{- end -}}
{{- if gt (len $whole) 28 -}}
{{- printf "%s-%s" ($whole | trunc 21 | trimSuffix "-") ($whole | sha256sum | trunc 6) -}}
{{- else -}}
{{- $whole -}}
{{- end -}}
{{- end -}}

{{- define "isthmus.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "isthmus.labels" -}}
{{ include "isthmus.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "isthmus.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "isthmus.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "isthmus.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* An AE title as a part of names: "CT IN_1" is ct-in-1. */}}
{{- define "isthmus.slug" -}}
{{- regexReplaceAll "[^a-z0-9]+" (lower .) "-" | trimAll "-" -}}
{{- end -}}

{{/* The AE title to which what an application entity fetches comes. */}}
{{- define "isthmus.inboxTitle" -}}
{{- default (printf "%s_IN" (.title | trunc 13 | trim)) .inboxTitle -}}
{{- end -}}

{{/* The name of the StatefulSet of an application entity. dict: root, entity */}}
{{- define "isthmus.bridgeName" -}}
{{- printf "%s-bridge-%s" (include "isthmus.fullname" .root) (include "isthmus.slug" .entity.title) -}}
{{- end -}}

{{/* "true" where any number of pods can share what is kept. */}}
{{- define "isthmus.shared" -}}
{{- $index := or .Values.index.urlSecret.name (regexMatch "^postgres(ql)?://" .Values.index.url) -}}
{{- if and (hasPrefix "s3://" .Values.storage.url) $index -}}true{{- end -}}
{{- end -}}

{{/* "true" where there is a Deployment of service pods. */}}
{{- define "isthmus.scaled" -}}
{{- if and .Values.service.enabled (include "isthmus.shared" .) -}}true{{- end -}}
{{- end -}}

{{/* "true" where one pod with a volume is all there is. */}}
{{- define "isthmus.embedded" -}}
{{- if and .Values.service.enabled (not (include "isthmus.shared" .)) -}}true{{- end -}}
{{- end -}}

{{/* "true" where a bridge's pod has a service container of its own, on the loopback. */}}
{{- define "isthmus.ownService" -}}
{{- if and (include "isthmus.scaled" .) .Values.bridge.ownService (not .Values.bridge.archive.url) -}}true{{- end -}}
{{- end -}}

{{/* Where DICOMweb comes in: the component label of its pods. */}}
{{- define "isthmus.httpComponent" -}}
{{- if include "isthmus.scaled" . -}}service{{- else -}}embedded{{- end -}}
{{- end -}}
